"""A gRPC library that speaks xDS itself, on Pilot's ADS (pilot.md B29)."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import ParseDict
from grpc import aio

from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS, Resource, resource
from tests.fakes.pilot_views import FakeMesh
from tests.support import ads_server as ads_support
from tests.support.ads_server import ads_server, until

HOST = "echo.shop.svc.cluster.local:80"
CLUSTER = "outbound|80||echo.shop.svc.cluster.local"
ADS = {"ads": {}, "resource_api_version": "V3"}
NODE = "sidecar~10.0.0.9~grpc-1.shop~shop.svc.cluster.local"


def client_listener() -> Resource:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "rds": {"route_config_name": CLUSTER, "config_source": ADS},
        "http_filters": [
            {
                "name": "router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
    }
    listener = {"name": HOST, "api_listener": {"api_listener": manager}}
    return resource(HOST, LDS, ParseDict(listener, Listener()))


def route() -> Resource:
    hosts = [
        {
            "name": HOST,
            "domains": [HOST, "echo.shop.svc.cluster.local"],
            "routes": [{"match": {"prefix": ""}, "route": {"cluster": CLUSTER}}],
        }
    ]
    config = {"name": CLUSTER, "virtual_hosts": hosts}
    return resource(CLUSTER, RDS, ParseDict(config, RouteConfiguration()))


def cluster() -> Resource:
    config = {
        "name": CLUSTER,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ADS, "service_name": CLUSTER},
        "lb_policy": "ROUND_ROBIN",
    }
    return resource(CLUSTER, CDS, ParseDict(config, Cluster()), requires=[CLUSTER])


def endpoints(*ports: int) -> Resource:
    found = [
        {
            "endpoint": {
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}
            },
            "health_status": "HEALTHY",
        }
        for port in ports
    ]
    group = {"locality": {"region": "r"}, "load_balancing_weight": 1, "lb_endpoints": found}
    config = {"cluster_name": CLUSTER, "endpoints": [group]}
    return resource(CLUSTER, EDS, ParseDict(config, ClusterLoadAssignment()))


@asynccontextmanager
async def echo(name: str) -> AsyncIterator[int]:
    """A gRPC server that says its name; gives its port."""

    async def say(request: bytes, context: Any) -> bytes:
        del context
        return name.encode() + b" heard " + request

    server = aio.server()
    handlers: dict[str, Any] = {"Say": grpc.unary_unary_rpc_method_handler(say)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


class Caller:
    """A process that calls through gRPC's own xDS client."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self, text: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text.encode() + b"\n")
        async with asyncio.timeout(30):
            return (await self._process.stdout.readline()).decode().strip()


@asynccontextmanager
async def caller(port: int, target: str, directory: Path) -> AsyncIterator[Caller]:
    bootstrap = {
        "xds_servers": [
            {
                "server_uri": f"127.0.0.1:{port}",
                "channel_creds": [{"type": "insecure"}],
                "server_features": ["xds_v3"],
            }
        ],
        "node": {"id": NODE, "metadata": {"GENERATOR": "grpc", "NAMESPACE": "shop"}},
    }
    path = directory / "xds.json"
    path.write_text(json.dumps(bootstrap))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.proxyless_client", target),
        env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(path)},
        cwd=Path(__file__).parents[3],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Caller(process)
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def mesh():
    assert ads_support.NODE_ID  # its module makes the messages known that appear by name only
    made = FakeMesh()
    made.put(client_listener(), route(), cluster())
    return made


async def test_calls_follow_the_endpoints(mesh, tmp_path):
    async with echo("one") as one, echo("two") as two:
        mesh.put(endpoints(one))
        async with (
            ads_server(mesh) as ads,
            caller(ads.port, f"xds:///{HOST}", tmp_path) as client,
        ):
            assert await client.call("hello") == "one heard hello"
            watches = next(iter(ads.connections.open.values())).session.state.watches
            assert {url: set(each.names) for url, each in watches.items()} == {
                CDS: {CLUSTER},
                EDS: {CLUSTER},
                LDS: {HOST},
                RDS: {CLUSTER},
            }
            await until(lambda: all(each.quiet for each in watches.values()))
            mesh.put(endpoints(two))
            await ads.push()
            async with asyncio.timeout(10):
                while not (await client.call("again")).startswith("two"):
                    continue
            assert ads.metric("pilot_total_xds_rejects") == 0


async def test_an_unknown_target_is_unavailable(mesh, tmp_path):
    async with (
        ads_server(mesh) as ads,
        caller(ads.port, "xds:///unknown.shop.svc.cluster.local:80", tmp_path) as client,
    ):
        answer = await client.call("hello")
        assert answer.startswith("UNAVAILABLE")
        assert "unknown.shop.svc.cluster.local:80" in answer
