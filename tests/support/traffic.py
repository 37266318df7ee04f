"""Requests through a laptop mesh by the sample's load generator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from mast.cli.demo.samples import bookinfo, workloads
from mast.cli.demo.stage import Stage
from mast.cli.local import fleet
from tests.support.laptop import Laptop, mesh

SERVICES = ("details", "loadgen")


@asynccontextmanager
async def details_under_load(mode: str, scratch: Path) -> AsyncIterator[tuple[Laptop, Stage]]:
    """A mesh with details and the load generator in it, ready to be used."""
    async with AsyncExitStack() as stack:
        machine = await stack.enter_async_context(mesh(mode))
        running = machine.home.running()
        specs = [spec for spec in workloads(scratch) if spec.service in SERVICES]
        await fleet.launch(machine.home, specs)
        stage = Stage(machine.home, running, bookinfo(), scratch)

        async def serves() -> bool:
            return (await stage.one("http://details:9080/details/0")).status == 200

        assert await stage.until(serves)
        yield machine, stage


async def steady(stage: Stage, seconds: float) -> list[str]:
    """Problems among the requests of so many seconds: an empty list is what tests want."""
    answers = await stage.send(
        "http://details:9080/details/0", seconds=seconds, concurrency=4, interval_ms=5
    )
    assert len(answers) > seconds * 50
    return [f"{a.status} {a.error}{a.body[:200]}" for a in answers if a.status != 200]
