"""An application of aiohttp on a port of its own."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def http_site(
    application: web.Application, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """The port where the application is served on loopback; open requests end with the block."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
