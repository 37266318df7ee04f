"""Pilot goes away while a cluster warms in a real Envoy (pilot.md B6, B15, acceptance 3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from grpc import aio

from mast.common.process.serving import Listen, serving
from mast.pilot.api.ads import SERVICE
from mast.pilot.core.model.proxy import parse
from mast.pilot.core.xds.outputs import Send
from mast.pilot.core.xds.resources import CDS, EDS, RDS
from mast.pilot.core.xds.responses import DeltaEncoder, Responses, SotwEncoder
from mast.pilot.core.xds.session_delta import DeltaSession
from mast.pilot.core.xds.session_sotw import SotwSession
from mast.pilot.core.xds.shared import Shared
from tests.fakes.pilot_views import FakeMesh, assignment, eds_cluster, routes
from tests.support.ads_server import (
    Ads,
    MachineClock,
    ads_server,
    bootstrap,
    http_listener,
    load,
    until,
)
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.etcd_server import free_port
from tests.support.http_probe import echo_server


class ForgetfulPilot:
    """Says everything that a Pilot says but for endpoints, once it is told to withhold them."""

    def __init__(self, mesh: FakeMesh, delta: bool) -> None:
        self.mesh = mesh
        self.withholds = False
        self._delta = delta
        self._clock = MachineClock()
        self._number = 0
        self._session: Any = None
        self._context: Any = None

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def push(self) -> None:
        await self._send(self._session.push(self.mesh.view(), self._next(), self._clock.instant()))

    async def _send(self, outputs: Any) -> None:
        for each in outputs:
            if isinstance(each, Send) and not (self.withholds and each.type_url == EDS):
                await self._context.write(each.payload)

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> None:
        self._context = context
        encoder = DeltaEncoder(b"") if self._delta else SotwEncoder(b"")
        kind = DeltaSession if self._delta else SotwSession
        async for request in requests:
            if self._session is None:
                shared = Shared(Responses(encoder), self._next)
                self._session = kind(parse(request.node), self.mesh.view(), shared)
            await self._send(self._session.receive(request, self._clock.instant()))

    def register(self, server: aio.Server) -> None:
        kind = DeltaDiscoveryRequest if self._delta else DiscoveryRequest
        name = "DeltaAggregatedResources" if self._delta else "StreamAggregatedResources"
        handlers: dict[str, Any] = {
            name: grpc.stream_stream_rpc_method_handler(
                self._stream, request_deserializer=kind.FromString
            )
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))


@asynccontextmanager
async def forgetful(mesh: FakeMesh, port: int, delta: bool) -> AsyncIterator[ForgetfulPilot]:
    pilot = ForgetfulPilot(mesh, delta)
    listen = [Listen(f"127.0.0.1:{port}")]
    async with serving(pilot.register, listen, grace=timedelta()):
        yield pilot


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_configuration_goes_on_after_a_restart(tmp_path, delta):
    port = free_port()
    async with echo_server("a") as backend:
        mesh = FakeMesh()
        mesh.put(eds_cluster("a"), assignment("a", [backend.port]))
        mesh.put(http_listener("in", "r"), routes("r", "a"))
        async with AsyncExitStack() as stack, AsyncExitStack() as before:
            first = await before.enter_async_context(forgetful(mesh, port, delta))
            envoy = await stack.enter_async_context(
                envoy_server(bootstrap(port, delta=delta), tmp_path)
            )
            first.withholds = True
            mesh.put(eds_cluster("a", "changed"))
            await first.push()
            await until(lambda: _warming(envoy, 1))
            async with load(envoy.ports["in"]):
                await before.aclose()
                mesh.put(eds_cluster("b"), assignment("b", [backend.port]), routes("r", "b"))
                ads = await stack.enter_async_context(ads_server(mesh, port=port))
                await until(lambda: ads.connections.open)
                began = asyncio.get_running_loop().time()
                await until(lambda: _converged(envoy, ads))
                assert asyncio.get_running_loop().time() - began < 10
            assert await envoy.stat("cluster_manager.cds.update_rejected") == 0


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_a_changed_cluster_keeps_its_endpoints_if_nobody_sends_any(tmp_path, delta):
    """Its `initial_fetch_timeout` ends the wait (pilot.md B8, B16)."""
    port = free_port()
    mesh = FakeMesh()
    async with echo_server("a") as backend, forgetful(mesh, port, delta) as pilot:
        mesh.put(eds_cluster("a", seconds=1), assignment("a", [backend.port]))
        mesh.put(http_listener("in", "r"), routes("r", "a"))
        async with envoy_server(bootstrap(port, delta=delta), tmp_path) as envoy:
            pilot.withholds = True
            async with load(envoy.ports["in"]):
                mesh.put(eds_cluster("a", "changed", seconds=1))
                await pilot.push()
                await until(lambda: _warming(envoy, 1))
                await until(lambda: _warming(envoy, 0))
                seen = len(backend.seen)
                await backend.wait_for(seen + 3)
            assert await envoy.stat("cluster.changed.init_fetch_timeout") == 1


async def _warming(envoy: EnvoyServer, number: int) -> bool:
    return await envoy.stat("cluster_manager.warming_clusters") == number


async def _converged(envoy: EnvoyServer, ads: Ads) -> bool:
    clusters = {line.partition("::")[0] for line in (await envoy.get("/clusters")).splitlines()}
    watch = ads.watch(RDS)
    return (
        {"a", "b"} <= clusters
        and await _warming(envoy, 0)
        and watch is not None
        and watch.quiet
        and ads.watch(CDS).requested
    )
