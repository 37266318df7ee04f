"""Endpoints: readiness, Pods, union of slices (galley-and-kubernetes.md D2.1, D2.2)."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToDict

from tests.support.cluster_yaml import N1, SLICE, WEB, WEB_1, endpoints_of

STICKY = WEB.replace("namespace: shop", "namespace: shop, labels: {istio.io/persistent-session: c}")
HEADER = STICKY.replace("persistent-session", "persistent-session-header")
HOST_NETWORK = WEB_1.replace("spec: {", "spec: {hostNetwork: true, ")


def slice_of(
    endpoints: str,
    name: str = "web-a",
    labels: str = "",
    ports: str = "[{name: http, port: 8080}]",
    family: str = "IPv4",
) -> str:
    return f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: web{labels}}}}}
addressType: {family}
ports: {ports}
endpoints: [{endpoints}]
"""


def addresses(*texts: str) -> list[tuple[str, dict[str, int]]]:
    return [(each.address, dict(each.ports)) for each in endpoints_of(*texts)]


def test_an_endpoint_of_a_pod() -> None:
    (found,) = endpoints_of(WEB, SLICE, WEB_1, N1)
    assert MessageToDict(found) == {
        "address": "10.1.0.1",
        "ports": {"http": 8080},
        "labels": {
            "app": "web",
            "security.istio.io/tlsMode": "istio",
            "topology.kubernetes.io/region": "eu",
            "topology.kubernetes.io/zone": "eu-1",
            "topology.istio.io/cluster": "Kubernetes",
            "kubernetes.io/hostname": "n1",
        },
        "serviceAccount": "seller",
        "locality": "eu/eu-1",
        "health": "HEALTH_HEALTHY",
        "tlsMode": "istio",
        "workloadName": "web-1",
        "namespace": "shop",
        "node": "n1",
    }


@pytest.mark.parametrize(
    ("conditions", "service", "health"),
    [
        pytest.param("", WEB, "HEALTHY", id="nothing-said"),
        pytest.param("ready: true", WEB, "HEALTHY", id="ready"),
        pytest.param("ready: null", WEB, "HEALTHY", id="ready-null"),
        pytest.param("ready: false", WEB, "UNHEALTHY", id="not-ready"),
        pytest.param("ready: false, terminating: false", WEB, "UNHEALTHY", id="not-terminating"),
        pytest.param("ready: true, terminating: true", WEB, "HEALTHY", id="ready-to-the-end"),
        pytest.param("ready: false, serving: true, terminating: true", WEB, "TERMINATING", id="t"),
        pytest.param(
            "ready: false, serving: true, terminating: true", STICKY, "DRAINING", id="draining"
        ),
        pytest.param(
            "ready: false, serving: true, terminating: true", HEADER, "DRAINING", id="by-header"
        ),
        pytest.param("ready: false, terminating: true", STICKY, "DRAINING", id="serving-null"),
        pytest.param(
            "ready: false, serving: false, terminating: true", STICKY, "TERMINATING", id="stopped"
        ),
        pytest.param("ready: false, serving: true", STICKY, "UNHEALTHY", id="sticky-not-ready"),
    ],
)
def test_readiness(conditions: str, service: str, health: str) -> None:
    text = slice_of(f"{{addresses: [10.2.0.1], conditions: {{{conditions}}}}}")
    (found,) = endpoints_of(service, text)
    assert MessageToDict(found)["health"] == f"HEALTH_{health}"


ONE, TWO = "{addresses: [10.2.0.1]}", "{addresses: [10.2.0.2]}"
GONE = "{addresses: [10.2.0.1], conditions: {ready: false}}"
OTHER = "[{name: admin, port: 9000}]"


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        pytest.param(
            [slice_of(ONE), slice_of(TWO, "web-b")],
            [("10.2.0.1", {"http": 8080}), ("10.2.0.2", {"http": 8080})],
            id="addresses",
        ),
        pytest.param(
            [slice_of(ONE), slice_of(ONE, "web-b", ports=OTHER)],
            [("10.2.0.1", {"http": 8080, "admin": 9000})],
            id="ports",
        ),
        pytest.param(
            [slice_of(ONE), slice_of(ONE, "web-b")], [("10.2.0.1", {"http": 8080})], id="twice"
        ),
        pytest.param(
            [slice_of(ONE), slice_of("{addresses: ['FD00::1']}", "web-b", family="IPv6")],
            [("10.2.0.1", {"http": 8080}), ("fd00::1", {"http": 8080})],
            id="dual-stack",
        ),
        pytest.param([slice_of(ONE, ports="null")], [("10.2.0.1", {})], id="without-ports"),
        pytest.param(
            [slice_of(ONE, labels=", multicluster.kubernetes.io/service-name: web")], [], id="mcs"
        ),
        pytest.param([slice_of("{addresses: [web.example.com]}", family="FQDN")], [], id="fqdn"),
        pytest.param([slice_of(ONE).replace("service-name: web", "other: web")], [], id="no-label"),
        pytest.param([slice_of("")], [], id="empty"),
    ],
)
def test_union_of_slices(slices: list[str], expected: list[tuple[str, dict[str, int]]]) -> None:
    assert addresses(WEB, *slices) == expected


@pytest.mark.parametrize("first", ["web-a", "web-c"])
def test_the_better_word_counts_while_an_address_moves(first: str) -> None:
    (found,) = endpoints_of(WEB, slice_of(GONE, "web-b"), slice_of(ONE, first))
    assert MessageToDict(found)["health"] == "HEALTH_HEALTHY"


