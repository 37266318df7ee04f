"""backup and restore: what cannot be made again, out of the store and back into it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import structlog
import typer

from mast.cli.errors import CommandError
from mast.cli.output import note, plain, progress
from mast.common.etcd import EtcdConfig, EtcdError, Store, connect

if TYPE_CHECKING:
    from mast.cli.backup.archive import Backup

T = TypeVar("T")

_NAME: Final = "mast-%Y%m%dT%H%M%SZ.backup"
_PATTERN: Final = "mast-*.backup"
_CALL: Final = timedelta(seconds=20)

Endpoints = Annotated[
    str, typer.Option(help="Members of etcd, HOST:PORT,…; default: the mesh of this machine.")
]
Ca = Annotated[Path | None, typer.Option(help="PEM of etcd's CA; without, no TLS.")]
Cert = Annotated[Path | None, typer.Option(help="PEM of the user's certificate.")]
Key = Annotated[Path | None, typer.Option(help="PEM of its key.")]
Root = Annotated[str, typer.Option(help="--etcd-root of the services.")]
CaKey = Annotated[
    Path | None, typer.Option(help="Citadel's sealing key (--ca-key-file), if not this machine's.")
]
SecretsKey = Annotated[
    Path | None, typer.Option(help="That of Galley and Pilot (--secrets-key-file).")
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="Of the sealing keys in the backup; default: $MAST_BACKUP_PASSPHRASE."),
]

EXAMPLES = """\b
Examples:
  mastctl backup monday.backup --history
  mastctl backup monday.backup --with-keys --passphrase-file phrase
  mastctl backup --check monday.backup
  mastctl backup /backups --keep 14 --endpoints etcd-0:2379 --ca ca.crt --cert tls.crt --key tls.key
"""
RESTORE_EXAMPLES = """\b
Examples:
  mastctl restore monday.backup --dry-run
  mastctl restore monday.backup --passphrase-file phrase
  mastctl restore monday.backup --endpoints etcd-0:2379 --ca ca.crt --cert root.crt --key root.key
