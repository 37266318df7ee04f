"""Objects of Kubernetes as discovery reads them: all that is wrong is told, with its path."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mast.galley.core.discovery.objects import ObjectName
from mast.galley.core.discovery.reading import identity, is_read, read
from mast.galley.core.problem import Severity, path_text
from tests.support.cluster_yaml import SLICE, WEB, WEB_1


def told(text: str) -> list[tuple[str, str, str]]:
    found = read(yaml.safe_load(text))
    assert found.item is None
    assert found.is_broken
    return [(path_text(each.path), each.rule, each.message) for each in found.findings]


def paths(text: str) -> list[tuple[str, str]]:
    return [(path, rule) for path, rule, _ in told(text)]


SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {%s}}"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("ports: {}", [("spec.ports", "wrong-type")], id="list"),
        pytest.param(
            "ports: [80]",
            [("spec.ports[0]", "wrong-type"), ("spec.ports[0].port", "required")],
            id="object",
        ),
        pytest.param("ports: [{port: 0}]", [("spec.ports[0].port", "port")], id="zero"),
        pytest.param("ports: [{port: 65536}]", [("spec.ports[0].port", "port")], id="range"),
        pytest.param("ports: [{port: '80'}]", [("spec.ports[0].port", "wrong-type")], id="text"),
        pytest.param("ports: [{port: true}]", [("spec.ports[0].port", "wrong-type")], id="bool"),
        pytest.param(
            "ports: [{port: 1, protocol: tcp}]",
            [("spec.ports[0].protocol", "unknown-value")],
            id="transport",
        ),
        pytest.param(
            "ports: [{port: 1, targetPort: 0}]", [("spec.ports[0].targetPort", "port")], id="target"
        ),
        pytest.param(
            "ports: [{port: 1}, {port: 2, name: a}]",
            [("spec.ports[0].name", "required")],
            id="unnamed",
        ),
        pytest.param(
            "ports: [{port: 1, name: a}, {port: 2, name: a}]",
            [("spec.ports[1].name", "duplicate")],
            id="names",
        ),
        pytest.param("clusterIP: 10.0.0", [("spec.clusterIP", "address")], id="address"),
        pytest.param("clusterIPs: [a]", [("spec.clusterIPs[0]", "address")], id="addresses"),
        pytest.param("clusterIPs: [1]", [("spec.clusterIPs[0]", "wrong-type")], id="names-list"),
        pytest.param("selector: {a: 1}", [("spec.selector.a", "wrong-type")], id="selector"),
        pytest.param(
            'selector: {a: "\\ud800"}', [("spec.selector.a", "wrong-type")], id="half-character"
        ),
        pytest.param("selector: [a]", [("spec.selector", "wrong-type")], id="map"),
        pytest.param("type: Internal", [("spec.type", "unknown-value")], id="type"),
        pytest.param("type: ExternalName", [("spec.externalName", "required")], id="alias"),
        pytest.param(
            "internalTrafficPolicy: Node", [("spec.internalTrafficPolicy", "unknown-value")], id="p"
        ),
        pytest.param(
            "publishNotReadyAddresses: 'yes'",
            [("spec.publishNotReadyAddresses", "wrong-type")],
            id="flag",
        ),
        pytest.param(
            "clusterIP: x, type: y, selector: {a: null}",
            [
                ("spec.type", "unknown-value"),
                ("spec.clusterIP", "address"),
                ("spec.selector.a", "wrong-type"),
            ],
            id="all-at-once",
        ),
    ],
)
def test_broken_services(spec: str, expected: list[tuple[str, str]]) -> None:
    assert paths(SERVICE % spec) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            SLICE.replace("port: 8080", "port: -1"), [("ports[0].port", "port")], id="port"
        ),
        pytest.param(
            SLICE.replace("10.1.0.1", "web.example.com"),
            [("endpoints[0].addresses[0]", "address")],
            id="address",
        ),
        pytest.param(
            SLICE.replace("IPv4", "IPv5"), [("addressType", "unknown-value")], id="family"
        ),
        pytest.param(
            SLICE.replace("targetRef", "conditions: {ready: 'true'}, targetRef"),
            [("endpoints[0].conditions.ready", "wrong-type")],
            id="condition",
        ),
        pytest.param(
            SLICE.replace("name: web-a", "name: null"), [("metadata.name", "required")], id="name"
        ),
        pytest.param(
            WEB_1.replace("phase: Running", "phase: Walking"),
            [("status.phase", "unknown-value")],
            id="phase",
        ),
        pytest.param(
            WEB_1.replace("podIP: 10.1.0.1", "podIP: 10.1.x"),
            [("status.podIP", "address")],
            id="ip",
        ),
        pytest.param(
            "{apiVersion: v1, kind: Pod, metadata: 1}",
            [("metadata", "wrong-type"), ("metadata.name", "required")],
            id="metadata",
        ),
        pytest.param(
            "{apiVersion: v1, kind: Endpoints, metadata: {name: a},"
            " subsets: [{addresses: [{ip: a}], ports: [{port: 1.5}]}]}",
            [("subsets[0].ports[0].port", "wrong-type"), ("subsets[0].addresses[0].ip", "address")],
            id="endpoints",
        ),
        pytest.param(
            "{apiVersion: v1, kind: Node, metadata: {name: a},"
            " status: {addresses: [{type: ExternalIP, address: b}]}}",
            [("status.addresses[0].address", "address")],
            id="node",
        ),
    ],
)
def test_broken_objects(text: str, expected: list[tuple[str, str]]) -> None:
    assert paths(text) == expected


def test_messages_say_what_is_there_and_what_is_allowed() -> None:
    assert [message for *_, message in told(SERVICE % "type: a, ports: [{port: 70000}]")] == [
        "'a' is unknown; allowed: ClusterIP, NodePort, LoadBalancer, ExternalName",
        "port 70000 is out of range; allowed: 1 to 65535",
    ]
    (long,) = told(SERVICE % f"clusterIP: [{'1' * 100}], selector: {{}}")
    assert long[2] == "a list is not text"


def test_what_nobody_reads_may_be_anything() -> None:
    odd = WEB.replace("spec: {", "spec: {sessionAffinity: [1], later: {a: 1}, ")
    assert read(yaml.safe_load(odd)) == read(yaml.safe_load(WEB))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{pool: edge}", id="not-json"),
        pytest.param('["edge"]', id="list"),
        pytest.param('{"pool": 1}', id="number"),
        pytest.param("[" * 5000, id="deep"),
    ],
)
def test_a_node_selector_that_cannot_be_read_is_left_out(text: str) -> None:
    content: dict[str, Any] = yaml.safe_load(WEB)
    content["metadata"]["annotations"] = {"traffic.istio.io/nodeSelector": text}
    content["spec"]["type"] = "NodePort"
    found = read(content)
    assert found.item is not None
    assert [(each.rule, each.severity) for each in found.findings] == [
        ("annotation", Severity.WARNING)
    ]


@pytest.mark.parametrize(
    "created", ["2026-01-01", "noon", "", "2026-01-01T00:00:00"], ids=["date", "word", "no", "zone"]
)
def test_times_without_meaning_are_no_times(created: str) -> None:
    content: dict[str, Any] = yaml.safe_load(WEB)
    content["metadata"]["creationTimestamp"] = created
    assert read(content) == read(yaml.safe_load(WEB))


def test_slices_of_old_clusters_name_nodes_in_their_topology() -> None:
    old = SLICE.replace("discovery.k8s.io/v1", "discovery.k8s.io/v1beta1").replace(
        "targetRef", "topology: {kubernetes.io/hostname: n1}, targetRef"
    )
    new = SLICE.replace("targetRef", "nodeName: n1, targetRef")
    assert read(yaml.safe_load(old)) == read(yaml.safe_load(new))


def test_kinds() -> None:
    assert is_read("v1", "Pod")
    assert not is_read("v2", "Pod")
    assert identity(yaml.safe_load(WEB)) == ObjectName("shop", "web")
