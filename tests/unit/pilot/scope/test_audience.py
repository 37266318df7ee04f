"""Which proxies see the same, and what their own ports are."""

from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node

from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.scope.audience import Audience, audience_of, own_targets, registered, targets
from tests.support.mesh_yaml import Put, changes, sidecar_proxy, world

MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop.svc.cluster.local]
  resolution: STATIC
  ports: [{number: 80, name: http, targetPort: 8080}, {number: 81, name: tcp}]
  workloadSelector: {labels: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: other, namespace: elsewhere}
spec:
  hosts: [other.test]
  resolution: STATIC
  ports: [{number: 82, name: tcp}]
  endpoints: [{address: 10.1.0.7, ports: {tcp: 9082}}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: web-1, namespace: shop}
spec: {address: 10.1.0.7, labels: {app: web, from: registry}, ports: {tcp: 9081}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: same-address, namespace: elsewhere}
spec: {address: 10.1.0.7, labels: {app: x}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: by-tier, namespace: shop}
spec: {host: other.test, workloadSelector: {matchLabels: {tier: gold}}}
"""
WEB = "web.shop.svc.cluster.local"


def audience(proxy: Proxy, *more: str) -> Audience:
    snapshot = world(MESH, *more).snapshot()
    return snapshot.view(proxy).audience


def sidecar(spec: str) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\n"
        f"metadata: {{name: s, namespace: shop}}\nspec: {spec}\n"
    )


def proxy(ip: str = "10.1.0.20", labels: dict[str, str] | None = None, **metadata: Any) -> Proxy:
    return sidecar_proxy("shop", ip=ip, labels=labels, **metadata)


@pytest.mark.parametrize(
    ("one", "other", "same", "same_caller"),
    [
        pytest.param(proxy(), proxy("10.1.0.21"), True, True, id="address"),
        pytest.param(proxy(NODE_NAME="a"), proxy(NODE_NAME="b"), True, True, id="node"),
        pytest.param(proxy(NAME="a"), proxy(NAME="b"), True, True, id="name"),
        pytest.param(proxy(ANNOTATIONS={"a": "b"}), proxy(), True, True, id="annotations"),
        pytest.param(
            proxy(ANNOTATIONS={"policy.istio.io/check": "disable"}),
            proxy(),
            False,
            True,
            id="annotations-of-istio",
        ),
        pytest.param(
            proxy(labels={"statefulset.kubernetes.io/pod-name": "a"}), proxy(), True, True, id="pod"
        ),
        pytest.param(proxy(labels={"app": "a"}), proxy(), False, True, id="label"),
        pytest.param(proxy(labels={"tier": "gold"}), proxy(), False, False, id="selected-label"),
        pytest.param(proxy(SERVICE_ACCOUNT="a"), proxy(), False, True, id="account"),
        pytest.param(proxy(WORKLOAD_NAME="a"), proxy(), False, True, id="workload"),
        pytest.param(proxy(NETWORK="a"), proxy(), False, False, id="network"),
        pytest.param(proxy(CLUSTER_ID="a"), proxy(), False, False, id="cluster"),
        pytest.param(proxy(DNS_CAPTURE="true"), proxy(), False, False, id="dns-capture"),
        pytest.param(proxy(INTERCEPTION_MODE="TPROXY"), proxy(), False, False, id="mode"),
        pytest.param(proxy("fd00::1"), proxy(), False, False, id="family"),
        pytest.param(
            proxy(INTERCEPTION_MODE="NONE"),
            proxy("10.1.0.21", INTERCEPTION_MODE="NONE"),
            False,
            True,
            id="address-without-capture",
        ),
    ],
)
def test_what_tells_classes_apart(one: Proxy, other: Proxy, same: bool, same_caller: bool) -> None:
    first, second = audience(one), audience(other)
    assert (first.key == second.key) is same
    assert (first.caller_key == second.caller_key) is same_caller


def test_representatives_know_no_instance() -> None:
    found = audience(proxy(INSTANCE_IPS="10.1.0.20,fd00::7", NODE_NAME="n", NAME="x"))
    for each in (found.proxy, found.caller):
        assert each.node_id == ""
        assert "client-1" not in str(each)
        assert "10.1.0.20" not in str(each)
        assert "NAME" not in each.metadata
        assert "kubernetes.io/hostname" not in each.labels
    assert found.proxy.ip_addresses == ("0.0.0.0", "::")  # noqa: S104


NODE_LOCAL = """
apiVersion: registry.mast/v1
kind: Service
metadata: {name: n}
spec:
  host: n.shop.svc.cluster.local
  namespace: shop
  registry: Kubernetes
  node_local: true
  ports: [{name: http, number: 80, protocol: HTTP}]
