"""A gRPC library that speaks xDS itself, on Pilot's ADS (pilot.md B29)."""

import asyncio

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.json_format import ParseDict

from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS, Resource, resource
from tests.fakes.pilot_views import FakeMesh
from tests.support import ads_server as ads_support
from tests.support.ads_server import ads_server, until
from tests.support.proxyless import Workload, caller, echo

HOST = "echo.shop.svc.cluster.local:80"
CLUSTER = "outbound|80||echo.shop.svc.cluster.local"
ADS = {"ads": {}, "resource_api_version": "V3"}


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


def environment(port, directory):
    pilot = f"127.0.0.1:{port}"
    return Workload(pilot=pilot, directory=directory, name="grpc-1", namespace="shop").environment


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
            caller(environment(ads.port, tmp_path), f"xds:///{HOST}") as client,
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
