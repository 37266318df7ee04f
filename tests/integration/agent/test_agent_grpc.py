"""gRPC programs that speak xDS themselves, served by an agent alone (pilot.md B29)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS
from tests.integration.agent.control_plane import ControlPlane
from tests.integration.agent.running import agent, environment, loopback
from tests.support.etcd_server import free_port
from tests.support.mesh_yaml import sidecar_proxy, world
from tests.support.proxyless import caller, server

KINDS: dict[str, type[Message]] = {
    LDS: Listener,
    RDS: RouteConfiguration,
    CDS: Cluster,
    EDS: ClusterLoadAssignment,
}
ISTIO = {"security.istio.io/tlsMode": "istio"}
CLUSTER = "outbound|8080||reviews.shop.svc.cluster.local"
SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: [reviews.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 8080, name: grpc, protocol: GRPC}}]
  endpoints:
  - address: 127.0.0.1
    serviceAccount: reviews
    labels: {{security.istio.io/tlsMode: istio}}
    ports: {{grpc: {port}}}
"""


def told(plane: ControlPlane, port: int) -> None:
    """Have the control plane say what Pilot would say of a service on a port."""
    proxy = sidecar_proxy("shop", labels=ISTIO, GENERATOR="grpc")
    view: Any = world(SERVICE.format(port=port)).snapshot(1).view(proxy)
    listener = f"xds.istio.io/grpc/lds/inbound/127.0.0.1:{port}"
    names = {LDS: ("reviews:8080", listener), RDS: (CLUSTER,), CDS: (CLUSTER,), EDS: (CLUSTER,)}
    for type_url, wanted in names.items():
        found = {
            name: KINDS[type_url].FromString(view.named(type_url, name).body) for name in wanted
        }
        plane.discovery.set(type_url, found)


async def test_programs_find_mesh_and_identity_through_the_agent(
    plane: ControlPlane, work: Path
) -> None:
    """A server and two clients share its socket; what they prove are its certificates."""
    port = free_port()
    told(plane, port)
    env = environment(
        plane,
        loopback(),
        GRPC_XDS_BOOTSTRAP="./grpc.json",
        OUTPUT_CERTS="./certs",
        DISABLE_ENVOY="true",
    )
    program = {**os.environ, "GRPC_XDS_BOOTSTRAP": str(work / "grpc.json")}
    async with agent(work, env) as running:
        await running.until(15020, "/healthz/ready", lambda status, _: status == 200)
        mode = (work / "etc/istio/proxy/XDS").stat().st_mode & 0o777
        assert mode == 0o666, "programs run as other users than the agent"
        async with (
            server(program, "reviews", f"127.0.0.1:{port}", secure=True),
            caller(program, "xds:///reviews:8080", secure=True) as one,
            caller(program, "xds:///reviews:8080", secure=True) as two,
        ):
            mine = "reviews heard a from spiffe://cluster.local/ns/shop/sa/reviews"
            assert await one.until("reviews", text="a") == mine
            assert await two.until("reviews", text="a") == mine
            assert await one.call("a") == mine
        assert not [
            each for each in running.events("ads.disconnected") if "took over" in each["detail"]
        ]
