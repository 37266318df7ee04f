"""Patches of clusters: every match and operation (pilot.md K1 to K3)."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.pilot.core.patches.clusters import patched_cluster
from mast.pilot.core.patches.conditions import Scene
from mast.pilot.core.patches.record import Record
from tests.support.envoy_patches import EXTENSIONS, envoy_message, patches, plain

OUTBOUND = Scene(EnvoyFilter.SIDECAR_OUTBOUND)
WEB = "outbound|80|v1|web.shop.svc.cluster.local"
TLS = f'"@type": {EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext'


def patched(cluster: str, text: str, scene: Scene = OUTBOUND) -> tuple[Cluster | None, Record]:
    record = Record()
    message = envoy_message(Cluster, cluster)
    return patched_cluster(message, patches(text), scene, record), record


@pytest.mark.parametrize(
    ("name", "match", "hit"),
    [
        pytest.param(WEB, "{}", True, id="everything"),
        pytest.param(WEB, f"{{cluster: {{name: '{WEB}'}}}}", True, id="name"),
        pytest.param(WEB, "{cluster: {name: other, service: web.shop.svc.cluster.local}}", False,
                     id="name-alone-counts"),
        pytest.param(WEB, "{cluster: {service: web.shop.svc.cluster.local}}", True, id="service"),
        pytest.param(WEB, "{cluster: {service: web}}", False, id="other-service"),
        pytest.param(WEB, "{cluster: {subset: v1}}", True, id="subset"),
        pytest.param(WEB, "{cluster: {subset: v2}}", False, id="other-subset"),
        pytest.param(WEB, "{cluster: {portNumber: 80}}", True, id="port"),
        pytest.param(WEB, "{cluster: {portNumber: 81}}", False, id="other-port"),
        pytest.param("inbound|8080||", "{cluster: {portNumber: 8080}}", True, id="inbound-port"),
        pytest.param("inbound|8080||", "{cluster: {service: web.shop}}", True,
                     id="inbound-service"),
        pytest.param("inbound|8080||", "{cluster: {service: other}}", False,
                     id="other-inbound-service"),
        pytest.param("PassthroughCluster", "{cluster: {portNumber: 80}}", False,
                     id="fixed-has-no-port"),
        pytest.param(WEB, "{context: SIDECAR_OUTBOUND}", True, id="context"),
        pytest.param(WEB, "{context: SIDECAR_INBOUND}", False, id="other-context"),
        pytest.param(WEB, "{context: GATEWAY}", False, id="gateway"),
    ],
)  # fmt: skip
def test_match(name: str, match: str, hit: bool) -> None:
    metadata = "metadata: {filter_metadata: {istio: {services: [{host: web.shop}]}}}"
    cluster, record = patched(
        f"{{name: '{name}', {metadata}}}",
        f"[{{applyTo: CLUSTER, match: {match}, patch: {{operation: MERGE,"
        " value: {connect_timeout: 7s}}}]",
    )
    assert cluster is not None
    assert cluster.HasField("connect_timeout") is hit
    assert bool(record.applied) is hit


def test_remove() -> None:
    cluster, record = patched(f"name: '{WEB}'", "[{applyTo: CLUSTER, patch: {operation: REMOVE}}]")
    assert cluster is None
    assert len(record.applied) == 1


@pytest.mark.parametrize("operation", ["ADD", "INSERT_FIRST", "INSERT_BEFORE", "INSERT_AFTER"])
def test_additions_change_no_cluster(operation: str) -> None:
    _, record = patched(
        f"name: '{WEB}'",
        f"[{{applyTo: CLUSTER, patch: {{operation: {operation}, value: {{name: a}}}}}}]",
    )
    assert not record.applied


def test_lists_are_appended_or_replaced() -> None:
    check = "{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1}"
    for operation, count in (("MERGE", 2), ("MERGE_AND_REPLACE_LIST", 1)):
        cluster, _ = patched(
            f"{{name: '{WEB}', health_checks: [{check}]}}",
            f"[{{applyTo: CLUSTER, patch: {{operation: {operation},"
            f" value: {{health_checks: [{check}]}}}}}}]",
        )
        assert cluster is not None
        assert len(cluster.health_checks) == count


MERGE_SOCKET = (
    f"[{{applyTo: CLUSTER, patch: {{operation: MERGE, value: {{alt_stat_name: x,"
    f" transport_socket: {{name: NAME, typed_config: {{{TLS}, sni: b}}}}}}}}}}]"
)


def test_a_transport_socket_is_merged_inside() -> None:
    cluster, _ = patched(
        f"{{name: a, transport_socket: {{name: tls, typed_config:"
        f" {{{TLS}, sni: a, max_session_keys: 3}}}}}}",
        MERGE_SOCKET.replace("NAME", "tls"),
    )
    assert cluster is not None
    found = plain(cluster)
    assert found["transport_socket"]["typed_config"]["sni"] == "b"
    assert found["transport_socket"]["typed_config"]["max_session_keys"] == 3
    assert found["alt_stat_name"] == "x"


def test_a_transport_socket_of_another_name_is_replaced() -> None:
    cluster, _ = patched(
        f"{{name: a, transport_socket: {{name: other, typed_config:"
        f" {{{TLS}, max_session_keys: 3}}}}}}",
        MERGE_SOCKET.replace("NAME", "tls"),
    )
    assert cluster is not None
    assert "max_session_keys" not in plain(cluster)["transport_socket"]["typed_config"]


MATCHES = (
    f"{{name: a, transport_socket_matches: [{{name: m, transport_socket: {{name: tls,"
    f" typed_config: {{{TLS}, sni: a}}}}}}, {{name: d, transport_socket: {{name: raw}}}}]}}"
)


def test_sockets_among_matches_are_merged_by_name() -> None:
    cluster, _ = patched(MATCHES, MERGE_SOCKET.replace("NAME", "tls"))
    assert cluster is not None
    found = plain(cluster)
    sockets = [each["transport_socket"] for each in found["transport_socket_matches"]]
    assert sockets[0]["typed_config"]["sni"] == "b"
    assert sockets[1] == {"name": "raw"}
    assert "transport_socket" not in found


def test_a_socket_that_is_not_among_matches_is_told() -> None:
    cluster, record = patched(MATCHES, MERGE_SOCKET.replace("NAME", "quic"))
    assert cluster is not None
    assert plain(cluster) == plain(envoy_message(Cluster, MATCHES))
    assert [each.reason for each in record.skipped.values()] == [
        "transport_socket.name: 'quic' is none of raw, tls"
    ]
