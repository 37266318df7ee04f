"""demo: the whole mesh on this machine, with evidence."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from mast.cli.demo import show
from mast.cli.demo.show import Claim
from mast.cli.errors import CommandError
from mast.cli.local import mesh as meshes
from mast.cli.local.home import LOOPBACK, NAMESPACES
from mast.cli.output import note, progress, stdout, table


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(demo)


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    keep: Annotated[bool, typer.Option(help="Leave everything running afterwards.")] = False,
    mode: Annotated[str, typer.Option(help="namespaces, loopback, or auto.")] = "auto",
) -> None:
    """Run bookinfo in a mesh on this machine and prove every claim with real traffic.

    Exit status 0 if every claim held, 1 otherwise.
    """
    chosen = meshes.default_mode() if mode == "auto" else mode
    if chosen not in {NAMESPACES, LOOPBACK}:
        raise CommandError(f"mode {mode!r}: use auto, {NAMESPACES} or {LOOPBACK}", status=2)
    began = datetime.now(tz=UTC)  # noqa: TID251 - the edge where time enters
    claims = asyncio.run(_interruptible(chosen, began, keep))
    seconds = (datetime.now(tz=UTC) - began).total_seconds()  # noqa: TID251
    if as_json:
        data = {"mode": chosen, "seconds": round(seconds, 1), "claims": [asdict(c) for c in claims]}
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    else:
        _report(claims, chosen, seconds)
    if keep:
        _where(show.home().root.as_posix())
    raise typer.Exit(0 if claims and all(claim.ok for claim in claims) else 1)


async def _interruptible(mode: str, began: datetime, keep: bool) -> list[Claim]:
    """Perform; SIGTERM and SIGINT cancel it, so that everything is removed."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with progress(f"starting the mesh ({mode} mode)") as say:
        try:
            async with show.stage(show.home(), mode, began, say, keep) as on:
                total = len(show.SCRIPT)
                return await show.perform(on, lambda n, text: say(f"[{n}/{total}] {text}"))
        except asyncio.CancelledError:
            raise typer.Exit(130) from None


def _report(claims: list[Claim], mode: str, seconds: float) -> None:
    grid = table(
        f"Mast demo, {mode} mode, {seconds:.0f} s", ["Claim", "Evidence", "Verdict", "Took"]
    )
    for claim in claims:
        verdict = "held" if claim.ok else "DID NOT HOLD"
        grid.add_row(claim.claim, claim.evidence, verdict, f"{claim.seconds:.1f} s")
    stdout.print(grid)


def _where(root: str) -> None:
    note("It is still running. Look around:")
    note(f"  export MAST_HOME={root}")
    note("  mastctl status; mastctl proxy-status; mastctl get all -A")
    note(f"  logs are in {root}/logs")
    note("End it with: mastctl down")
