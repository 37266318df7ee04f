"""Connection pools: limits, keepalive, protocols (pilot.md G)."""

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf.json_format import MessageToDict, ParseDict

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.destination_rule_pb2 import ConnectionPoolSettings, TrafficPolicy
from mast.pilot.core.clusters.pools import (
    HTTP_OPTIONS,
    UNLIMITED,
    Upstream,
    apply_http_options,
    apply_pool,
    upstream_protocol,
)
from mast.pilot.core.model.mesh import Mesh, complete
from mast.pilot.core.model.model import Protocol

UPGRADE, KEEP = {"h2UpgradePolicy": "UPGRADE"}, {"h2UpgradePolicy": "DO_NOT_UPGRADE"}
CLIENT = {"useClientProtocol": True}


@pytest.mark.parametrize(
    ("protocol", "http", "mesh_upgrades", "router", "expected"),
    [
        (Protocol.HTTP, {}, False, False, Upstream.HTTP_1),
        (Protocol.HTTP, UPGRADE, False, False, Upstream.HTTP_2),
        (Protocol.HTTP, {}, True, False, Upstream.HTTP_2),
        (Protocol.HTTP, KEEP, True, False, Upstream.HTTP_1),
        (Protocol.HTTP, CLIENT, False, False, Upstream.AS_DOWNSTREAM),
        (Protocol.HTTP2, {}, False, False, Upstream.HTTP_2),
        (Protocol.GRPC, {}, False, False, Upstream.HTTP_2),
        (Protocol.AUTO, {}, False, False, Upstream.AS_DOWNSTREAM),
        (Protocol.AUTO, UPGRADE, True, False, Upstream.AS_DOWNSTREAM),
        (Protocol.AUTO, {}, False, True, Upstream.HTTP_1),
        (Protocol.TCP, CLIENT, True, False, Upstream.TCP),
        (Protocol.HTTPS, {}, False, False, Upstream.TCP),
    ],
)
def test_upstream_protocol(
    protocol: Protocol, http: dict[str, Any], mesh_upgrades: bool, router: bool, expected: Upstream
) -> None:
    config = MeshConfig(h2_upgrade_policy=MeshConfig.UPGRADE if mesh_upgrades else 0)  # type: ignore[arg-type]
    pool = ParseDict({"http": http}, ConnectionPoolSettings())
    found = upstream_protocol(Mesh(complete(config)), protocol, pool, router=router)
    assert found is expected


def pooled(policy: dict[str, Any], mesh: dict[str, Any] | None = None) -> dict[str, Any]:
    cluster = Cluster()
    config = ParseDict(mesh or {}, MeshConfig())
    apply_pool(cluster, Mesh(complete(config)), ParseDict(policy, TrafficPolicy()))
    return MessageToDict(cluster, preserving_proto_field_name=True)


def test_without_limits() -> None:
    found = pooled({})
    assert found["connect_timeout"] == "10s"
    assert found["circuit_breakers"]["thresholds"] == [
        {
            "max_connections": UNLIMITED,
            "max_pending_requests": UNLIMITED,
            "max_requests": UNLIMITED,
            "max_retries": UNLIMITED,
            "track_remaining": True,
        }
    ]
    assert "upstream_connection_options" not in found


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({}, (20.0, 3)),
        ({"percent": 0, "minRetryConcurrency": 7}, (0.0, 7)),
    ],
)
def test_retry_budget(budget: dict[str, Any], expected: tuple[float, int]) -> None:
    (found,) = pooled({"retryBudget": budget})["circuit_breakers"]["thresholds"]
    made = found["retry_budget"]
    assert (made["budget_percent"].get("value", 0.0), made["min_retry_concurrency"]) == expected


@pytest.mark.parametrize(
    ("mesh", "rule", "expected"),
    [
        pytest.param({"probes": 3}, None, {"keepalive_probes": 3}, id="mesh"),
        pytest.param({"probes": 3}, {"time": "9s"}, {"keepalive_time": 9}, id="rule-instead"),
        pytest.param(None, {"interval": "7s"}, {"keepalive_interval": 7}, id="rule"),
        pytest.param(
            None,
            {"time": "0.5s", "interval": "1.001s"},
            {"keepalive_time": 1, "keepalive_interval": 2},
            id="rounded-up",
        ),
    ],
)
def test_keepalive(
    mesh: dict[str, Any] | None, rule: dict[str, Any] | None, expected: dict[str, int]
) -> None:
    policy = {"connectionPool": {"tcp": {"tcpKeepalive": rule}}} if rule else {}
    found = pooled(policy, {"tcpKeepalive": mesh} if mesh else {})
    assert found["upstream_connection_options"] == {"tcp_keepalive": expected}


def options(upstream: Upstream, pool: dict[str, Any], **flags: bool) -> dict[str, Any]:
    cluster = Cluster()
    apply_http_options(cluster, upstream, ParseDict(pool, ConnectionPoolSettings()), **flags)
    found = HttpProtocolOptions()
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].Unpack(found)
    return MessageToDict(found, preserving_proto_field_name=True)


def test_tcp_has_no_http_options() -> None:
    cluster = Cluster()
    apply_http_options(cluster, Upstream.TCP, ConnectionPoolSettings(), auto_sni=True)
    assert cluster == Cluster()


H2 = {
    "maxConcurrentStreams": 6,
    "http2KeepAlive": {"interval": "30s", "timeout": "5s"},
}
H2_MADE = {
    "max_concurrent_streams": 6,
    "connection_keepalive": {"interval": "30s", "timeout": "5s"},
}


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (Upstream.HTTP_1, {"explicit_http_config": {"http_protocol_options": {}}}),
        (Upstream.HTTP_2, {"explicit_http_config": {"http2_protocol_options": H2_MADE}}),
        (
            Upstream.AS_DOWNSTREAM,
            {
                "use_downstream_protocol_config": {
                    "http_protocol_options": {},
                    "http2_protocol_options": H2_MADE,
                }
            },
        ),
    ],
)
def test_http_options(upstream: Upstream, expected: dict[str, Any]) -> None:
    assert options(upstream, {"http": H2}) == expected


def test_common_options() -> None:
    pool = {
        "tcp": {"maxConnectionDuration": "60s"},
        "http": {"idleTimeout": "7s", "maxRequestsPerConnection": 3},
    }
    assert options(Upstream.HTTP_1, pool)["common_http_protocol_options"] == {
        "idle_timeout": "7s",
        "max_requests_per_connection": 3,
        "max_connection_duration": "60s",
    }


@pytest.mark.parametrize("verified", [True, False])
def test_server_name_from_the_request(verified: bool) -> None:
    found = options(Upstream.HTTP_1, {}, auto_sni=True, verify_name=verified)
    expected = {"auto_sni": True, **({"auto_san_validation": True} if verified else {})}
    assert found["upstream_http_protocol_options"] == expected
