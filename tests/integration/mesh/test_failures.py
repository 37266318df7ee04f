"""Control plane processes die under traffic: programs do not notice, and everything catches up."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mast.cli.local.processes import gone
from mast.cli.pilot_pages import sync_status
from tests.support.laptop import MODES, Laptop
from tests.support.traffic import Stage, details_under_load, steady

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=MODES[:1])
async def up(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Laptop, Stage]]:
    tmp_path.chmod(0o755)
    async with details_under_load(request.param, tmp_path) as running:
        yield running


async def connected(stage: Stage) -> int:
    """How many proxies Pilot serves; none while it is down."""
    try:
        return len(await sync_status(stage.mesh.addresses["pilot-http"]))
    except Exception:  # noqa: BLE001 - a Pilot that starts answers with many errors
        return 0


async def stored(machine: Laptop, stage: Stage) -> bool:
    """Whether a change can be stored."""
    path = stage.samples / "networking" / "details-plaintext.yaml"
    return (await machine.mastctl("apply", "-f", str(path))).status == 0


async def plaintext(stage: Stage) -> bool:
    """Whether the change of :func:`stored` has reached the load generator's proxy."""
    return (await stage.one("http://details:9080/details/0")).document.get("caller") is None


async def test_every_process_may_be_killed_under_traffic(up: tuple[Laptop, Stage]) -> None:
    machine, stage = up
    for name in ("pilot", "mixer", "citadel", "galley", "etcd"):
        victim = machine.home.services()[name]
        async with asyncio.TaskGroup() as tasks:
            traffic = tasks.create_task(steady(stage, 4))
            await asyncio.sleep(0.5)
            assert victim.send(signal.SIGKILL)
            await gone([victim])
        assert traffic.result() == [], name

        async def back(name: str = name, old: object = victim) -> bool:
            return machine.home.services().get(name) not in {None, old}

        assert await stage.until(back), name

    async def both() -> bool:
        return await connected(stage) == 2

    assert await stage.until(both, seconds=30, pause=0.2)
    assert await stage.until(lambda: stored(machine, stage), seconds=30)
    assert await stage.until(lambda: plaintext(stage), seconds=30)


async def test_etcd_down_for_half_a_minute(up: tuple[Laptop, Stage]) -> None:
    machine, stage = up
    supervisor, victim = stage.mesh.supervisor, machine.home.services()["etcd"]
    supervisor.send(signal.SIGSTOP)
    try:
        assert victim.send(signal.SIGKILL)
        async with asyncio.TaskGroup() as tasks:
            traffic = tasks.create_task(steady(stage, 30))
            path = stage.samples / "networking" / "details-plaintext.yaml"
            refused = await machine.mastctl("apply", "-f", str(path))
            status = await machine.mastctl("status")
        assert traffic.result() == []
        assert refused.status == 1
        assert "etcd" in refused.err
        assert "Traceback" not in refused.err
        assert status.status == 0
    finally:
        supervisor.send(signal.SIGCONT)
    assert await stage.until(lambda: stored(machine, stage), seconds=40)
    assert await stage.until(lambda: plaintext(stage), seconds=30)
