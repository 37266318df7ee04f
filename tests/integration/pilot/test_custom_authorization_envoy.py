"""Policies with action CUSTOM: a real Envoy asks real authorizers (pilot.md J6).

One Envoy stands before several workloads; what requests ask for decides who is asked about them.
The Sidecar shows the workloads nothing, so that the clusters of authorizers are there regardless.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import grpc
import pytest
import pytest_asyncio
from aiohttp import web
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from grpc import aio

from mast.pilot.core.world.world import World
from tests.support.authorizers import (
    ALLOWED,
    GrpcAuthorizer,
    HttpAuthorizer,
    grpc_authorizer,
    http_authorizer,
)
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.golden_view import resources_of, static
from tests.support.http_probe import EchoServer, Reply, dial, echo_server, fetch
from tests.support.http_site import http_site
from tests.support.mesh_yaml import sidecar_proxy, world
from tests.support.outbound_envoy import answering
from tests.support.proxyless import echo

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEB, RPC, SOCKET = 9080, 9090, 9081
STREAM, HTTP_STREAM, BROKEN_STREAM = 9000, 9001, 9002
ADA = {"x-user": ALLOWED}

MESH = """
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: istio-system}},
 spec: {{enableAutoMtls: false, extensionProviders: [
   {{name: http, envoyExtAuthzHttp: {{service: http.test, port: 9100, pathPrefix: /check,
     timeout: 20s, statusOnError: "500", clearRouteCache: true,
     includeRequestHeadersInCheck: [X-User, "x-pre-*"], includeHeadersInCheck: [x-old],
     includeAdditionalHeadersInCheck: {{x-fixed: "50%", x-asked: "%REQ(:METHOD)%"}},
     includeRequestBodyInCheck: {{maxRequestBytes: 8, allowPartialMessage: true}},
     headersToUpstreamOnAllow: ["x-up-*"], headersToDownstreamOnDeny: [x-why],
     headersToDownstreamOnAllow: [x-down]}}}},
   {{name: grpc, envoyExtAuthzGrpc: {{service: grpc.test, port: 9101, timeout: 20s,
     includeRequestBodyInCheck: {{maxRequestBytes: 8, packAsBytes: true}}}}}},
   {{name: open, envoyExtAuthzGrpc: {{service: gone.test, port: 9102, failOpen: true}}}},
   {{name: open-http, envoyExtAuthzHttp: {{service: gone.test, port: 9103, failOpen: true}}}},
   {{name: closed, envoyExtAuthzGrpc: {{service: gone.test, port: 9102}}}},
   {{name: unavailable, envoyExtAuthzGrpc: {{service: gone.test, port: 9102,
     statusOnError: "503"}}}},
   {{name: misnamed, envoyExtAuthzGrpc: {{service: nobody.test, port: 9102}}}},
   {{name: logger, envoyFileAccessLog: {{path: /dev/null}}}}]}}}}
---
{{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {{name: default, namespace: istio-system}}, spec: {{mtls: {{mode: DISABLE}}}}}}
---
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: http, namespace: a}},
 spec: {{hosts: [http.test], location: MESH_INTERNAL, resolution: STATIC,
   ports: [{{number: 9100, name: http, protocol: HTTP}}],
   endpoints: [{{address: 127.0.0.1, ports: {{http: {http}}}}}]}}}}
---
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: grpc, namespace: a}},
 spec: {{hosts: [grpc.test], location: MESH_INTERNAL, resolution: STATIC,
   ports: [{{number: 9101, name: grpc, protocol: GRPC}}],
   endpoints: [{{address: 127.0.0.1, ports: {{grpc: {grpc}}}}}]}}}}
---
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: gone, namespace: a}},
 spec: {{hosts: [gone.test], location: MESH_INTERNAL, resolution: STATIC,
   ports: [{{number: 9102, name: grpc, protocol: GRPC}},
           {{number: 9103, name: http, protocol: HTTP}}],
   endpoints: [{{address: 127.0.0.1, ports: {{grpc: 1, http: 1}}}}]}}}}
"""
SIDECAR = """
{{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {{name: {app}}},
 spec: {{workloadSelector: {{labels: {{app: {app}}}}}, egress: [{{hosts: ["~/*"]}}],
   ingress: [{ports}]}}}}
"""
INGRESS = (
    "{{port: {{number: {number}, name: p{number}, protocol: {protocol}}}, bind: 127.0.0.1,"
    " defaultEndpoint: '127.0.0.1:{target}'}}"
)


def custom(provider: str, rule: str, app: str = "web") -> str:
    """A policy that leaves what a rule matches to an authorizer."""
    return f"""
{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy,
 metadata: {{name: {app}-{provider}}},
 spec: {{selector: {{matchLabels: {{app: {app}}}}}, action: CUSTOM, provider: {{name: {provider}}},
   rules: [{rule}]}}}}