"""


def test_nodes_are_told_apart_where_a_service_looks_at_them() -> None:
    mesh = world(MESH, NODE_LOCAL)
    one, other = (mesh.snapshot().view(proxy(NODE_NAME=each)).audience for each in "ab")
    assert one.key != other.key
    assert one.neighbour_key != other.neighbour_key
    assert one.caller_key == other.caller_key
    assert one.proxy == other.proxy
    assert (one.neighbour.labels["kubernetes.io/hostname"], one.node) == ("a", "a")
    (gone,) = changes(NODE_LOCAL)
    mesh.apply([Put(gone.key, None)])
    one, other = (mesh.snapshot().view(proxy(NODE_NAME=each)).audience for each in "ab")
    assert one.key == other.key
    assert one.neighbour == one.caller


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy,"
            " metadata: {name: p, namespace: shop}, spec: {selector: {matchLabels: LABELS}}}",
            id="policy",
        ),
        pytest.param(
            "{apiVersion: networking.istio.io/v1, kind: DestinationRule,"
            " metadata: {name: r, namespace: shop},"
            " spec: {host: other.test, workloadSelector: {matchLabels: LABELS}}}",
            id="rule",
        ),
    ],
)
def test_labels_of_instances_stay_where_something_selects_by_them(text: str) -> None:
    name = "statefulset.kubernetes.io/pod-name"
    selecting = text.replace("LABELS", f"{{{name}: db-0}}")
    assert audience(proxy(labels={name: "db-0"}), selecting).proxy.labels == {name: "db-0"}
    assert audience(proxy(labels={name: "db-0"})).proxy.labels == {}


@pytest.mark.parametrize(
    ("more", "metadata", "kept"),
    [
        pytest.param([], {}, False, id="no"),
        pytest.param([], {"INTERCEPTION_MODE": "NONE"}, True, id="not-captured"),
        pytest.param(
            [
                sidecar(
                    "{ingress: [{port: {number: 1, name: a, protocol: TCP}, captureMode: NONE}]}"
                )
            ],
            {},
            True,
            id="ingress-binds",
        ),
        pytest.param(
            [
                sidecar(
                    "{ingress: [{port: {number: 1, name: a, protocol: TCP}, "
                    "defaultEndpoint: '0.0.0.0:1'}]}"
                )
            ],
            {},
            True,
            id="ingress-leads-to-it",
        ),
        pytest.param(
            [sidecar("{ingress: [{port: {number: 1, name: a, protocol: TCP}}]}")],
            {},
            False,
            id="ingress-as-usual",
        ),
    ],
)
def test_when_addresses_matter(more: list[str], metadata: dict[str, str], kept: bool) -> None:
    found = audience(proxy(**metadata), *more)
    assert ("10.1.0.20" in found.proxy.ip_addresses) is kept
    assert "10.1.0.20" not in found.caller.ip_addresses


@pytest.mark.parametrize(("protocol", "kept"), [("TCP", True), ("HTTP", False)])
def test_endpoints_of_headless_services_keep_their_addresses(protocol: str, kept: bool) -> None:
    headless = (
        "apiVersion: registry.mast/v1\nkind: Service\nmetadata: {name: h}\n"
        "spec: {host: h.shop.svc.cluster.local, namespace: shop, headless: true, "
        f"registry: Kubernetes, ports: [{{name: p, number: 90, protocol: {protocol}}}], "
        "selector: {app: h}}\n"
    )
    found = audience(proxy(labels={"app": "h"}), headless)
    assert ("10.1.0.20" in found.proxy.ip_addresses) is kept


def test_labels_of_the_registry_overlay() -> None:
    found = audience(proxy("10.1.0.7", {"app": "said"}, STATIC_LABELS={"x": "y"}))
    assert found.proxy.labels == {"app": "web", "from": "registry", "x": "y"}


def test_the_registered_workload_is_of_the_same_namespace() -> None:
    snapshot = world(MESH).snapshot()
    scope = snapshot.scope("shop")
    known = registered(proxy("10.1.0.7"), scope)
    assert known is not None
    assert known.name == "web-1"
    assert registered(proxy("10.1.0.99"), scope) is None
    assert registered(sidecar_proxy("nowhere", ip="10.1.0.7"), scope) is None


def test_of_several_at_an_address_the_one_of_that_name_counts() -> None:
    twin = (
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
        "metadata: {name: client-1, namespace: shop}\nspec: {address: 10.1.0.7}\n"
    )
    known = registered(proxy("10.1.0.7"), world(MESH, twin).snapshot().scope("shop"))
    assert known is not None
    assert known.name == "client-1"


def test_ports_by_address_and_by_selector() -> None:
    scope = world(MESH).snapshot().scope("shop")
    at_address = proxy("10.1.0.7")
    found = own_targets(at_address, scope, registered(at_address, scope))
    assert [(each.service.host, each.port.number, each.target_port) for each in found] == [
        ("other.test", 82, 9082),
        (WEB, 80, 8080),
        (WEB, 81, 9081),
    ]
    selected = own_targets(proxy(labels={"app": "web"}), scope, None)
    assert [(each.port.number, each.target_port) for each in selected] == [(80, 8080), (81, 81)]
    assert not own_targets(proxy(), scope, None)


def test_what_another_cluster_has_at_the_same_address_is_not_its_own() -> None:
    """Ranges of Pods overlap where networks are apart."""
    texts = [
        f"---\napiVersion: registry.mast/v1\nkind: {kind}\nmetadata: {{name: x}}\n"
        f"spec: {{{spec}}}\n"
        for cluster in ("east", "west")
        for kind, spec in (
            ("Workload", f"name: {cluster}, namespace: shop, cluster: {cluster},"
                         " addresses: [10.9.0.1]"),
            ("Service", f"host: {cluster}.test, namespace: shop, registry: Kubernetes,"
                        f" cluster: {cluster}, ports: [{{name: http, number: 80}}]"),
            ("EndpointShard", f"host: {cluster}.test, namespace: shop, shard: {cluster},"
                              " endpoints: [{address: 10.9.0.1, ports: {http: 8080}}]"),
        )
    ]  # fmt: skip
    scope = world(*texts).snapshot().scope("shop")
    for cluster, served in (("west", ["west.test"]), ("", ["east.test", "west.test"])):
        pod = proxy("10.9.0.1", CLUSTER_ID=cluster)
        known = registered(pod, scope)
        assert known is not None
        assert known.name == (cluster or "east")
        assert [each.service.host for each in own_targets(pod, scope, known)] == served
    assert registered(proxy("10.9.0.1", CLUSTER_ID="north"), scope) is None


def test_targets_follow_the_snapshot() -> None:
    scope = world(MESH).snapshot().scope("shop")
    found = audience_of(proxy("10.1.0.7"), scope, frozenset())
    assert len(targets(found.served, scope)) == 3
    later = world(MESH.replace("number: 81", "number: 91").replace("other.test", "x.test"))
    now = targets(found.served, later.snapshot().scope("shop"))
    assert [(each.service.host, each.port.number) for each in now] == [(WEB, 80)]


def test_routers_have_no_sidecar_but_ports_behind_their_services() -> None:
    router = parse(Node(id="router~10.1.0.7~web-1.shop~shop.svc.cluster.local"))
    found = audience(router, sidecar("{egress: [{hosts: ['./*']}]}"))
    assert found.sidecar is None
    assert [(each.port, each.target_port) for each in found.served] == [
        (82, 9082),
        (80, 8080),
        (81, 9081),
    ]
    assert found.proxy.ip_addresses == ("0.0.0.0",)  # noqa: S104 - stands for a family
