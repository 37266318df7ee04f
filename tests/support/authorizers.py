"""External authorizers for tests: real servers of both kinds that remember what they were asked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.service.auth.v3 import external_auth_pb2_grpc
from envoy.service.auth.v3.external_auth_pb2 import (
    CheckRequest,
    CheckResponse,
    DeniedHttpResponse,
    OkHttpResponse,
)
from envoy.type.v3.http_status_pb2 import HttpStatus
from google.rpc.code_pb2 import OK, PERMISSION_DENIED
from google.rpc.status_pb2 import Status
from grpc import aio
from multidict import CIMultiDictProxy

from tests.support.http_site import http_site

ALLOWED = "ada"
"""Who may: requests say it in the header `x-user`."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question by HTTP."""

    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes


@dataclass
class HttpAuthorizer:
    """Answers 200 to those who may, with headers for all directions, else 401."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)

    async def judge(self, request: web.Request) -> web.Response:
        """One answer."""
        self.asked.append(
            Asked(
                method=request.method,
                path=request.raw_path,
                headers=request.headers,
                body=await request.read(),
            )
        )
        given = {"x-up-user": "known", "x-down": "told", "x-secret": "kept", "x-why": "nobody"}
        if request.headers.get("x-user") == ALLOWED:
            return web.Response(headers=given)
        return web.Response(status=401, text="who are you?", headers=given)


@dataclass
class GrpcAuthorizer(external_auth_pb2_grpc.AuthorizationServicer):
    """As above, by gRPC; of connections those may that `connections` says."""

    port: int = 0
    asked: list[CheckRequest] = field(default_factory=list)
    connections: bool = True

    async def Check(
        self, request: CheckRequest, context: aio.ServicerContext[Any, Any]
    ) -> CheckResponse:
        """One answer."""
        del context
        self.asked.append(request)
        http = request.attributes.request.http
        if not http.method:
            code = OK if self.connections else PERMISSION_DENIED
            return CheckResponse(status=Status(code=code))
        given = [HeaderValueOption(header=HeaderValue(key="x-up-user", value="known"))]
        if http.headers.get("x-user") == ALLOWED:
            return CheckResponse(status=Status(code=OK), ok_response=OkHttpResponse(headers=given))
        denied = DeniedHttpResponse(status=HttpStatus(code=402), body="who pays?")  # type: ignore[arg-type]
        return CheckResponse(status=Status(code=PERMISSION_DENIED), denied_response=denied)


@asynccontextmanager
async def http_authorizer() -> AsyncIterator[HttpAuthorizer]:
    """One that is asked by HTTP, on a port of its own."""
    made, application = HttpAuthorizer(), web.Application()
    application.router.add_route("*", "/{path:.*}", made.judge)
    async with http_site(application) as made.port:
        yield made


@asynccontextmanager
async def grpc_authorizer() -> AsyncIterator[GrpcAuthorizer]:
    """One that is asked by gRPC, on a port of its own."""
    made, server = GrpcAuthorizer(), aio.server()
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(made, server)
    made.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield made
    finally:
        await server.stop(None)
