"""Clusters to the own workload, and those every proxy has (pilot.md E14, G)."""

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.clusters.inbound_clusters import fixed_clusters, inbound_clusters
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.audience import own_targets
from tests.support.mesh_yaml import scope, sidecar_proxy

PROXY = sidecar_proxy("shop", labels={"app": "web"})
SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: web}}
---
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec: {host: web, trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}}}
---
"""


def mesh_config(spec: str) -> str:
    return (
        "apiVersion: mesh.istio.io/v1alpha1\nkind: MeshConfig\n"
        f"metadata: {{name: default, namespace: istio-system}}\nspec: {spec}\n---\n"
    )


def ingress(spec: str, more: str = "") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
        "metadata: {name: s, namespace: shop}\n"
        f"spec: {{ingress: [{{port: {{number: 8080, protocol: HTTP, name: http}}{spec}}}]{more}}}\n"
    )


def inbound(*texts: str, proxy: Proxy = PROXY) -> Cluster:
    found = scope(proxy, *texts)
    targets = own_targets(proxy, found, None)
    (cluster,) = inbound_clusters(found, proxy, targets)
    return cluster


def where(cluster: Cluster) -> Any:
    (locality,) = cluster.load_assignment.endpoints
    (endpoint,) = locality.lb_endpoints
    address = endpoint.endpoint.address
    if address.HasField("pipe"):
        return address.pipe.path
    return address.socket_address.address, address.socket_address.port_value


def test_the_address_dialled_from_an_address_that_is_not_captured() -> None:
    found = inbound(SERVICE)
    assert found.name == "inbound|8080||"
    assert found.type == Cluster.ORIGINAL_DST
    assert found.upstream_bind_config.source_address.address == "127.0.0.6"
    assert found.alt_stat_name == "inbound|8080||;"


DUAL = sidecar_proxy("shop", labels={"app": "web"}, INSTANCE_IPS="10.0.0.1,fd00::1")
V6 = sidecar_proxy("shop", ip="fd00::1", labels={"app": "web"})
NO_CAPTURE = sidecar_proxy(
    "shop",
    ip="127.1.0.2",
    labels={"app": "web"},
    INTERCEPTION_MODE="NONE",
    APP_ENDPOINTS={"8080": "127.0.0.1:43121"},
)


@pytest.mark.parametrize(
    ("proxy", "sources"),
    [(PROXY, ["127.0.0.6"]), (V6, ["::6"]), (DUAL, ["127.0.0.6", "::6"])],
)
def test_sources_of_all_families(proxy: Proxy, sources: list[str]) -> None:
    config = inbound(SERVICE, proxy=proxy).upstream_bind_config
    found = [config.source_address.address]
    found += [each.address.address for each in config.extra_source_addresses]
    assert found == sources


@pytest.mark.parametrize(
    ("texts", "proxy", "expected"),
    [
        pytest.param(
            [mesh_config("{inboundTrafficPolicy: {mode: LOCALHOST}}")],
            PROXY,
            ("127.0.0.1", 8080),
            id="localhost",
        ),
        pytest.param(
            [mesh_config("{inboundTrafficPolicy: {mode: LOCALHOST}}")], V6, ("::1", 8080), id="v6"
        ),
        pytest.param(
            [ingress(", defaultEndpoint: '127.0.0.1:9'")], PROXY, ("127.0.0.1", 9), id="ingress"
        ),
        pytest.param([ingress(", defaultEndpoint: ':9'")], PROXY, ("127.0.0.1", 9), id="port-only"),
        pytest.param([ingress(", defaultEndpoint: '[::1]:9'")], PROXY, ("::1", 9), id="ingress-v6"),
        pytest.param(
            [ingress(", defaultEndpoint: '0.0.0.0:9'")], PROXY, ("10.1.0.7", 9), id="instance"
        ),
        pytest.param([ingress(", defaultEndpoint: unix:///x")], PROXY, "/x", id="socket"),
        pytest.param([], NO_CAPTURE, ("127.0.0.1", 43121), id="not-captured"),
    ],
)
def test_where_the_application_listens(texts: list[str], proxy: Proxy, expected: Any) -> None:
    found = inbound(SERVICE, *texts, proxy=proxy)
    assert found.type == Cluster.STATIC
    assert where(found) == expected
    assert not found.HasField("upstream_bind_config")


def limit(cluster: Cluster) -> int:
    return cluster.circuit_breakers.thresholds[0].max_connections.value


POOL = "{tcp: {maxConnections: 3}}"
OWN_POOL = ", inboundConnectionPool: {tcp: {maxConnections: 5}}"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([], 2**32 - 1, id="none"),
        pytest.param([RULE], 7, id="rule"),
        pytest.param(
            [RULE.replace("host: web", "host: web, workloadSelector: {matchLabels: {app: web}}")],
            2**32 - 1,
            id="rule-for-callers",
        ),
        pytest.param([RULE, ingress("", OWN_POOL)], 5, id="sidecar"),
        pytest.param(
            [RULE, ingress(f", connectionPool: {POOL}", OWN_POOL)], 3, id="ingress-listener"
        ),
    ],
)
def test_limits(texts: list[str], expected: int) -> None:
    assert limit(inbound(SERVICE, *texts)) == expected


def test_an_ingress_port_of_nobody() -> None:
    found = inbound(ingress(", defaultEndpoint: '127.0.0.1:9'"))
    assert not found.metadata.filter_metadata
    assert limit(found) == 2**32 - 1
    assert found.alt_stat_name == "inbound|8080||;"


def test_statistics() -> None:
    template = "'%SERVICE%_%SERVICE_PORT%_%SERVICE_PORT_NAME%_%TARGET_PORT%'"
    found = inbound(SERVICE, mesh_config(f"{{inboundClusterStatName: {template}}}"))
    assert found.alt_stat_name == "web.shop_80_http_8080;"


def test_fixed_clusters() -> None:
    names = ["BlackHoleCluster", "PassthroughCluster", "InboundPassthroughCluster"]
    made = fixed_clusters(Mesh(), PROXY, inbound=True)
    assert [each.name for each in made] == names
    assert [each.name for each in fixed_clusters(Mesh(), PROXY, inbound=False)] == names[:2]
    black_hole, passthrough, own = made
    assert black_hole.type == Cluster.STATIC
    assert not black_hole.load_assignment.endpoints
    assert passthrough.type == own.type == Cluster.ORIGINAL_DST
    assert own.upstream_bind_config.source_address.address == "127.0.0.6"
    (options,) = passthrough.typed_extension_protocol_options.values()
    assert MessageToDict(options)["commonHttpProtocolOptions"] == {"idleTimeout": "300s"}
