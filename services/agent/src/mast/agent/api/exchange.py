"""The security token service of `--stsPort`: Envoy's gRPC clients exchange tokens here (RFC 8693).

Differs from Istio: the exchange is the standard's, with the token endpoint that the operator names;
Istio knows Google's only.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import structlog
from aiohttp import web

from mast.agent.core.exchange import INVALID_REQUEST, Exchange, Refused, exchange

log = structlog.get_logger()

TOKEN_PATH = "/token"  # noqa: S105 - a path
STATUS_PATH = "/stsStatus"


class Exchanger(Protocol):
    """Where tokens are had."""

    async def exchanged(self, wanted: Exchange, /) -> Mapping[str, Any]: ...
    @property
    def status(self) -> list[dict[str, str]]: ...


@asynccontextmanager
async def exchange_server(tokens: Exchanger, host: str, port: int) -> AsyncIterator[int]:
    """Serve on an address of this machine only; 0 takes a free port. Yields the port."""

    async def token(request: web.Request) -> web.Response:
        try:
            if request.method != "POST":
                raise Refused(INVALID_REQUEST, f"method {request.method}: want POST")
            form = await _form(request)
            found = await tokens.exchanged(exchange(request.headers.get("content-type", ""), form))
        except Refused as refused:
            log.info("token.refused", code=refused.code, reason=str(refused))
            return web.Response(status=400, text=refused.body(), content_type="application/json")
        return web.json_response(found, headers={"cache-control": "no-store"})

    async def status(_: web.Request) -> web.Response:
        return web.json_response({"tokens": tokens.status})

    app = web.Application()
    app.router.add_route("*", TOKEN_PATH, token)
    app.router.add_get(STATUS_PATH, status)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = int(runner.addresses[0][1])
        log.info("service.listening", name="token-exchange", address=f"{host}:{bound}")
        yield bound
    finally:
        await runner.cleanup()


async def _form(request: web.Request) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in (await request.post()).items()}
    except (ValueError, LookupError) as error:  # bytes that are no text, an unknown encoding
        raise Refused(INVALID_REQUEST, "the form cannot be read") from error
