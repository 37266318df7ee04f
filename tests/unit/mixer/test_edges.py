"""The edges of adapters: work that goes on in the background, lists over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from aiohttp import web

from mast.common.process.monitoring import http_server
from mast.mixer.adapters.fetching import fetch
from mast.mixer.adapters.listchecker import Fetched, Listchecker
from mast.mixer.adapters.stdio import Stdio
from tests.support.mixer_config import Clock
from tests.unit.mixer.test_lines import Slow
from tests.unit.mixer.test_listchecker import config as list_config
from tests.unit.mixer.test_prometheus import GAUGE, Scrape, batch
from tests.unit.mixer.test_stdio import NOW, Lines, metric
from tests.unit.mixer.test_stdio import config as stdio_config


@asynccontextmanager
async def serving(body: bytes, status: int = 200, pause: float = 0) -> AsyncIterator[str]:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(pause)
        return web.Response(body=body, status=status)

    async with http_server("127.0.0.1:0", {"/list": handler}) as port:
        yield f"http://127.0.0.1:{port}/list"


@pytest.mark.parametrize("status", [200, 404])
async def test_fetch(status: int) -> None:
    async with serving(b"a\nb\n", status) as url:
        assert await fetch(url) == Fetched(status, b"a\nb\n")


async def test_a_slow_provider_is_given_up() -> None:
    async with serving(b"", pause=5) as url:
        with pytest.raises(OSError, match=r"could not fetch .*: \w*Timeout"):
            await fetch(url, timedelta(milliseconds=50))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/list", "http://", "nothing"])
async def test_a_provider_that_is_not_there(url: str) -> None:
    with pytest.raises(OSError, match="could not fetch"):
        await fetch(url)


async def test_a_list_may_not_be_endless() -> None:
    async with serving(b"x" * 11) as url:
        with pytest.raises(OSError, match="longer than 10 bytes"):
            await fetch(url, max_bytes=10)
    async with serving(b"x" * 10) as url:
        assert (await fetch(url, max_bytes=10)).body == b"x" * 10


async def test_lists_are_fetched_again_and_again() -> None:
    fetched = asyncio.Event()
    answers = [Fetched(200, b"a"), Fetched(200, b"b")]

    async def provider(_: str) -> Fetched:
        if len(answers) > 1:
            return answers.pop(0)
        fetched.set()
        return answers[0]

    params = list_config(provider_url="http://x", refresh_interval="0.01s").params
    handler = Listchecker(params, provider, lambda: 0.0)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        await handler.prepare()
        running = tasks.create_task(handler.run())
        await fetched.wait()
        running.cancel()


class TellingClock(Clock):
    """Tells when somebody looks at it."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_at = asyncio.Event()

    def __call__(self) -> float:
        self.looked_at.set()
        return super().__call__()


async def test_series_expire_in_the_background() -> None:
    scrape = Scrape()
    scrape.clock = clock = TellingClock()
    handler = scrape.handler(
        GAUGE, metrics_expiry_duration="10s", expiry_check_interval_duration="0.01s"
    )
    await handler.prepare()
    handler.report([batch("g", 1)])
    clock.now += 10
    clock.looked_at.clear()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(handler.run())
        await clock.looked_at.wait()
        running.cancel()
    assert scrape.registry.size == 0


async def test_lines_are_written_in_the_background() -> None:
    sink = Slow()
    handler = Stdio(stdio_config().params, Lines(sink), lambda: NOW)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(handler.run())
        handler.report([metric(1)])
        await sink.written.wait()
        running.cancel()
    assert len(sink.texts) == 1