def test_ports_of_an_address_may_differ_in_health() -> None:
    found = endpoints_of(WEB, slice_of(ONE), slice_of(GONE, "web-b", ports=OTHER))
    assert [(dict(each.ports), each.health) for each in found] == [
        ({"http": 8080}, 1),
        ({"admin": 9000}, 2),
    ]


ENDPOINTS = """
apiVersion: v1
kind: Endpoints
metadata: {name: web, namespace: shop%s}
subsets:
- addresses: [{ip: 10.3.0.1}, {ip: 10.3.0.2, nodeName: n1}]
  notReadyAddresses: [{ip: 10.3.0.3}]
  ports: [{name: http, port: 8080}]
- addresses: [{ip: 10.3.0.4}]
  ports: [{name: http, port: 8081}]
"""


def test_endpoints_count_where_there_is_no_slice() -> None:
    found = endpoints_of(WEB, ENDPOINTS % "", N1)
    told = [(each.address, each.ports["http"], each.health, each.locality) for each in found]
    assert told == [
        ("10.3.0.1", 8080, 1, ""),
        ("10.3.0.2", 8080, 1, "eu/eu-1"),
        ("10.3.0.3", 8080, 2, ""),
        ("10.3.0.4", 8081, 1, ""),
    ]
    assert addresses(WEB, ENDPOINTS % "", slice_of(ONE)) == [("10.2.0.1", {"http": 8080})]


def test_leases_of_leaders_are_no_endpoints() -> None:
    leader = ", annotations: {control-plane.alpha.kubernetes.io/leader: x}"
    assert addresses(WEB, ENDPOINTS % leader) == []


BARE = slice_of("{addresses: [10.1.0.1], nodeName: n1}")


@pytest.mark.parametrize(
    ("text", "pods", "accounts"),
    [
        pytest.param(SLICE, [WEB_1], ["seller"], id="named"),
        pytest.param(SLICE, [], [], id="named-but-unknown"),
        pytest.param(SLICE, [HOST_NETWORK], ["seller"], id="named-on-host-network"),
        pytest.param(BARE, [WEB_1], ["seller"], id="by-address"),
        pytest.param(BARE, [], [""], id="by-address-unknown"),
        pytest.param(BARE, [HOST_NETWORK], [""], id="by-address-on-host-network"),
        pytest.param(
            SLICE.replace("kind: Pod", "kind: Other"), [WEB_1], ["seller"], id="other-kind"
        ),
    ],
)
def test_pods_behind_endpoints(text: str, pods: list[str], accounts: list[str]) -> None:
    found = endpoints_of(WEB, text, *pods, N1)
    assert [each.service_account for each in found] == accounts
    assert all(each.locality == "eu/eu-1" for each in found if "targetRef" not in text or pods)


@pytest.mark.parametrize(
    "service",
    [
        pytest.param("", id="none"),
        pytest.param(
            WEB.replace("spec: {", "spec: {type: ExternalName, externalName: a.b, "), id="alias"
        ),
    ],
)
def test_endpoints_without_a_service_of_their_own(service: str) -> None:
    assert addresses(service, SLICE, WEB_1) == []


POD_OF_BOTH = WEB_1.replace("podIP: 10.1.0.1", "podIPs: [{ip: 10.1.0.1}, {ip: 'FD00::1'}]")
OF_IT = "targetRef: {kind: Pod, name: web-1}"


@pytest.mark.parametrize(
    ("six", "service", "pod", "expected"),
    [
        pytest.param(f"{{addresses: ['fd00::1'], {OF_IT}}}", WEB, POD_OF_BOTH,
                     [("10.1.0.1", ["fd00::1"])], id="one-endpoint"),
        pytest.param(f"{{addresses: ['fd00::1'], {OF_IT}}}", WEB,
                     POD_OF_BOTH.replace("{ip: 10.1.0.1}, {ip: 'FD00::1'}",
                                         "{ip: 'FD00::1'}, {ip: 10.1.0.1}"),
                     [("fd00::1", ["10.1.0.1"])], id="the-primary-first"),
        pytest.param(f"{{addresses: ['fd00::1'], {OF_IT}, conditions: {{ready: false}}}}", WEB,
                     POD_OF_BOTH, [("10.1.0.1", []), ("fd00::1", [])], id="other-health"),
        pytest.param("{addresses: ['fd00::1']}", WEB, POD_OF_BOTH,
                     [("10.1.0.1", ["fd00::1"])], id="found-by-address"),
        pytest.param("{addresses: ['fd00::2']}", WEB, POD_OF_BOTH,
                     [("10.1.0.1", []), ("fd00::2", [])], id="no-pod"),
        pytest.param(f"{{addresses: ['fd00::1'], {OF_IT}}}", WEB,
                     POD_OF_BOTH.replace("spec: {", "spec: {hostNetwork: true, "),
                     [("10.1.0.1", []), ("fd00::1", [])], id="of-the-node"),
    ],
)  # fmt: skip
def test_a_pod_of_both_families_is_one_endpoint(
    six: str, service: str, pod: str, expected: list[tuple[str, list[str]]]
) -> None:
    """What Envoy calls additional addresses; two endpoints would have twice its share."""
    found = endpoints_of(service, SLICE, slice_of(six, "web-b", family="IPv6"), pod, N1)
    assert [(each.address, list(each.additional_addresses)) for each in found] == expected
