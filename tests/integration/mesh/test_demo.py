"""The demonstration itself, in every mode this machine can: every claim must hold."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from mast.cli.demo.show import SCRIPT
from tests.support.laptop import MODES, Laptop, laptop

pytestmark = pytest.mark.timeout(400)


def demo_of(machine: Laptop) -> Laptop:
    """The demonstration's mesh beside the user's own."""
    root = machine.home.root
    return Laptop(root.with_name(f"{root.name}-demo"), machine.mode)


@pytest.mark.parametrize("mode", MODES)
async def test_every_claim_holds(mode: str) -> None:
    async with laptop(mode) as machine:
        ended = await machine.mastctl("demo", "--mode", mode, "--json", seconds=300)
        report = json.loads(ended.out)
        assert [c for c in report["claims"] if not c["ok"]] == []
        assert len(report["claims"]) == len(SCRIPT)
        assert ended.status == 0
        assert await demo_of(machine).leftovers() == []


async def test_keep_leaves_it_running_and_says_where() -> None:
    async with laptop(MODES[0]) as machine:
        await machine.mastctl("demo", "--mode", machine.mode, "--keep", seconds=300)
        kept = demo_of(machine)
        try:
            status = json.loads((await kept.mastctl("status", "-o", "json")).out)
            assert len(status["workloads"]) == 8
            assert all(workload["running"] for workload in status["workloads"])
        finally:
            assert (await kept.mastctl("down")).status == 0
        assert await kept.leftovers() == []


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
