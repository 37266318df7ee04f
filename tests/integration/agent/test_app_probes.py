"""Probes of real programs: HTTP, HTTPS, TCP, gRPC, commands, and dead ones (B7, B9, D16)."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from mast.agent.core.probers import ExecProbe, GrpcProbe, HttpProbe, TcpProbe
from mast.agent.store.probes import Prober, healthy
from tests.integration.agent.application import Application
from tests.integration.agent.control_plane import ControlPlane
from tests.integration.agent.running import agent, environment, loopback
from tests.support.http_site import http_site
from tests.support.pki import Ca
from tests.support.tls_contexts import tls_server

PROBER = Prober(host="127.0.0.1")
QUICK = timedelta(milliseconds=300)
PATIENT = timedelta(seconds=20)
SLOW = "no answer within 0.3 s"


@pytest.fixture
async def pages() -> AsyncIterator[int]:
    """A program whose paths behave as they are called."""

    async def who(request: web.Request) -> web.Response:
        return web.Response(text=f"{request.remote} {request.headers.get('x-probe')}")

    async def status(request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["code"]), text="body")

    async def here(_: web.Request) -> web.Response:
        raise web.HTTPFound("/who")

    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPFound("http://example.invalid/")

    async def astray(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"location": "http://h:99999/"})

    async def around(_: web.Request) -> web.Response:
        raise web.HTTPFound("/around")

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * 100_000)

    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/status/{code}", status)
    for handler in (who, here, elsewhere, astray, around, large, never):
        app.router.add_get(f"/{handler.__name__}", handler)
    async with http_site(app) as port:
        yield port


@pytest.mark.parametrize(
    ("path", "status", "body", "problem"),
    [
        pytest.param("/who", 200, b"127.0.0.6 yes", "", id="from-the-proxys-address"),
        pytest.param("/status/404", 404, b"body", "", id="status-passed-on"),
        pytest.param("/here", 200, b"127.0.0.6 yes", "", id="redirect-followed"),
        pytest.param("/elsewhere", 200, b"", "", id="redirect-elsewhere-is-a-success"),
        pytest.param("/around", 500, b"", "more than 10 redirects", id="redirect-loop"),
        pytest.param("/large", 200, b"x" * 10240, "", id="body-cut-at-10-KiB"),
        pytest.param("/never", 500, b"", SLOW, id="timeout"),
    ],
)
async def test_http(pages: int, path: str, status: int, body: bytes, problem: str) -> None:
    timeout = QUICK if problem == SLOW else PATIENT
    probe = HttpProbe(port=pages, path=path, headers=(("x-probe", "yes"),), timeout=timeout)
    found = await PROBER.probe(probe, {"host": "ignored", "x-other": "1"})
    assert (found.status, found.body[:10240], found.problem) == (status, body, problem)


async def test_an_unusable_redirect_is_a_failure(pages: int) -> None:
    found = await PROBER.probe(HttpProbe(port=pages, path="/astray", timeout=PATIENT))
    assert found.status == 500
    assert "ValueError" in found.problem


async def test_endpoints_say_where_ports_are(pages: int) -> None:
    prober = replace(PROBER, source=False, endpoints={"9080": f"127.0.0.1:{pages}"})
    found = await prober.probe(HttpProbe(port=9080, path="/who"))
    assert found.body == b"127.0.0.1 None"


async def test_https_is_not_verified() -> None:
    async def ok(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/", ok)
    async with http_site(app, tls_server(Ca.root().leaf(dns=["whoever"]))) as port:
        probe = HttpProbe(port=port, path="/", https=True)
        assert (await PROBER.probe(probe)).body == b"ok"


async def test_tcp(pages: int) -> None:
    assert (await PROBER.probe(TcpProbe(port=pages))).status == 200
    dead = await PROBER.probe(TcpProbe(port=9))
    assert dead.status == 500
    assert "refused" in dead.problem.lower()


class Callers(grpc.aio.ServerInterceptor):
    """Notes who calls."""

    def __init__(self) -> None:
        self.peers: list[str] = []

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)

        async def noted(request: Any, context: Any) -> Any:
            self.peers.append(context.peer())
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            noted, handler.request_deserializer, handler.response_serializer
        )


async def test_grpc() -> None:
    callers = Callers()
    server = grpc.aio.server(interceptors=[callers])
    servicer = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        assert (await PROBER.probe(GrpcProbe(port=port))).status == 200
        assert callers.peers[0].startswith("ipv4:127.0.0.6:")
        await servicer.set("s", health_pb2.HealthCheckResponse.NOT_SERVING)
        ill = await PROBER.probe(GrpcProbe(port=port, service="s"))
        assert (ill.status, ill.problem) == (500, "gRPC health: NOT_SERVING")
        unknown = await PROBER.probe(GrpcProbe(port=port, service="x"))
        assert unknown.status == 500
        dead = await PROBER.probe(GrpcProbe(port=9, timeout=QUICK))
        assert dead.status == 500
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        pytest.param("pass", "", id="good"),
        pytest.param("raise SystemExit(3)", "exit status 3", id="bad"),
        pytest.param("import time; time.sleep(60)", SLOW, id="slow"),
    ],
)
async def test_commands(code: str, problem: str) -> None:
    timeout = QUICK if problem == SLOW else PATIENT
    probe = ExecProbe(command=(sys.executable, "-I", "-S", "-c", code), timeout=timeout)
    assert healthy(await PROBER.probe(probe)) == problem


async def test_no_such_command() -> None:
    found = await PROBER.probe(ExecProbe(command=("/no/such/command",)))
    assert "FileNotFoundError" in healthy(found)


async def test_http_health_counts_redirect_statuses_as_good(pages: int) -> None:
    for code, problem in ((204, ""), (304, ""), (404, "HTTP status 404")):
        found = await PROBER.probe(HttpProbe(port=pages, path=f"/status/{code}"))
        assert healthy(found) == problem


async def test_kubelet_asks_the_agent(
    plane: ControlPlane, work: Path, application: Application
) -> None:
    """`/app-health` on 15020; metrics of an application that is dead do not fail the rest."""
    probers = {
        "/app-health/reviews/livez": {"httpGet": {"port": 9080, "path": "/"}},
        "/app-health/reviews/readyz": {"tcpSocket": {"port": 9}},
    }
    env = environment(
        plane,
        loopback(),
        ISTIO_KUBE_APP_PROBERS=json.dumps(probers),
        ISTIO_META_APP_ENDPOINTS=json.dumps({"9080": f"127.0.0.1:{application.port}"}),
        ISTIO_PROMETHEUS_ANNOTATIONS='{"scrape":"true","port":"9"}',
        DISABLE_ENVOY="true",
    )
    async with agent(work, env) as running:
        await running.until(15020, "/healthz/ready", lambda status, _: status == 200)
        assert await running.get(15020, "/app-health/reviews/livez") == (200, "hello")
        application.ill = True
        assert (await running.get(15020, "/app-health/reviews/livez"))[0] == 503
        status, text = await running.get(15020, "/app-health/reviews/readyz")
        assert status == 500
        assert "ConnectionRefused" in text
        assert (await running.get(15020, "/app-health/other/livez"))[0] == 400
        status, text = await running.get(15020, "/metrics")
        assert status == 200
        assert "istio_agent_num_outgoing_requests" in text


async def test_legacy_destination_is_localhost(
    plane: ControlPlane, work: Path, application: Application
) -> None:
    """Programs that listen on localhost only, as before Istio 1.10; lightstep is only warned of."""
    probers = {
        "/app-health/reviews/livez": {"httpGet": {"port": application.port, "path": "/"}},
    }
    address = loopback()
    env = environment(
        plane,
        address,
        ISTIO_KUBE_APP_PROBERS=json.dumps(probers),
        REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION="true",
        DISABLE_ENVOY="true",
    )
    config = json.loads(env["PROXY_CONFIG"]) | {"tracing": {"lightstep": {"address": "l:1"}}}
    async with agent(work, env | {"PROXY_CONFIG": json.dumps(config)}) as running:
        await running.until(15020, "/healthz/ready", lambda status, _: status == 200)
        assert await running.get(15020, "/app-health/reviews/livez") == (200, "hello")
        warned = await running.logged("tracing.unsupported")
        assert warned["tracer"] == "lightstep"