"""


def paths(path: str) -> str:
    return f"{{to: [{{operation: {{paths: ['{path}']}}}}]}}"


POLICIES = [
    custom("grpc", paths("/test.Echo/Slow")).replace("web-grpc", "web-calls"),
    *(
        custom(each, paths(f"/{each}/*"))
        for each in (
            *("http", "grpc", "open", "open-http", "closed", "unavailable"),
            *("misnamed", "logger", "unknown"),
        )
    ),
    custom("grpc", "{}", "stream"),
    custom("http", "{}", "http-stream"),
    custom("unknown", paths("/x"), "broken-stream"),
    """
{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: deny},
 spec: {selector: {matchLabels: {app: web}}, action: DENY,
   rules: [{to: [{operation: {paths: ["*/secret", /test.Echo/Abort]}}]}]}}
""",
]


@dataclass
class Site:
    """The Envoy, the application behind it, and whom it asks."""

    envoy: EnvoyServer
    application: EchoServer
    http: HttpAuthorizer
    grpc: GrpcAuthorizer

    def port(self, number: int) -> int:
        """Where a port of a workload is."""
        return self.envoy.ports[f"127.0.0.1_{number}"]

    async def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        """A request to the workload that speaks HTTP."""
        return await fetch(self.port(WEB), "web.test", path, headers=headers)

    async def answers(self, number: int) -> bool:
        """Whether a server of bytes answers."""
        try:
            async with dial(self.port(number)) as (reader, writer), asyncio.timeout(20):
                writer.write(b"?")
                return bool(await reader.read(1))
        except ConnectionError:
            return False


def before(made: World, app: str) -> Bootstrap:
    """All that the proxy of a workload gets, its listeners on ports of their own."""
    proxy = sidecar_proxy("default", ip="127.0.0.1", labels={"app": app}, INTERCEPTION_MODE="NONE")
    config = static(resources_of(made.snapshot(1).view(proxy)))
    for each in config.static_resources.listeners:
        each.address.socket_address.port_value = 0
    return config


@asynccontextmanager
async def web_sockets() -> AsyncIterator[int]:
    """An application that says what it hears on web sockets; gives its port."""

    async def answer(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    async with http_site(application) as port:
        yield port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    directory: Path = tmp_path_factory.mktemp("custom")
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(http_authorizer())
        over_grpc = await stack.enter_async_context(grpc_authorizer())
        application = await stack.enter_async_context(echo_server("application"))
        rpc = await stack.enter_async_context(echo("rpc"))
        sockets = await stack.enter_async_context(web_sockets())
        stream = await stack.enter_async_context(answering("stream"))
        apps = {
            "web": [
                (WEB, "HTTP", application.port),
                (RPC, "GRPC", rpc),
                (SOCKET, "HTTP", sockets),
            ],
            "stream": [(STREAM, "TCP", stream)],
            "http-stream": [(HTTP_STREAM, "TCP", stream)],
            "broken-stream": [(BROKEN_STREAM, "TCP", stream)],
        }
        sidecars = [
            SIDECAR.format(
                app=app,
                ports=", ".join(
                    INGRESS.format(number=number, protocol=protocol, target=target)
                    for number, protocol, target in ports
                ),
            )
            for app, ports in apps.items()
        ]
        made = world(MESH.format(http=http.port, grpc=over_grpc.port), *sidecars, *POLICIES)
        config = before(made, "web")
        known = {each.name for each in config.static_resources.clusters}
        for app in apps:
            own = before(made, app).static_resources
            if app != "web":
                config.static_resources.listeners.extend(own.listeners)
                fresh = [each for each in own.clusters if each.name not in known]
                config.static_resources.clusters.extend(fresh)
                known |= {each.name for each in fresh}
        envoy = await stack.enter_async_context(envoy_server(config, directory))
        yield Site(envoy, application, http, over_grpc)
        assert complaints(envoy.log.read_text()) == []


async def test_nobody_is_asked_about_the_rest(site: Site) -> None:
    before_http, before_grpc = len(site.http.asked), len(site.grpc.asked)
    assert (await site.get("/")).status == 200
    assert (len(site.http.asked), len(site.grpc.asked)) == (before_http, before_grpc)


async def test_http_allows(site: Site) -> None:
    sent = {**ADA, "x-pre-a": "1", "x-old": "2", "x-other": "3", "content-length": "0"}
    reply = await site.get("/http/a?b=c", sent)
    assert (reply.status, reply.echo.path) == (200, "/http/a?b=c")
    assert reply.echo.header("x-up-user") == "known"
    assert reply.echo.header("x-secret") == ""
    assert (reply.header("x-down"), reply.header("x-secret")) == ("told", "")
    asked = site.http.asked[-1]
    assert (asked.method, asked.path) == ("GET", "/check/http/a?b=c")
    told = {name: asked.headers.get(name) for name in ("x-user", "x-pre-a", "x-old", "x-other")}
    assert told == {"x-user": ALLOWED, "x-pre-a": "1", "x-old": "2", "x-other": None}
    assert (asked.headers["x-fixed"], asked.headers["x-asked"]) == ("50%", "GET")


async def test_http_refuses(site: Site) -> None:
    seen = len(site.application.seen)
    reply = await site.get("/http/a")
    assert (reply.status, reply.body) == (401, b"who are you?")
    assert (reply.header("x-why"), reply.header("x-secret")) == ("nobody", "")
    assert len(site.application.seen) == seen


async def test_http_is_told_the_beginning_of_a_body(site: Site) -> None:
    url = f"http://127.0.0.1:{site.port(WEB)}/http/body"
    async with (
        aiohttp.ClientSession() as client,
        client.post(url, data=b"0123456789", headers=ADA) as reply,
    ):
        assert reply.status == 200
    assert site.http.asked[-1].body == b"01234567"


async def test_grpc_allows(site: Site) -> None:
    reply = await site.get("/grpc/a", ADA)
    assert (reply.status, reply.echo.header("x-up-user")) == (200, "known")
    asked = site.grpc.asked[-1].attributes.request.http
    assert (asked.path, asked.headers["x-user"]) == ("/grpc/a", ALLOWED)


async def test_grpc_refuses(site: Site) -> None:
    reply = await site.get("/grpc/a")
    assert (reply.status, reply.body) == (402, b"who pays?")


async def test_grpc_is_told_the_body_as_bytes(site: Site) -> None:
    url = f"http://127.0.0.1:{site.port(WEB)}/grpc/body"
    async with aiohttp.ClientSession() as client:
        async with client.post(url, data=b"\xff\xfe", headers=ADA) as reply:
            assert reply.status == 200
        async with client.post(url, data=b"0123456789", headers=ADA) as reply:
            assert reply.status == 413  # no part of it may stand for all
    bodies = [each.attributes.request.http.raw_body for each in site.grpc.asked]
    assert bodies[-1] == b"\xff\xfe"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/open/a", 200, id="open-over-grpc"),
        pytest.param("/open-http/a", 200, id="open-over-http"),
        pytest.param("/closed/a", 403, id="closed"),
        pytest.param("/unavailable/a", 503, id="own-status"),
        pytest.param("/misnamed/a", 403, id="no-such-service"),
        pytest.param("/logger/a", 403, id="no-authorizer"),
        pytest.param("/unknown/a", 403, id="no-such-provider"),
        pytest.param("/unknown", 200, id="what-its-rules-do-not-match"),
    ],
)
async def test_who_cannot_be_asked(site: Site, path: str, status: int) -> None:
    assert (await site.get(path, ADA)).status == status


async def test_what_is_allowed_may_still_be_denied(site: Site) -> None:
    asked = len(site.grpc.asked)
    reply = await site.get("/grpc/secret", ADA)
    assert (reply.status, reply.body) == (403, b"RBAC: access denied")
    assert len(site.grpc.asked) == asked + 1


@pytest.mark.parametrize(
    ("method", "user", "code"),
    [
        pytest.param("Say", "", grpc.StatusCode.OK, id="nobody-asked"),
        pytest.param("Slow", ALLOWED, grpc.StatusCode.OK, id="allowed"),
        pytest.param("Slow", "bob", grpc.StatusCode.UNKNOWN, id="refused"),
        pytest.param("Abort", ALLOWED, grpc.StatusCode.PERMISSION_DENIED, id="denied"),
    ],
)
async def test_grpc_calls(site: Site, method: str, user: str, code: grpc.StatusCode) -> None:
    """Methods are paths; refusals by rules have gRPC's own status."""
    async with aio.insecure_channel(f"127.0.0.1:{site.port(RPC)}") as channel:
        path = f"/test.Echo/{method}"
        call = channel.unary_unary(path)(b"hi", metadata=[("x-user", user)], timeout=20)
        assert await call.code() is code


