"""wait: until every proxy has what was written last, as Pilots tell by what was acknowledged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from mast.cli.config_commands import CALL_SECONDS, Server, galley_address
from mast.cli.connect import galley
from mast.cli.errors import CommandError
from mast.cli.output import note
from mast.cli.pilot_pages import fetched, pilot_address
from mast.common import kinds
from mast.common.process.settings import duration
from mastapi.galley.v1 import config_pb2

PAGE = "/debug/config_distribution"
# How often Galley and Pilots are asked.
EVERY = timedelta(milliseconds=200)
# How many proxies are named when time is up.
SHOWN = 10

EXAMPLES = """\b
Examples:
  mastctl wait --for=distribution virtualservice reviews.default
  mastctl x wait --for=distribution --threshold .9 --timeout 300s destinationrule/reviews -n shop
  mastctl wait --for=delete virtualservice reviews.default
"""


class Condition(StrEnum):
    """What is waited for."""

    DISTRIBUTION = "distribution"
    DELETE = "delete"


@dataclass(frozen=True)
class Wanted:
    """An object, and from which generation or version on it counts."""

    kind: kinds.Kind
    name: str
    namespace: str
    generation: int = 0
    version: int = 0

    def __str__(self) -> str:
        return f"{self.kind.name} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Progress:
    """How many proxies have it, of how many; ``waiting`` says of the others why not."""

    done: int
    total: int
    waiting: tuple[str, ...] = ()

    def reaches(self, threshold: float) -> bool:
        """Whether enough of them have it; nobody waits for proxies that are not there."""
        return self.done >= threshold * self.total


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command(epilog=EXAMPLES)(wait)


def wait(
    kind: Annotated[str, typer.Argument(metavar="KIND[/NAME]", help="Kind of an object.")],
    name: Annotated[str, typer.Argument(metavar="[NAME[.NAMESPACE]]", help="Its name.")] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Its namespace.")] = "default",
    condition: Annotated[
        Condition, typer.Option("--for", help="That it is everywhere, or nowhere any more.")
    ] = Condition.DISTRIBUTION,
    timeout: Annotated[str, typer.Option(help="How long at most, as in 30s or 5m.")] = "30s",
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the proxies that is enough.")
    ] = 1.0,
    generation: Annotated[int, typer.Option(help="Of the object, at least.", min=0)] = 0,
    resource_version: Annotated[
        int, typer.Option(help="Instead of that which is stored, as apply and get tell it.", min=0)
    ] = 0,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Tell how far it is.")] = False,
    pilot: Annotated[
        list[str] | None,
        typer.Option(envvar="MAST_PILOT", help="HTTP address of a Pilot; repeat it for each."),
    ] = None,
    server: Server = "",
) -> None:
    """Wait until proxies have an object as it is stored now, or have it no more.

    Proxies count as soon as they acknowledged everything up to that version. Exit status 1 if
    that takes too long.
    """
    wanted = _wanted(kind, name, namespace, generation, resource_version)
    pilots = pilot or [pilot_address("")]
    limit = _duration(timeout)
    progress = asyncio.run(
        waited(wanted, condition, pilots, galley_address(server), limit, threshold, verbose)
    )
    if progress is None:
        raise CommandError(f"{wanted} is not there after {timeout}")
    if not progress.reaches(threshold):
        missing = "".join(f"\n  {each}" for each in progress.waiting[:SHOWN])
        raise CommandError(
            f"{wanted}: {progress.done} of {progress.total} proxies after {timeout}{missing}",
            hint="why a proxy is behind: mastctl proxy-status",
        )
    verb = "gone from" if condition is Condition.DELETE else "present on"
    typer.echo(f"Resource {wanted} {verb} {progress.done} out of {progress.total} proxies")
    if not progress.total:
        note("no proxies are connected")


def _wanted(kind: str, name: str, namespace: str, generation: int, version: int) -> Wanted:
    told, _, inline = kind.partition("/")
    if bool(inline) == bool(name):
        raise CommandError("name one object: KIND NAME[.NAMESPACE] or KIND/NAME", status=2)
    found = kinds.named(told)
    if len(found) != 1:
        what = " or ".join(map(str, found)) or "no kind that is known"
        raise CommandError(f"{told!r} is {what}", status=2)
    own, _, place = (inline or name).partition(".")
    return Wanted(found[0], own, place or namespace, generation, version)


def _duration(text: str) -> timedelta:
    try:
        return duration(text)
    except ValueError as error:
        raise CommandError(f"--timeout: {error}", status=2) from error


async def waited(
    wanted: Wanted,
    condition: Condition,
    pilots: Sequence[str],
    server: str,
    limit: timedelta,
    threshold: float,
    verbose: bool,
) -> Progress | None:
    """How far proxies were in the end; None if the object was never as wanted.

    Everybody is asked once at least: ``pilots`` by their pages, and Galley at ``server``.
    """
    progress = None
    revision = 0
    now = asyncio.get_running_loop().time
    ends = now() + limit.total_seconds()
    while True:
        revision = revision or await _revision(wanted, condition, server)
        if revision:
            new = await _progress(pilots, revision)
            if verbose and new != progress:
                note(f"{new.done} of {new.total} proxies")
            progress = new
            if progress.reaches(threshold):
                return progress
        if now() >= ends:
            return progress
        await asyncio.sleep(max(0, min(EVERY.total_seconds(), ends - now())))


async def _revision(wanted: Wanted, condition: Condition, server: str) -> int:
    """The store's revision that proxies must have; 0 if the object is not as wanted so far.

    A version that is known need not be asked for.
    """
    if wanted.version and condition is Condition.DISTRIBUTION:
        return wanted.version
    request = config_pb2.ListRequest(kinds=[str(wanted.kind)], namespace=wanted.namespace)
    async with galley(server) as api:
        answer = await api.List(request, timeout=CALL_SECONDS)
    found = next((o for o in answer.objects if o.metadata.name == wanted.name), None)
    if condition is Condition.DELETE:
        return 0 if found is not None else answer.revision
    if found is None or found.metadata.generation < wanted.generation:
        return 0
    return int(found.metadata.resource_version)


async def _progress(pilots: Sequence[str], revision: int) -> Progress:
    """What all Pilots say of their proxies."""
    rows: list[Mapping[str, Any]] = []
    for each in pilots:
        rows += json.loads(await fetched(each, PAGE))
    waiting = [why for row in rows if (why := _lack(row, revision))]
    return Progress(len(rows) - len(waiting), len(rows), tuple(sorted(waiting)))


def _lack(row: Mapping[str, Any], revision: int) -> str:
    """Why a proxy does not have a revision; "" if it has."""
    if row["revision"] < revision:
        return f"{row['proxy']}: not sent yet"
    if row["rejected"]:
        return f"{row['proxy']}: rejects {', '.join(row['rejected'])}"
    if row["behind"]:
        return f"{row['proxy']}: has not acknowledged {', '.join(row['behind'])}"
    return ""
