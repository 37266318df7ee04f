"""Workloads in a background process: ``mastctl run --detach`` and the demonstration's."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mast.cli.errors import CommandError
from mast.cli.local.home import Home, Mesh
from mast.cli.local.processes import Process, detached
from mast.cli.local.runner import workload
from mast.cli.local.spec import Port, Spec
from mast.common.process.lifecycle import run

START_SECONDS = 90


async def run_all(
    home: Home, mesh: Mesh, specs: Sequence[Spec], started: Callable[[], None], stop: asyncio.Event
) -> None:
    """Run all workloads until ``stop``, or until every program has ended by itself.

    ``started`` is called once all of them serve. A workload whose program ends is removed; one
    that does not come up ends all of them (CommandError).
    """
    coming = len(specs)

    async def one(spec: Spec) -> None:
        nonlocal coming
        async with workload(home, mesh, spec) as running:
            coming -= 1
            if not coming:
                started()
            await _ended(running.program, stop)

    async with asyncio.TaskGroup() as tasks:
        for spec in specs:
            tasks.create_task(one(spec), name=spec.group)


async def _ended(program: asyncio.subprocess.Process, stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        either = [tasks.create_task(program.wait()), tasks.create_task(stop.wait())]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        for task in either:
            task.cancel()


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


async def launch(home: Home, specs: Sequence[Spec], name: str = "fleet") -> Process:
    """Start a background process that runs ``specs``; return when all of them serve.

    ``name`` tells its files from those of others. CommandError repeats what it complained of.
    """
    report = home.path("data", f"{name}.status")
    report.unlink(missing_ok=True)
    save(specs, home.path("data", f"{name}.json"))
    line = (sys.executable, "-m", "mast.cli.local.fleet", str(home.root), name)
    process = detached(line, home.path("logs", f"{name}.log"))
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


async def _main(home: Home, name: str, stop: asyncio.Event) -> None:
    report = home.path("data", f"{name}.status")

    def say(text: str) -> None:
        aside = report.with_suffix(".new")
        aside.write_text(text)
        aside.replace(report)

    try:
        specs = load(home.path("data", f"{name}.json"))
        await run_all(home, home.running(), specs, lambda: say("ready"), stop)
    except* CommandError as failures:
        error: BaseException = failures
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        say(str(error))


def main() -> None:
    """Run the fleet that a state directory holds under a name: the two arguments."""
    # With it comes OpenTelemetry, which the commands that import this module need not.
    from mast.common.process.telemetry import configure_logging

    root, name = sys.argv[1:]
    configure_logging("fleet")
    home = Home(Path(root))
    run(lambda stop: _main(home, name, stop))


if __name__ == "__main__":
    main()
