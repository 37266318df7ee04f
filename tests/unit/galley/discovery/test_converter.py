"""Change by change: what is told, what is not, and in which order things may come (D2.2, D2.5)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations

import pytest
from google.protobuf.json_format import ParseDict

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.galley.core.discovery.converter import Converter, Waiting
from mast.galley.core.discovery.objects import ObjectName, SliceId
from mast.galley.core.discovery.settings import Settings
from mastapi.registry.v1.registry_pb2 import EndpointShard, Service
from tests.support.cluster_yaml import (
    HOST,
    N1,
    POD,
    SERVICE,
    SHARD,
    SLICE,
    WEB,
    WEB_1,
    items,
    registry_of,
)

NAMESPACE = "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {%s}}}"
SYSTEM = "{apiVersion: v1, kind: Namespace, metadata: {name: istio-system, labels: {%s}}}"
OTHERS = "".join(
    "\n---" + text.replace("web", name).replace("10.1.0.1", address).replace("n1", "n2")
    for name, address in (("api", "10.1.0.2"), ("db", "10.1.0.3"))
    for text in (WEB, SLICE, WEB_1, N1)
)


def converter(*texts: str, settings: Settings | None = None) -> Converter:
    made = Converter(settings)
    put(made, *texts)
    return made


def put(made: Converter, *texts: str) -> None:
    for each in items(*texts):
        made.put(each)


def test_the_order_of_arrival_does_not_matter() -> None:
    expected = registry_of(WEB, SLICE, WEB_1, N1)
    assert set(expected) == {SERVICE, SHARD, POD}
    for texts in permutations((WEB, SLICE, WEB_1, N1)):
        made, told = Converter(), dict[str, object]()
        for text in texts:
            put(made, text)
            told.update(made.settle())
        assert told == expected


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        pytest.param(WEB_1, set(), id="nothing"),
        pytest.param(WEB, set(), id="no-other-service"),
        pytest.param(SLICE, set(), id="no-other-slice"),
        pytest.param(WEB_1.replace("phase", "hostIP: 10.9.9.9, phase"), set(), id="status"),
        pytest.param(
            N1.replace("metadata:", "status: {conditions: []}\nmetadata:"), set(), id="beat"
        ),
        pytest.param(WEB_1.replace("seller", "buyer"), {POD, SHARD}, id="pod"),
        pytest.param(WEB_1.replace('"True"', '"False"'), {POD}, id="readiness-is-told-by-slices"),
        pytest.param(N1.replace("eu-1", "eu-2"), {POD, SHARD}, id="node"),
        pytest.param(SLICE.replace("port: 8080", "port: 8081"), {SHARD}, id="slice"),
        pytest.param(WEB.replace("port: 80,", "port: 81,"), {SERVICE}, id="service"),
        pytest.param(
            SLICE.replace("service-name: web", "service-name: api"),
            {SHARD, SHARD.replace("web", "api")},
            id="slice-moves",
        ),
    ],
)
def test_a_change_tells_only_what_it_changes(change: str, changed: set[str]) -> None:
    made = converter(WEB, SLICE, WEB_1, N1, OTHERS)
    made.settle()
    put(made, change)
    assert set(made.settle()) == changed
    assert made.settle() == {}


def test_what_is_gone_is_told_once() -> None:
    made = converter(WEB, SLICE, WEB_1, N1, NAMESPACE % "a: b")
    made.settle()
    made.put_pod(ObjectName("shop", "web-1"), None)
    assert made.settle() == {POD: None, SHARD: None}
    made.put_service(ObjectName("shop", "web"), None)
    made.put_slice(SliceId("EndpointSlice", "shop", "web-a"), None)
    made.put_node(ObjectName("", "n1"), None)
    made.put_namespace(ObjectName("", "shop"), None)
    made.put_namespace(ObjectName("", "shop"), None)
    assert made.settle() == {SERVICE: None}
    assert made.settle() == {}


def test_what_came_and_went_between_is_not_told() -> None:
    made = converter(WEB_1)
    made.put_pod(ObjectName("shop", "web-1"), None)
    assert made.settle() == {}


def test_endpoints_wait_for_their_pods() -> None:
    made = converter(WEB, SLICE)
    assert set(made.settle()) == {SERVICE}
    waiting = Waiting(
        SliceId("EndpointSlice", "shop", "web-a"), "10.1.0.1", ObjectName("shop", "web-1")
    )
    assert list(made.waiting()) == [waiting]
    put(made, WEB_1)
    assert set(made.settle()) == {SHARD, POD}
    assert list(made.waiting()) == []
    put(made, WEB_1.replace("phase: Running", "phase: Failed"))
    assert made.settle() == {SHARD: None, POD: None}


def test_an_address_without_pod_takes_that_of_a_pod_that_comes() -> None:
    made = converter(WEB, SLICE.replace("kind: Pod", "kind: Machine"), N1)
    first = made.settle()[SHARD]
    put(made, WEB_1)
    second = made.settle()[SHARD]
    assert isinstance(first, EndpointShard)
    assert isinstance(second, EndpointShard)
    assert [each.service_account for each in (*first.endpoints, *second.endpoints)] == [
        "",
        "seller",
    ]
    put(made, N1.replace("eu-1", "eu-2"))
    assert set(made.settle()) == {SHARD, POD}


def test_a_node_places_addresses_without_pod() -> None:
    made = converter(WEB, SLICE.replace("targetRef: {kind: Pod, name: web-1}", "nodeName: n1"))
    made.settle()
    put(made, N1)
    found = made.settle()[SHARD]
    assert isinstance(found, EndpointShard)
    assert [each.locality for each in found.endpoints] == ["eu/eu-1"]


def test_a_nodes_own_addresses_reach_services_that_want_them() -> None:
    service = WEB.replace("spec: {", "spec: {type: NodePort, ").replace(
        "namespace: shop", "namespace: shop, annotations: {traffic.istio.io/nodeSelector: ''}"
    )
    made = converter(service, WEB.replace("name: web", "name: other"), N1)
    made.settle()
    put(made, N1 + "status: {addresses: [{type: ExternalIP, address: 203.0.113.1}]}")
    (changed,) = made.settle().values()
    assert isinstance(changed, Service)
    assert list(changed.external_addresses) == ["203.0.113.1"]


def test_the_network_of_a_cluster_concerns_all_of_it() -> None:
    made = converter(WEB, SLICE, WEB_1, N1, SYSTEM % "a: b")
    made.settle()
    put(made, SYSTEM % "a: c")
    assert made.settle() == {}
    put(made, SYSTEM % "topology.istio.io/network: north")
    assert set(made.settle()) == {SHARD, POD}


def test_only_namespaces_of_the_mesh_are_seen() -> None:
    selectors = [{"matchLabels": {"mesh": "yes"}}, {"matchExpressions": [
        {"key": "env", "operator": "In", "values": ["prod", "test"]},
        {"key": "old", "operator": "NotIn", "values": ["yes"]},
        {"key": "team", "operator": "Exists"},
        {"key": "gone", "operator": "DoesNotExist"},
    ]}, {"matchExpressions": [{"key": "mesh", "operator": "Almost"}]}]  # fmt: skip
    settings = Settings(mesh=ParseDict({"discoverySelectors": selectors}, MeshConfig()))
    made = converter(WEB, SLICE, WEB_1, N1, settings=settings)
    assert made.settle() == {}
    whole = {SERVICE, SHARD, POD}
    for labels, seen in (
        ("mesh: 'yes'", True),
        ("mesh: 'no'", False),
        ("env: prod, team: a", True),
        ("env: prod", False),
        ("env: test, team: a, old: 'no'", True),
        ("env: dev, team: a", False),
        ("env: test, team: b", True),
        ("env: test, team: a, old: 'yes'", False),
        ("env: prod, team: b", True),
        ("env: test, team: b, gone: x", False),
    ):
        put(made, NAMESPACE % labels)
        changes = made.settle()
        assert set(changes) == whole, labels
        assert all((message is not None) is seen for message in changes.values()), labels


def test_other_settings_move_everything() -> None:
    made = converter(WEB, SLICE, WEB_1, N1)
    made.configure(Settings())
    before = set(made.settle())
    made.configure(Settings())
    assert made.settle() == {}
    made.configure(Settings(domain="example.org", cluster="east"))
    changes = made.settle()
    assert {key for key, message in changes.items() if message is None} == before
    assert {key for key, message in changes.items() if message is not None} == {
        key.replace("cluster.local", "example.org").replace("Kubernetes", "east") for key in before
    }


def large(*ready: bool) -> str:
    """A Service with so many endpoints, in slices of a hundred."""
    texts = [WEB]
    for start in range(0, len(ready), 100):
        endpoints = ", ".join(
            f"{{addresses: [10.9.{number >> 8}.{number & 255}], conditions: {{ready: {is_ready}}}}}"
            for number, is_ready in enumerate(ready[start : start + 100], start)
        )
        texts.append(f"""
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-{start}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{endpoints}]
""")
    return "\n---\n".join(texts)


def addresses(told: Mapping[str, object]) -> list[str]:
    shards = [each for each in told.values() if isinstance(each, EndpointShard)]
    assert {(each.host, each.shard) for each in shards} == {(HOST, "Kubernetes")}
    return sorted(each.address for shard in shards for each in shard.endpoints)


def test_many_endpoints_come_in_parts() -> None:
    """Written is the part that changed; every endpoint is in one part."""
    made = converter(large(*[True] * 150))
    told = {key: each for key, each in made.settle().items() if key != SERVICE}
    assert sorted(told) == [SHARD, *(f"{SHARD}/{part:04}" for part in (1, 2, 3))]
    assert addresses(told) == sorted(f"10.9.0.{each}" for each in range(150))
    put(made, large(False, *[True] * 149))
    (changed,) = made.settle()
    assert changed in told
    put(made, large(*[True] * 90))
    made.put_slice(SliceId("EndpointSlice", "shop", "web-100"), None)
    fewer = made.settle()
    assert {key for key, each in fewer.items() if each is None} == set(told) - {SHARD}
    assert addresses(fewer) == sorted(f"10.9.0.{each}" for each in range(90))


def test_values_are_the_messages() -> None:
    texts = (WEB, SLICE, WEB_1, N1)
    messages = converter(*texts).settle()
    values = converter(*texts).settle_values()
    assert values == {
        key: each and each.SerializeToString(deterministic=True) for key, each in messages.items()
    }
    made = converter(*texts)
    made.settle()
    made.put_pod(ObjectName("shop", "web-1"), None)
    assert made.settle_values() == {POD: None, SHARD: None}


GATE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, labels: {topology.istio.io/network: far}}
spec: {type: LoadBalancer, ports: [{port: 15443}]}
status: {loadBalancer: {ingress: [{hostname: lb.test}, {ip: 203.0.113.1}]}}
"""


def test_names_of_gateways_are_their_addresses() -> None:
    """Proxies dial no names; of other Services they stay what they are (pilot.md D8)."""
    converter = Converter()

    def outside() -> list[str] | None:
        found = converter.settle().get(SERVICE)
        return None if found is None else list(found.external_addresses)

    def put(text: str) -> None:
        for each in items(text):
            converter.put(each)

    put(GATE.replace("topology.istio.io/network", "other"))
    assert (converter.gateway_names, outside()) == (set(), ["lb.test", "203.0.113.1"])
    put(GATE)
    outside()
    assert converter.gateway_names == {"lb.test"}
    converter.put_addresses("lb.test", ["192.0.2.1", "192.0.2.2"])
    assert outside() == ["192.0.2.1", "192.0.2.2", "203.0.113.1"]
    converter.put_addresses("lb.test", ["192.0.2.1", "192.0.2.2"])
    assert outside() is None
    put(GATE.replace("lb.test", "new.test"))
    assert (converter.gateway_names, outside()) == ({"new.test"}, ["new.test", "203.0.113.1"])
    put(GATE)
    assert outside() == ["lb.test", "203.0.113.1"], "what it was is forgotten"
