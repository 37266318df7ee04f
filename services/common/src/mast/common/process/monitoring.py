"""The HTTP side of a service: metrics, readiness, version and a service's own debug pages."""

from __future__ import annotations

import asyncio
import os
import resource
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from pathlib import Path

import structlog
from aiohttp import web

from mast.common.process.telemetry import Metrics, number

log = structlog.get_logger()

CONNECTIONS = 1_000
"""How many may be open at a time on one port."""

HANDSHAKE_SECONDS = 10
"""How long a TLS handshake may take."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def staying() -> bool:
    """A server that is not about to end: it is not leaving."""
    return False


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a service can do its work, and what its parts say about themselves."""

    ready: bool
    detail: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def monitoring(
    listen: str,
    *,
    ready: Callable[[], Readiness],
    metrics: Metrics,
    routes: Mapping[str, Handler] | None = None,
) -> AsyncIterator[int]:
    """Serve GET /metrics, /ready, /healthz, /version and ``routes`` on ``host:port``.

    Yields the bound port. /ready is 200 or 503 with a JSON object of details; /healthz is 200 as
    long as the process answers.
    """

    async def on_ready(_: web.Request) -> web.Response:
        now = ready()
        body = {"ready": now.ready, **now.detail}
        return web.json_response(body, status=200 if now.ready else 503)

    async def on_metrics(_: web.Request) -> web.Response:
        return web.Response(
            text=metrics.render() + process_metrics(),
            headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def on_health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def on_version(_: web.Request) -> web.Response:
        return web.json_response({"version": version("mast-common")})

    builtin = {
        "/ready": on_ready,
        "/metrics": on_metrics,
        "/healthz": on_health,
        "/version": on_version,
    }
    async with http_server(listen, {**builtin, **(routes or {})}, name="monitoring") as port:
        yield port


_PROCESS: Mapping[str, str] = {
    "process_cpu_seconds_total": "Processor time spent, in seconds",
    "process_virtual_memory_bytes": "Virtual memory, in bytes",
    "process_resident_memory_bytes": "Resident memory, in bytes",
    "process_open_fds": "Open file descriptors",
    "process_max_fds": "File descriptors that may be open",
    "process_start_time_seconds": "When the process started, in seconds since 1970",
}


def process_metrics() -> str:
    """The process as every Prometheus client describes it, in the text format.

    Processor time everywhere; memory, file descriptors and start only where there is ``/proc``.
    """
    times = os.times()
    found = {"process_cpu_seconds_total": round(times.user + times.system, 2)}
    proc = Path("/proc/self")
    if proc.is_dir():
        pages = [int(each) for each in (proc / "statm").read_text().split()[:2]]
        found["process_virtual_memory_bytes"] = pages[0] * resource.getpagesize()
        found["process_resident_memory_bytes"] = pages[1] * resource.getpagesize()
        found["process_open_fds"] = len(os.listdir(proc / "fd"))
        found["process_max_fds"] = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        found["process_start_time_seconds"] = _started(proc)
    lines = []
    for name, value in sorted(found.items()):
        kind = "counter" if name.endswith("_total") else "gauge"
        head = [f"# HELP {name} {_PROCESS[name]}", f"# TYPE {name} {kind}"]
        lines += [*head, f"{name} {number(value)}"]
    return "\n".join([*lines, ""])


def _started(proc: Path) -> float:
    """When the process started, in seconds since 1970 (proc(5), "starttime", "btime")."""
    after_name = (proc / "stat").read_text().rpartition(")")[2].split()
    ticks = int(after_name[19])
    boot = next(
        line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime ")
    )
    return int(boot.split()[1]) + ticks / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def http_server(
    listen: str,
    routes: Mapping[str, Handler],
    *,
    name: str = "http",
    tls: ssl.SSLContext | None = None,
    posts: Mapping[str, Handler] | None = None,
    longest_body: int = 0,
    leaving: Callable[[], bool] = staying,
    grace: timedelta = timedelta(seconds=2),
) -> AsyncIterator[int]:
    """Serve GET ``routes`` and POST ``posts`` on ``host:port``, plaintext without ``tls``.

    ``[::]`` stands for every address of both families, as on gRPC's ports.
    Yields the bound port. Headers are bounded by aiohttp (8 KiB a line), connections by
    :data:`CONNECTIONS`, bodies that handlers read by ``longest_body`` bytes (413).
    While it is ``leaving`` every answer ends its connection, so that clients which keep connections
    go elsewhere. On exit nothing new is accepted, running answers get ``grace`` to finish.
    """

    @web.middleware
    async def parting(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if leaving():
            response.force_close()
        return response

    app = web.Application(client_max_size=longest_body, middlewares=[parting])
    for path, handler in routes.items():
        app.router.add_get(path, handler)
    for path, handler in (posts or {}).items():
        app.router.add_post(path, handler)
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=grace.total_seconds(), keepalive_timeout=30
    )
    await runner.setup()
    host, _, port = listen.rpartition(":")
    try:
        server = await asyncio.get_running_loop().create_server(
            partial(_connection, runner),
            None if host in {"", "[::]"} else host.strip("[]"),
            int(port),
            ssl=tls,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
        )
        try:
            # Of port 0 each family has one of its own; IPv4's is told.
            bound = int(min(server.sockets, key=lambda each: each.family).getsockname()[1])
            log.info("service.listening", name=name, address=f"{host}:{bound}")
            yield bound
        finally:
            server.close()
    finally:
        await runner.cleanup()


class _Refusal(asyncio.Protocol):
    """Ends a connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _connection(runner: web.AppRunner) -> asyncio.BaseProtocol:
    """What becomes of another connection."""
    server = runner.server
    if server is None or len(server.connections) >= CONNECTIONS:
        return _Refusal()
    return server()
