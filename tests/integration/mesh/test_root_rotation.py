"""A root follows another under load, and nobody notices (citadel-and-agent.md A8.5, D8)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mast.cli.demo.stage import Stage
from tests.support.laptop import MODES, Laptop
from tests.support.traffic import details_under_load, steady

pytestmark = pytest.mark.timeout(300)


async def ca(machine: Laptop, *arguments: str) -> Any:
    """`mastctl ca …` as JSON."""
    ended = await machine.mastctl("ca", *arguments, "-o", "json")
    assert ended.status == 0, ended.err
    return json.loads(ended.out)


async def rotated(machine: Laptop, scratch: Path) -> None:
    """prepare, activate, taint; until the old root is nobody's any more."""
    (old,) = (await ca(machine, "status"))["slots"]
    (_, new) = (await ca(machine, "prepare"))["slots"]
    assert (new["state"], old["state"]) == ("PREPARED", "ACTIVE")
    await ca(machine, "activate", "--wait", "120")
    again = await machine.mastctl("ca", "activate")
    assert again.status == 1
    assert "no slot is prepared" in again.err
    tainted = await ca(machine, "taint")
    assert {each["id"]: each["state"] for each in tainted["slots"]}[old["id"]] == "OLD"
    async with asyncio.timeout(120):
        while len(seen := (await ca(machine, "status"))["slots"]) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    assert [(each["id"], each["state"]) for each in seen] == [(new["id"], "ACTIVE")]
    roots = (await machine.mastctl("ca", "bundle")).out
    assert roots.count("BEGIN CERTIFICATE") == 1


async def loaded(stage: Stage, until: asyncio.Event) -> list[str]:
    """Problems of all requests until the event."""
    problems: list[str] = []
    while not until.is_set():
        problems += await steady(stage, 5)
    return problems


@pytest.mark.parametrize("mode", MODES[-1:])
async def test_a_root_is_replaced_under_load(mode: str, tmp_path: Path) -> None:
    async with details_under_load(mode, tmp_path) as (machine, stage):
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(loaded(stage, over))
            try:
                await rotated(machine, tmp_path)
            finally:
                over.set()
        assert load.result() == []
        late = await machine.run("ratings", "ratings", "--port", "9080")
        assert await stage.until(lambda: serves(stage)), "a workload that came later is let in"
        late.terminate()
        await late.wait()


async def serves(stage: Stage) -> bool:
    return (await stage.one("http://ratings:9080/ratings/0")).status == 200