"""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(epilog=EXAMPLES)(backup)
    app.command(epilog=RESTORE_EXAMPLES)(restore)


def backup(
    file: Annotated[
        Path, typer.Argument(help="File to write, or a directory, for a file named for the time.")
    ],
    history: Annotated[bool, typer.Option("--history", help="History of configuration, too.")] = (
        False
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Verify a file that is there; nothing else is done.")
    ] = False,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="The sealing keys, too, under a passphrase.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    ca_key_file: CaKey = None,
    secrets_key_file: SecretsKey = None,
    keep: Annotated[
        int, typer.Option(min=0, help="How many files to keep in the directory; 0: all.")
    ] = 0,
    endpoints: Endpoints = "",
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    root: Root = "/mast",
) -> None:
    """Save what cannot be made again: configuration, Secrets and CA (sealed), roots, key sets.

    All of it as it was at one revision of the store, whose registry, statuses, quotas and leaders
    are made anew. What is sealed stays sealed; the sealing keys are not in it unless --with-keys.
    """
    from mast.cli.backup.archive import read

    if check:
        _show(read(file))
        return
    elsewhere = _etcd(endpoints, ca, cert, key, root)
    now = datetime.now(tz=UTC)  # noqa: TID251 - the edge where time enters
    path = file / now.strftime(_NAME) if file.is_dir() else file
    keys = _given(ca_key_file, secrets_key_file)
    if elsewhere is None:
        keys = {**_home_keys(), **keys}
    _take(elsewhere, path, now, history, _locked(keys, passphrase_file) if with_keys else None)
    taken = read(path)
    if with_keys:
        _keep_only_if_it_opens(path, taken, keys)
    _show(taken)
    if path != file and keep:
        for old in sorted(file.glob(_PATTERN))[:-keep]:
            old.unlink()


def _take(
    elsewhere: EtcdConfig | None,
    path: Path,
    now: datetime,
    history: bool,
    locked: dict[str, object] | None,
) -> None:
    from mast.cli.backup.taking import take

    async def taken() -> None:
        async with _opened(elsewhere) as store:
            await take(store, path, now, history=history, keys=locked)

    _run(taken)


def restore(
    file: Annotated[Path, typer.Argument(help="What mastctl backup has written.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is stored: what a backup would hold.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Verify everything and write nothing.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    ca_key_file: CaKey = None,
    secrets_key_file: SecretsKey = None,
    write_keys: Annotated[
        Path | None,
        typer.Option(help="Directory for the sealing keys of the backup, to make Secrets of."),
    ] = None,
    mode: Annotated[str, typer.Option(help="As of mastctl up, if no mesh is running.")] = "auto",
    endpoints: Endpoints = "",
    ca: Ca = None,
    cert: Cert = None,
    key: Key = None,
    root: Root = "/mast",
) -> None:
    """Put a backup back into an empty store, or with --force in place of what is stored.

    Everything is verified first: checksum, format, every value, the sealing keys. What is
    interrupted goes on by the same command. On this machine the mesh is started with it; elsewhere
    the user of etcd has to be the administrator.
    """
    from mast.cli.backup.archive import read
    from mast.cli.backup.sealing_keys import write_key

    found = read(file)
    elsewhere = _etcd(endpoints, ca, cert, key, root)
    keys = _opening(found, elsewhere, passphrase_file, _given(ca_key_file, secrets_key_file))
    if write_keys is not None:
        for name, each in keys.items():
            write_key(write_keys / f"{name}.key", each)
    if elsewhere is None:
        _restore_here(found, file, keys, mode, force=force, dry_run=dry_run)
    else:
        _restore_there(found, elsewhere, force=force, dry_run=dry_run)


def _restore_there(found: Backup, elsewhere: EtcdConfig, *, force: bool, dry_run: bool) -> None:
    from mast.cli.backup import restoring

    async def done() -> int:
        async with _opened(elsewhere) as store:
            if dry_run:
                restoring.insist(await restoring.target(store, found), force=force)
                return 0
            return await restoring.restore(store, found, force=force)

    deleted = _run(done)
    if dry_run:
        note(f"{len(found.items)} keys would be restored; nothing was written.")
    else:
        note(f"{len(found.items)} keys are restored, {deleted} others are deleted.")
        note("Restart services that ran meanwhile, so that they hold certificates of this CA.")


def _restore_here(
    found: Backup,
    file: Path,
    keys: Mapping[str, bytes],
    mode: str,
    *,
    force: bool,
    dry_run: bool,
) -> None:
    from mast.cli.local import mesh as meshes
    from mast.cli.local.home import LOOPBACK, NAMESPACES, Home
    from mast.cli.local.restoring import start_with

    chosen = meshes.default_mode() if mode == "auto" else mode
    if chosen not in {NAMESPACES, LOOPBACK}:
        raise CommandError(f"mode {mode!r}: use auto, {NAMESPACES} or {LOOPBACK}", status=2)
    home = Home.default()
    if home.mesh() is not None and not force:
        raise CommandError(
            "there is a mesh here, which is not empty",
            hint="--force replaces its state; mastctl backup keeps it first",
        )
    if dry_run:
        note(f"{len(found.items)} keys would be restored; nothing was written.")
        return
    now = datetime.now(tz=UTC)  # noqa: TID251 - the edge where time enters
    with progress("starting the mesh with the backup") as say:
        asyncio.run(start_with(home, file, keys, chosen, now, say))
    note(f"The mesh is up with {len(found.items)} restored keys.")


def _opening(
    found: Backup,
    elsewhere: EtcdConfig | None,
    passphrase_file: Path | None,
    given: Mapping[str, bytes],
) -> Mapping[str, bytes]:
    """The sealing keys, tried on everything that is sealed; CommandError if they do not fit."""
    from mast.cli.backup import sealing_keys

    keys = {**(_home_keys() if elsewhere is None else {}), **given}
    wanted = found.end.key_ids.keys()
    if found.keys is not None and (
        passphrase_file or wanted - keys.keys() or sealing_keys.misfits(found, keys)
    ):
        phrase = sealing_keys.passphrase(passphrase_file)
        keys = {**keys, **sealing_keys.unlocked(found.keys, phrase), **given}
    if wrong := sealing_keys.misfits(found, keys):
        raise CommandError(f"{'; '.join(wrong)}: nothing was written")
    missing = wanted - keys.keys()
    for name in sorted(missing):
        said = f"the {name} key {', '.join(found.end.key_ids[name])} of the backup is not at hand"
        flag = f"--{name}-key-file"
        if elsewhere is None:
            raise CommandError(said, hint=f"give it with {flag}, or take backups --with-keys")
        note(f"Warning: {said}, so that nothing sealed with it was tried ({flag})")
    return keys


def _given(ca_key_file: Path | None, secrets_key_file: Path | None) -> dict[str, bytes]:
    from mast.cli.backup.contents import CA_KEY, SECRETS_KEY
    from mast.cli.backup.sealing_keys import read_key

    files = {CA_KEY: ca_key_file, SECRETS_KEY: secrets_key_file}
    return {name: read_key(path) for name, path in files.items() if path is not None}


def _home_keys() -> Mapping[str, bytes]:
    from mast.cli.local.home import Home
    from mast.cli.local.restoring import keys_at_hand

    return keys_at_hand(Home.default())


def _locked(keys: Mapping[str, bytes], passphrase_file: Path | None) -> dict[str, object]:
    from mast.cli.backup import sealing_keys

    if not keys:
        raise CommandError(
            "no sealing keys are at hand", hint="name them: --ca-key-file, --secrets-key-file"
        )
    phrase = sealing_keys.passphrase(passphrase_file)
    return sealing_keys.locked(keys, phrase, secrets.token_bytes)


def _keep_only_if_it_opens(path: Path, taken: Backup, keys: Mapping[str, bytes]) -> None:
    from mast.cli.backup.sealing_keys import misfits

    if wrong := misfits(taken, keys):
        path.unlink()
        raise CommandError(f"{'; '.join(wrong)}: the backup is not kept")


@asynccontextmanager
async def _opened(elsewhere: EtcdConfig | None) -> AsyncIterator[Store]:
    """The store that the flags name, else that of this machine."""
    if elsewhere is not None:
        async with connect(elsewhere) as store:
            yield store
        return
    from mast.cli.local.home import Home
    from mast.cli.local.restoring import standing_store

    async with standing_store(Home.default()) as config, connect(config) as store:
        yield store


def _etcd(
    endpoints: str, ca: Path | None, cert: Path | None, key: Path | None, root: str
) -> EtcdConfig | None:
    """The etcd that the flags name; None if they name none."""
    if not endpoints:
        return None
    members = tuple(endpoints.split(","))
    try:
        return EtcdConfig(endpoints=members, root=root, ca=ca, cert=cert, key=key, timeout=_CALL)
    except ValueError as error:
        raise CommandError(str(error), status=2) from error


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    # The store adapter tells its events as services do; here only the result counts.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        return asyncio.run(work())
    except EtcdError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot read {error.filename}: {error.strerror}") from error


def _show(found: Backup) -> None:
    """What a backup holds, for people and for logs."""
    header, end = found.header, found.end
    rows = {
        "taken": f"{header.time} at revision {header.revision} of etcd {header.cluster}",
        "trust domains": ", ".join(end.trust_domains) or "-",
        "keys": ", ".join(f"{prefix} {count}" for prefix, count in end.counts.items()),
        "sealed with": ", ".join(f"{n} {each}" for n, ids in end.key_ids.items() for each in ids)
        or "-",
        "sealing keys": "in it, under a passphrase" if found.keys is not None else "not in it",
        "sha256": found.checksum,
    }
    plain(["BACKUP", "whole"], [[name, value] for name, value in rows.items()])
