"""Services in the mesh's terms (galley-and-kubernetes.md D1)."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict

from tests.support.cluster_yaml import HOST, registry_of, service_of

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop%s}
spec: {%s}
status: {%s}
"""


def seen(spec: str, metadata: str = "", status: str = "", others: str = "") -> dict[str, object]:
    found = service_of(WEB % (metadata and f", {metadata}", spec, status), others)
    told: dict[str, object] = MessageToDict(found)
    for each in ("host", "namespace", "name", "registry", "cluster"):
        del told[each]
    return told


def test_a_service_of_virtual_addresses() -> None:
    text = WEB % (
        ', creationTimestamp: "2026-01-02T03:04:05Z", labels: {a: b}, annotations: {'
        'kubectl.kubernetes.io/last-applied-configuration: "{}", networking.istio.io/exportTo: .}',
        "clusterIP: 10.0.0.9, selector: {app: web}, ports: [{name: http, port: 80,"
        " targetPort: 8080}, {name: own, port: 81, targetPort: admin}, {name: same, port: 82}]",
        "",
    )
    assert MessageToDict(service_of(text)) == {
        "host": HOST,
        "namespace": "shop",
        "name": "web",
        "registry": "Kubernetes",
        "cluster": "Kubernetes",
        "addresses": ["10.0.0.9"],
        "ports": [
            {"name": "http", "number": 80, "targetPort": 8080, "protocol": "HTTP"},
            {"name": "own", "number": 81},
            {"name": "same", "number": 82},
        ],
        "labels": {"a": "b"},
        "annotations": {"networking.istio.io/exportTo": "."},
        "selector": {"app": "web"},
        "createTime": "2026-01-02T03:04:05Z",
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(
            'clusterIP: 10.0.0.9, clusterIPs: [10.0.0.9, "FD00::9"]',
            {"addresses": ["10.0.0.9", "fd00::9"]},
            id="dual-stack",
        ),
        pytest.param(
            "clusterIP: None",
            {"resolution": "RESOLUTION_PASSTHROUGH", "headless": True},
            id="headless",
        ),
        pytest.param(
            "clusterIPs: [None]",
            {"resolution": "RESOLUTION_PASSTHROUGH", "headless": True},
            id="headless-by-list",
        ),
        pytest.param('clusterIP: ""', {}, id="no-address-yet"),
        pytest.param(
            "type: ExternalName, externalName: shop.example.com., selector: {a: b}",
            {
                "resolution": "RESOLUTION_ALIAS",
                "aliasOf": "shop.example.com",
                "location": "LOCATION_MESH_EXTERNAL",
            },
            id="external-name",
        ),
        pytest.param(
            "publishNotReadyAddresses: true", {"publishNotReady": True}, id="publish-not-ready"
        ),
        pytest.param("internalTrafficPolicy: Local", {"nodeLocal": True}, id="local"),
        pytest.param("internalTrafficPolicy: Cluster", {}, id="not-local"),
        pytest.param(
            "trafficDistribution: PreferSameNode",
            {"annotations": {"networking.istio.io/traffic-distribution": "PreferSameNode"}},
            id="traffic-distribution",
        ),
        pytest.param(
            "externalIPs: [203.0.113.7]", {"externalAddresses": ["203.0.113.7"]}, id="external-ips"
        ),
    ],
)
def test_what_a_service_says(spec: str, expected: dict[str, object]) -> None:
    assert seen(spec) == expected


INGRESS = "loadBalancer: {ingress: [{ip: 203.0.113.1}, {hostname: lb.example.com}]}"


@pytest.mark.parametrize(
    ("kind", "addresses"),
    [
        pytest.param("LoadBalancer", ["203.0.113.1", "lb.example.com", "203.0.113.7"], id="used"),
        pytest.param("NodePort", ["203.0.113.7"], id="not-one"),
    ],
)
def test_addresses_of_a_load_balancer(kind: str, addresses: list[str]) -> None:
    spec = f"type: {kind}, externalIPs: [203.0.113.7]"
    assert seen(spec, status=INGRESS)["externalAddresses"] == addresses


NODES = """
{apiVersion: v1, kind: Node, metadata: {name: b, labels: {pool: edge}}, status: {addresses: [
  {type: ExternalIP, address: 203.0.113.2}, {type: InternalIP, address: 10.9.0.2}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: a, labels: {pool: edge}}, status: {addresses: [
  {type: Hostname, address: a}, {type: ExternalIP, address: 203.0.113.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: c}, status: {addresses: [
  {type: ExternalIP, address: 203.0.113.3}]}}
"""
GATEWAY = "ports: [{port: 15443, nodePort: 30443, name: tls}, {port: 80, nodePort: 30080, name: a}]"


@pytest.mark.parametrize(
    ("kind", "metadata", "addresses", "port"),
    [
        pytest.param(
            "NodePort",
            'annotations: {traffic.istio.io/nodeSelector: \'{"pool": "edge"}\'}',
            ["203.0.113.1", "203.0.113.2"],
            "30443",
            id="selected",
        ),
        pytest.param(
            "NodePort",
            "labels: {networking.istio.io/gatewayPort: '80'},"
            " annotations: {traffic.istio.io/nodeSelector: ''}",
            ["203.0.113.1", "203.0.113.2", "203.0.113.3"],
            "30080",
            id="all-nodes-and-own-port",
        ),
        pytest.param("NodePort", "", None, None, id="not-wanted"),
        pytest.param(
            "LoadBalancer",
            "annotations: {traffic.istio.io/nodeSelector: '{}'}",
            None,
            None,
            id="load-balancer",
        ),
    ],
)
def test_nodes_as_gateways(
    kind: str, metadata: str, addresses: list[str] | None, port: str | None
) -> None:
    found = seen(f"type: {kind}, {GATEWAY}", metadata, others=f"---{NODES}")
    assert found.get("externalAddresses") == addresses
    annotations = found.get("annotations", {})
    assert isinstance(annotations, dict)
    assert annotations.get("networking.istio.io/gatewayPort") == port


def test_what_is_no_service_of_the_mesh() -> None:
    assert registry_of("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}") == {}
