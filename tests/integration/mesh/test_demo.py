"""The demonstration itself, in every mode this machine can: every claim must hold."""

from __future__ import annotations

import asyncio
import json
import signal

import aiohttp
import pytest

from mast.cli.demo.show import SCRIPT
from mast.cli.demo.stage import sum_of
from tests.support.laptop import MODES, Laptop, laptop

pytestmark = pytest.mark.timeout(500)


def demo_of(machine: Laptop) -> Laptop:
    """The demonstration's mesh beside the user's own."""
    root = machine.home.root
    return Laptop(root.with_name(f"{root.name}-demo"), machine.mode)


@pytest.mark.parametrize("mode", MODES)
async def test_every_claim_holds_and_keep_leaves_it_running(mode: str) -> None:
    async with laptop(mode) as machine:
        kept = demo_of(machine)
        try:
            ended = await machine.mastctl("demo", "--mode", mode, "--json", "--keep", seconds=400)
            report = json.loads(ended.out)
            assert [c for c in report["claims"] if not c["ok"]] == []
            assert len(report["claims"]) == len(SCRIPT)
            assert ended.status == 0
            assert f"export MAST_HOME={kept.home.root}" in ended.err

            status = json.loads((await kept.mastctl("status", "-o", "json")).out)
            assert [w["running"] for w in status["workloads"]] == [True] * 8
            await all_connected(kept, 8)
            assert await rejections(kept) == 0
        finally:
            assert (await kept.mastctl("down")).status == 0
        assert await kept.leftovers() == []


async def all_connected(machine: Laptop, count: int) -> None:
    """Wait until so many proxies are connected: the last claim killed their Pilot."""
    async with asyncio.timeout(40):
        while True:
            proxies = json.loads((await machine.mastctl("proxy-status", "-o", "json")).out)
            if len(proxies) == count:
                return


async def rejections(machine: Laptop) -> float:
    """How often proxies refused what Pilot sent."""
    url = f"http://{machine.home.running().addresses['pilot-monitoring']}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        page = await answer.text()
    assert "pilot_xds_pushes" in page
    return sum_of(page, "pilot_total_xds_rejects", {})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_demo_leaves_nothing(number: signal.Signals) -> None:
    async with laptop(MODES[0]) as machine:
        running = await machine.start("demo", "--mode", machine.mode)
        kept = demo_of(machine)
        async with asyncio.timeout(60):
            while not kept.home.workloads():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
            running.send_signal(number)
            await running.communicate()
        assert running.returncode == 130
        assert await kept.leftovers() == []
