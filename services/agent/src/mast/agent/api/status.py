"""The status server on 15020: readiness, merged metrics, drain and exit (B7)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from typing import Protocol

import structlog
from aiohttp import web
from google.protobuf.json_format import MessageToDict

from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.api import profiles
from mast.agent.core.probers import Probe
from mast.agent.core.scrape import Page

log = structlog.get_logger()

SCRAPE_TIMEOUT = "x-prometheus-scrape-timeout-seconds"
_DEFAULT_SCRAPE = 10.0


class Outcome(Protocol):
    """What a probe of the application found."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...
    @property
    def problem(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Status:
    """What the server tells and what it sets off.

    ``problems`` says why the proxy is not ready (empty: it is), ``metrics`` merges the pages for
    a query string and a timeout in seconds, ``probe`` makes one of ``probers``, ``drain`` begins
    to drain without ending, ``leave`` ends the agent without draining.
    """

    problems: Callable[[], Awaitable[tuple[str, ...]]]
    metrics: Callable[[str, float], Awaitable[Page]]
    probers: Mapping[str, Probe]
    probe: Callable[[Probe, Mapping[str, str]], Awaitable[Outcome]]
    drain: Callable[[], Awaitable[bool]]
    leave: Callable[[], None]
    names: Callable[[], NameTable | None]


@asynccontextmanager
async def status_server(status: Status, host: str, port: int) -> AsyncIterator[int]:
    """Serve on an address; 0 takes a free port. Yields the port."""
    app = web.Application()
    pages = _Pages(status)
    app.router.add_get("/healthz/ready", pages.ready)
    app.router.add_get("/metrics", pages.metrics)
    app.router.add_get("/stats/prometheus", pages.metrics)
    app.router.add_get("/app-health/{container}/{kind}", pages.app_probe)
    app.router.add_get("/app-lifecycle/{container}/{kind}", pages.app_probe)
    app.router.add_get("/debug/ndsz", pages.names)
    app.router.add_get("/debug/pprof/", pages.profiles)
    app.router.add_get("/debug/pprof/{page}", pages.profiles)
    app.router.add_route("*", "/quitquitquit", pages.quit)
    app.router.add_route("*", "/drain", pages.drain)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = int(runner.addresses[0][1])
        log.info("service.listening", name="status", address=f"{host}:{bound}")
        yield bound
    finally:
        await runner.cleanup()


class _Pages:
    def __init__(self, status: Status) -> None:
        self._status = status
        self._told: tuple[str, ...] | None = None

    async def ready(self, _: web.Request) -> web.Response:
        problems = await self._status.problems()
        if problems != self._told:
            log.info("proxy.ready" if not problems else "proxy.not_ready", problems=problems)
            self._told = problems
        if problems:
            return web.Response(status=503, text="; ".join(problems) + "\n")
        return web.Response(text="ready\n")

    async def metrics(self, request: web.Request) -> web.Response:
        try:
            seconds = float(request.headers.get(SCRAPE_TIMEOUT, _DEFAULT_SCRAPE))
        except ValueError:
            seconds = _DEFAULT_SCRAPE
        page = await self._status.metrics(request.query_string, seconds)
        return web.Response(body=page.body, headers={"content-type": page.content_type})

    async def app_probe(self, request: web.Request) -> web.Response:
        probe = self._status.probers.get(request.path)
        if probe is None:
            return web.Response(status=400, text=f"no probe is registered for {request.path}\n")
        outcome = await self._status.probe(probe, request.headers)
        if outcome.problem:
            log.info("probe.failed", path=request.path, reason=outcome.problem)
            return web.Response(status=outcome.status, text=outcome.problem + "\n")
        return web.Response(status=outcome.status, body=outcome.body)

    async def names(self, request: web.Request) -> web.Response:
        if refusal := _refuse(request, "GET"):
            return refusal
        table = self._status.names()
        return web.json_response(MessageToDict(table) if table is not None else {})

    async def profiles(self, request: web.Request) -> web.Response:
        if refusal := _refuse(request, "GET"):
            return refusal
        match request.match_info.get("page"):
            case None:
                text = profiles.INDEX
            case "profile":
                try:
                    seconds = float(request.query.get("seconds", profiles.DEFAULT.total_seconds()))
                    length = timedelta(seconds=max(0.0, seconds))
                except (ValueError, OverflowError):
                    return web.Response(status=400, text="seconds: want a number\n")
                text = await profiles.profile(length)
            case "goroutine":
                text = profiles.activities()
            case "heap":
                text = await profiles.objects()
            case "cmdline":
                text = profiles.command_line()
            case other:
                return web.Response(status=404, text=f"no page {other!r}:\n{profiles.INDEX}")
        return web.Response(text=text)

    async def quit(self, request: web.Request) -> web.Response:
        if refusal := _refuse(request, "POST"):
            return refusal
        log.info("agent.quit_requested")
        self._status.leave()
        return web.Response(text="ok\n")

    async def drain(self, request: web.Request) -> web.Response:
        if refusal := _refuse(request, "POST"):
            return refusal
        taken = await self._status.drain()
        if not taken:
            return web.Response(status=503, text="Envoy did not begin to drain\n")
        return web.Response(text="draining\n")


def _refuse(request: web.Request, method: str) -> web.Response | None:
    """Orders and debug pages are for this machine only (B7)."""
    if request.remote is None or not ip_address(request.remote).is_loopback:
        return web.Response(status=403, text="only from loopback\n")
    if request.method != method:
        return web.Response(status=405, text=f"want {method}\n", headers={"allow": method})
    return None
