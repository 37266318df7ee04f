"""Mutual TLS is turned on and off under constant load, in every order, and no request fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from mast.cli.local.configuration import apply
from tests.support.laptop import MODES
from tests.support.traffic import Stage, details_under_load

pytestmark = pytest.mark.timeout(300)

URL = "http://details:9080/details/0"
COURSE = ("DISABLE", "PERMISSIVE", "STRICT", "DISABLE", "STRICT", "PERMISSIVE")
"""On step by step, off and on at one go, and back to PERMISSIVE, where it begins."""


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    tmp_path.chmod(0o755)
    # What is shown is the order of things, which does not depend on how long each takes.
    monkeypatch.setenv("PILOT_MUTUAL_TLS_STEP", "500ms")
    async with details_under_load(MODES[0], tmp_path) as (_, running):
        yield running


async def demand(stage: Stage, mode: str) -> None:
    """A mode for all workloads of the namespace."""
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": {"mtls": {"mode": mode}},
    }
    await apply(stage.mesh, [policy])


async def forbid_retries(stage: Stage) -> None:
    """Otherwise proxies would hide that somebody did not follow."""
    route = {"route": [{"destination": {"host": "details"}}], "retries": {"attempts": 0}}
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "details", "namespace": "default"},
        "spec": {"hosts": ["details"], "http": [route]},
    }
    await apply(stage.mesh, [rule])
    assert await stage.settled()


async def encrypted(stage: Stage) -> bool:
    """Whether the load generator's proxy uses mutual TLS: then details is told who calls."""
    return (await stage.one(URL)).document.get("caller") is not None


async def open_to_all(stage: Stage) -> bool:
    """Whether somebody without a certificate is answered."""
    url = f"http://{stage.workload('details').address}:9080/details/0"
    patience = aiohttp.ClientTimeout(total=5)
    try:
        async with aiohttp.ClientSession(timeout=patience) as session, session.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def in_force(stage: Stage, mode: str) -> bool:
    """The server does as it is told, and callers know."""
    return await encrypted(stage) == (mode != "DISABLE") and await open_to_all(stage) == (
        mode != "STRICT"
    )


async def test_modes_change_under_constant_load(stage: Stage) -> None:
    stop = asyncio.Event()
    failed: list[str] = []
    counts = {True: 0, False: 0}

    async def load() -> None:
        while not stop.is_set():
            for each in await stage.send(URL, seconds=1, concurrency=2, interval_ms=10):
                counts[each.document.get("caller") is not None] += 1
                if each.status != 200:
                    failed.append(f"{each.status} {each.error}{each.body[:200]}")

    await forbid_retries(stage)
    async with asyncio.TaskGroup() as tasks:
        # Two after each other overlap: there is no moment without a request.
        for _ in range(2):
            tasks.create_task(load())
        for mode in COURSE:
            await demand(stage, mode)
            assert await stage.until(lambda mode=mode: in_force(stage, mode), seconds=40), mode
            assert await stage.settled()
        stop.set()
    assert failed == []
    assert min(counts.values()) > 100
