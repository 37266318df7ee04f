"""Several workloads in one background process: what ``mastctl demo`` leaves behind with --keep."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mast.cli.errors import CommandError
from mast.cli.local.home import Home, Mesh
from mast.cli.local.processes import Process, detached
from mast.cli.local.runner import workload
from mast.cli.local.spec import Port, Spec
from mast.common.lifecycle import run
from mast.common.telemetry import configure_logging

START_SECONDS = 90


@asynccontextmanager
async def running(home: Home, mesh: Mesh, specs: Sequence[Spec]) -> AsyncIterator[None]:
    """Run all workloads at once; on exit all of them drain and end at once."""
    stacks = [AsyncExitStack() for _ in specs]
    try:
        async with asyncio.TaskGroup() as starting:
            for stack, spec in zip(stacks, specs, strict=True):
                starting.create_task(stack.enter_async_context(workload(home, mesh, spec)))
        yield
    finally:
        async with asyncio.TaskGroup() as ending:
            for stack in stacks:
                ending.create_task(stack.aclose())


def save(specs: Sequence[Spec], path: Path) -> None:
    """Write specs for :func:`load`."""
    path.write_text(json.dumps([asdict(spec) for spec in specs]))


def load(path: Path) -> list[Spec]:
    """Read what :func:`save` wrote."""
    records: list[dict[str, Any]] = json.loads(path.read_text())
    return [
        Spec(
            **{
                **record,
                "ports": tuple(Port(**port) for port in record["ports"]),
                "command": tuple(record["command"]),
            }
        )
        for record in records
    ]


async def launch(home: Home, specs: Sequence[Spec]) -> Process:
    """Start a background process that runs ``specs``; return when all of them serve.

    CommandError repeats what it complained of.
    """
    report = home.path("data", "fleet.status")
    report.unlink(missing_ok=True)
    save(specs, home.path("data", "fleet.json"))
    line = (sys.executable, "-m", "mast.cli.local.fleet", str(home.root))
    process = detached(line, home.path("logs", "fleet.log"))
    if process is None:
        raise CommandError("the workloads did not start", hint=f"see {home.path('logs')}")
    try:
        async with asyncio.timeout(START_SECONDS):
            while not report.exists() and process.alive():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise CommandError(f"the workloads did not start within {START_SECONDS} s") from None
    status = report.read_text() if report.exists() else "they ended at once"
    if status != "ready":
        raise CommandError(f"the workloads did not start: {status}", hint=_last_words(home))
    return process


def _last_words(home: Home) -> str:
    logs = sorted(home.path("logs").glob("*.proxy.log"), key=lambda p: p.stat().st_mtime)
    lines = logs[-1].read_text(errors="replace").splitlines()[-5:] if logs else []
    return "\n".join(lines)


async def _main(home: Home, stop: asyncio.Event) -> None:
    report = home.path("data", "fleet.status")
    try:
        async with running(home, home.running(), load(home.path("data", "fleet.json"))):
            report.write_text("ready")
            await stop.wait()
    except* CommandError as failures:
        error: BaseException = failures
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        report.write_text(str(error))


def main() -> None:
    """Run the fleet recorded in the state directory given as the only argument."""
    (root,) = sys.argv[1:]
    configure_logging("fleet")
    home = Home(Path(root))
    run(lambda stop: _main(home, stop))


if __name__ == "__main__":
    main()
