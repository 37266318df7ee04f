"""A program for agents to stand beside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.http_site import http_site


@dataclass
class Application:
    """A program on 127.0.0.1: ``/`` answers at once, ``/slow`` when it is released."""

    port: int = 0
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    ill: bool = False


@asynccontextmanager
async def running_application() -> AsyncIterator[Application]:
    """Serve on a free port until the block is left."""
    program = Application()

    async def at_once(_: web.Request) -> web.Response:
        return web.Response(status=503 if program.ill else 200, text="hello")

    async def slow(_: web.Request) -> web.Response:
        program.begun.set()
        await program.released.wait()
        return web.Response(text="slow")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=b"# TYPE app_requests counter\napp_requests_total 7\n# EOF\n",
            headers={"content-type": "application/openmetrics-text; version=1.0.0"},
        )

    app = web.Application()
    for path, handler in {
        "/": at_once,
        "/slow": slow,
        "/metrics": metrics,
    }.items():
        app.router.add_get(path, handler)
    async with http_site(app) as program.port:
        yield program
