"""jwt: an issuer of tokens on the command line, to try policies about tokens with."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from mast.cli import tokens
from mast.cli.errors import CommandError
from mast.cli.output import dump, note
from mast.common.jwks import NotAKeySet, key_set
from mast.common.process.settings import duration

EXAMPLES = """\b
Examples:
  mastctl jwt new key.jwk
  mastctl jwt keys key.jwk
  TOKEN=$(mastctl jwt sign key.jwk --issuer https://issuer.example.com --subject ann)
  mastctl jwt show "$TOKEN" --keys keys.json
"""

commands = typer.Typer(
    help="Make keys and tokens of an issuer of your own, to try policies about tokens with.",
    epilog=EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode=None,
)

_STDIN = "-"
KeyFile = Annotated[Path, typer.Argument(metavar="KEY", help="File of a private key.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    commands.command()(new)
    commands.command()(keys)
    commands.command()(sign)
    commands.command()(show)
    app.add_typer(commands, name="jwt")


def new(
    key: Annotated[Path, typer.Argument(metavar="KEY", help="File to write; it must not exist.")],
    algorithm: Annotated[
        tokens.Algorithm, typer.Option(help="How tokens are signed with it.")
    ] = tokens.Algorithm.ES256,
    kid: Annotated[str, typer.Option(help="Name of the key in tokens.")] = "key-1",
) -> None:
    """Make a private key, as JSON Web Key in a file that nobody else may read."""
    content = json.dumps(tokens.new_key(algorithm, kid), indent=2) + "\n"
    try:
        descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise CommandError(f"{key}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(content)
    note(f"wrote {key}")


def keys(
    files: Annotated[list[Path], typer.Argument(metavar="KEY...", help="Files of private keys.")],
) -> None:
    """Print the key set to publish, or to put into a policy's `jwks`: public parts only."""
    sys.stdout.write(dump(tokens.public_keys(map(_key, files)), "json"))


def sign(
    key: KeyFile,
    issuer: Annotated[str, typer.Option(help="Who issues the token (iss).")],
    subject: Annotated[str, typer.Option(help="Whom it is about (sub).")] = "user",
    audience: Annotated[
        list[str] | None, typer.Option(help="Whom it is for (aud); may be given several times.")
    ] = None,
    lifetime: Annotated[
        str, typer.Option(help="How long it counts, as 1h or 90s; -1s makes one that has ended.")
    ] = "1h",
    claim: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Another claim; the value may be JSON."),
    ] = None,
) -> None:
    """Print a token."""
    now = datetime.fromtimestamp(time.clock_gettime(time.CLOCK_REALTIME), tz=UTC)
    said = tokens.claims(issuer, subject, audience or (), now, _lifetime(lifetime))
    said |= dict(map(_claim, claim or ()))
    try:
        token = tokens.signed(said, _key(key))
    except tokens.NotAToken as error:
        raise CommandError(f"{key}: {error}") from error
    sys.stdout.write(f"{token}\n")


def show(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="A token; - reads stdin.")],
    keys: Annotated[
        Path | None, typer.Option(help="File of the issuer's key set, to verify it with.")
    ] = None,
) -> None:
    """Print what a token says, and whether a key of a set has signed it.

    The exit status is 1 if none has. Nothing is said about whether it has ended: that is for the
    proxy to decide.
    """
    text = sys.stdin.read() if token == _STDIN else token
    try:
        found = tokens.read(text)
    except tokens.NotAToken as error:
        raise CommandError(str(error)) from error
    shown: dict[str, Any] = {"header": dict(found.header), "claims": dict(found.claims)}
    if keys is None:
        sys.stdout.write(dump(shown, "json"))
        return
    try:
        signer = tokens.verified_by(found, _key_set(keys))
    except tokens.NotAToken as error:
        raise CommandError(str(error)) from error
    sys.stdout.write(dump({**shown, "signedBy": signer}, "json"))
    if signer is None:
        raise typer.Exit(1)


def _lifetime(text: str) -> timedelta:
    try:
        found = duration(text.removeprefix("-"))
    except ValueError as error:
        raise CommandError(f"--lifetime: {error}", status=2) from error
    return -found if text.startswith("-") else found


def _claim(text: str) -> tuple[str, Any]:
    """`NAME=VALUE`; what is no JSON is text."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise CommandError(f"--claim {text!r}: write NAME=VALUE", status=2)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _key(path: Path) -> dict[str, Any]:
    found = _json(path)
    if "kty" not in found:
        raise CommandError(f"{path}: not a JSON Web Key", hint="mastctl jwt new makes one")
    return found


def _key_set(path: Path) -> list[dict[str, Any]]:
    """The keys of a set that proxies can use."""
    try:
        found = key_set(json.dumps(_json(path)), published=False)
    except NotAKeySet as error:
        raise CommandError(f"{path}: {error}") from error
    usable: list[dict[str, Any]] = json.loads(found.text)["keys"]
    return usable


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{path}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise CommandError(f"{path}: not a JSON object")
    return found
