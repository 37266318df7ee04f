"""How a proxy is drained before it ends (citadel-and-agent.md B6.2)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web

from mast.agent.store.admin import EnvoyAdmin
from mast.agent.store.draining import Drain

SOON = timedelta(milliseconds=1)
BUSY = "listener.0.0.0.0_9080.downstream_cx_active: 1\n"
IDLE = "listener.0.0.0.0_9080.downstream_cx_active: 0\n"
OWN = "listener.0.0.0.0_15021.downstream_cx_active: 3\nlistener.admin.downstream_cx_active: 1\n"


class Admin:
    """Answers for statistics from a list; the last one again and again, None is an error."""

    def __init__(self, *pages: str | None) -> None:
        self.pages = list(pages)
        self.orders: list[str] = []
        self.looked = 0

    async def drain(self, request: web.Request) -> web.Response:
        self.orders.append(request.query_string)
        return web.Response(text="OK")

    async def stats(self, _: web.Request) -> web.Response:
        page = self.pages[min(self.looked, len(self.pages) - 1)]
        self.looked += 1
        return web.Response(status=500) if page is None else web.Response(text=page)


@asynccontextmanager
async def serving(admin: Admin) -> AsyncIterator[EnvoyAdmin]:
    app = web.Application()
    app.router.add_post("/drain_listeners", admin.drain)
    app.router.add_get("/stats", admin.stats)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as http:
            yield EnvoyAdmin(http, f"http://127.0.0.1:{runner.addresses[0][1]}")
    finally:
        await runner.cleanup()


def drain(**changes: object) -> Drain:
    settings = {
        "inbound_only": True,
        "exit_on_zero": True,
        "termination": SOON,
        "minimum": SOON,
        "own_ports": frozenset({15021, 15090}),
        "interval": SOON,
    }
    return Drain(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pages", "looks"),
    [
        pytest.param((BUSY, BUSY, IDLE), 3, id="until-idle"),
        pytest.param((OWN + IDLE,), 1, id="own-ports-do-not-count"),
        pytest.param(("",), 1, id="no-such-statistic"),
        pytest.param((None,), 5, id="five-errors"),
        pytest.param((None, None, None, None, BUSY, None), 10, id="five-errors-in-a-row"),
    ],
)
async def test_exit_on_zero(pages: tuple[str | None, ...], looks: int) -> None:
    admin = Admin(*pages)
    async with serving(admin) as client:
        await drain().run(client)
    assert admin.looked == looks
    assert admin.orders == ["inboundonly&graceful"]


async def test_otherwise_a_time_passes() -> None:
    admin = Admin(BUSY)
    async with serving(admin) as client:
        await drain(exit_on_zero=False, inbound_only=False).run(client)
    assert (admin.looked, admin.orders) == (0, ["graceful"])


async def test_without_ending_listeners_stay_open() -> None:
    """What a native sidecar's preStop asks for (B6.3)."""
    admin = Admin(BUSY)
    async with serving(admin) as client:
        assert await client.drain(inbound_only=True, skip_exit=True)
    assert admin.orders == ["inboundonly&graceful&skip_exit"]


async def test_an_envoy_that_is_gone_is_not_waited_for() -> None:
    async with aiohttp.ClientSession() as http:
        gone = EnvoyAdmin(http, "http://127.0.0.1:9")
        assert not await gone.drain(inbound_only=True)
        await drain().run(gone)