@pytest.mark.parametrize(
    ("path", "user", "status"),
    [
        pytest.param("/socket", "", 101, id="nobody-asked"),
        pytest.param("/grpc/socket", ALLOWED, 101, id="allowed"),
        pytest.param("/grpc/socket", "bob", 402, id="refused"),
        pytest.param("/secret", ALLOWED, 403, id="denied"),
    ],
)
async def test_web_sockets(site: Site, path: str, user: str, status: int) -> None:
    url = f"http://127.0.0.1:{site.port(SOCKET)}{path}"
    async with aiohttp.ClientSession(headers={"x-user": user}) as client:
        try:
            async with client.ws_connect(url) as socket, asyncio.timeout(20):
                await socket.send_str("hello")
                assert await socket.receive_str() == "hello"
                found = 101
        except aiohttp.WSServerHandshakeError as refused:
            found = refused.status
    assert found == status


@pytest.mark.parametrize("may", [True, False], ids=["allowed", "refused"])
async def test_connections_are_asked_about_by_grpc(site: Site, may: bool) -> None:
    site.grpc.connections = may
    asked = len(site.grpc.asked)
    assert await site.answers(STREAM) is may
    (question,) = site.grpc.asked[asked:]
    assert question.attributes.source.address.socket_address.address == "127.0.0.1"


async def test_connections_are_not_asked_about_by_http(site: Site) -> None:
    asked = len(site.http.asked)
    assert await site.answers(HTTP_STREAM)
    assert len(site.http.asked) == asked


async def test_connections_are_refused_if_nobody_can_be_asked(site: Site) -> None:
    assert not await site.answers(BROKEN_STREAM)
