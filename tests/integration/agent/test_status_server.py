"""The agent's status server and what it gathers (citadel-and-agent.md B7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address

import aiohttp
import pytest
from aiohttp import web

from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.api.status import SCRAPE_TIMEOUT, Status, status_server
from mast.agent.core.scrape import TEXT, Page
from mast.agent.store.inputs import host_addresses
from mast.agent.store.probes import Outcome
from mast.agent.store.scraping import Scraper

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def elsewhere() -> str:
    """An address of this machine that is not loopback: whose callers are strangers."""
    usable = [
        each
        for each in map(ip_address, host_addresses())
        if each.version == 4 and not each.is_loopback and not each.is_link_local
    ]
    if not usable:
        pytest.skip("this machine has no address but loopback")
    return str(usable[0])


class Told:
    """What a status server was asked to tell and to do."""

    def __init__(self) -> None:
        self.problems: tuple[str, ...] = ()
        self.scrapes: list[tuple[str, float]] = []
        self.left = 0
        self.drains = True

    def status(self) -> Status:
        async def problems() -> tuple[str, ...]:
            return self.problems

        async def metrics(query: str, seconds: float) -> Page:
            self.scrapes.append((query, seconds))
            return Page(TEXT, b"m 1\n")

        async def probe(*_: object) -> Outcome:
            return Outcome(200)

        async def drain() -> bool:
            return self.drains

        def leave() -> None:
            self.left += 1

        return Status(
            problems=problems,
            metrics=metrics,
            probers={},
            probe=probe,
            drain=drain,
            leave=leave,
            names=NameTable,
        )


@asynccontextmanager
async def served(told: Told) -> AsyncIterator[tuple[aiohttp.ClientSession, int]]:
    async with (
        status_server(told.status(), "0.0.0.0", 0) as port,  # noqa: S104
        aiohttp.ClientSession() as http,
    ):
        yield http, port


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/quitquitquit"),
        ("POST", "/drain"),
        ("GET", "/debug/ndsz"),
        ("GET", "/debug/pprof/"),
        ("GET", "/debug/pprof/goroutine"),
    ],
)
async def test_orders_and_debug_pages_are_for_this_machine(method: str, path: str) -> None:
    told, stranger = Told(), elsewhere()
    async with served(told) as (http, port):
        async with http.request(method, f"http://{stranger}:{port}{path}") as answer:
            assert (answer.status, await answer.text()) == (403, "only from loopback\n")
        assert told.left == 0
        async with http.request(method, f"http://127.0.0.1:{port}{path}") as answer:
            assert answer.status == 200
        other = "GET" if method == "POST" else "POST"
        async with http.request(other, f"http://127.0.0.1:{port}{path}") as answer:
            assert answer.status == 405


async def test_readiness_is_for_everybody_with_every_reason() -> None:
    told, stranger = Told(), elsewhere()
    async with served(told) as (http, port):
        told.problems = ("one", "two")
        async with http.get(f"http://{stranger}:{port}/healthz/ready") as answer:
            assert (answer.status, await answer.text()) == (503, "one; two\n")
        told.problems = ()
        async with http.get(f"http://{stranger}:{port}/healthz/ready") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, 10.0), ({SCRAPE_TIMEOUT: "2.5"}, 2.5), ({SCRAPE_TIMEOUT: "soon"}, 10.0)],
)
@pytest.mark.parametrize("path", ["/metrics", "/stats/prometheus"])
async def test_scrapes_pass_query_and_patience_on(
    path: str, headers: dict[str, str], seconds: float
) -> None:
    told = Told()
    async with served(told) as (http, port):
        url = f"http://127.0.0.1:{port}{path}?usedonly"
        async with http.get(url, headers=headers) as answer:
            assert answer.headers["content-type"] == TEXT
    assert told.scrapes == [("usedonly", seconds)]


async def test_unknown_probes_and_an_envoy_that_does_not_drain() -> None:
    told = Told()
    told.drains = False
    async with served(told) as (http, port):
        async with http.get(f"http://127.0.0.1:{port}/app-health/web/livez") as answer:
            assert answer.status == 400
        async with http.post(f"http://127.0.0.1:{port}/drain") as answer:
            assert answer.status == 503


@asynccontextmanager
async def pages(answer: Answer) -> AsyncIterator[tuple[Scraper, list[str]]]:
    """A scraper of Envoy and of one page of an application, both served by ``answer``."""
    asked: list[str] = []

    async def noted(request: web.Request) -> web.StreamResponse:
        asked.append(request.path_qs)
        return await answer(request)

    app = web.Application()
    app.router.add_get("/{path:.*}", noted)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as http:
            yield Scraper(session=http, envoy=base, application=(f"{base}/metrics",)), asked
    finally:
        await runner.cleanup()


async def test_what_is_scraped() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="m 1\n", content_type="text/plain")

    async with pages(answer) as (scraper, asked):
        page = await scraper.envoy_page("usedonly", 5)
        assert page is not None
        assert page.body == b"m 1\n"
        assert [each.body for each in await scraper.application_pages(5)] == [b"m 1\n"]
    assert asked == ["/stats/prometheus?usedonly", "/metrics"]


async def test_a_page_that_is_too_large_slow_or_broken_is_left_out() -> None:
    async def large(_: web.Request) -> web.Response:
        return web.Response(body=bytes(10 * 1024 * 1024 + 1))

    async def slow(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async def broken(_: web.Request) -> web.Response:
        return web.Response(status=500, text="m 1")

    for answer, seconds in ((large, 20), (slow, 0.1), (broken, 20)):
        async with pages(answer) as (scraper, _):
            assert await scraper.application_pages(seconds) == []
            assert await scraper.envoy_page("", seconds) is None
