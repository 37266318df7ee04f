"""Which rule counts, and what its layers make of a port (pilot.md G1, G2)."""

from collections.abc import Sequence
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.destination_rule_pb2 import Subset, TrafficPolicy
from mast.pilot.core.clusters.destination_rules import Rule, rule_for, traffic_policy
from mast.pilot.core.model.mesh import Mesh, complete
from tests.support.mesh_yaml import scope, sidecar_proxy

HOST = "a.shop.svc.cluster.local"
SERVICE = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: a, namespace: shop}}
spec: {{hosts: [{HOST}], ports: [{{number: 80, name: http}}]}}
---
"""


def rule(name: str, namespace: str, spec: str = "") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{host: {HOST}{spec}}}\n---\n"
    )


def chosen(texts: Sequence[str], namespace: str = "web", **labels: str) -> Rule | None:
    found = scope(sidecar_proxy(namespace), SERVICE, *texts)
    service = found.service(HOST)
    assert service is not None
    return rule_for(found, service, labels)


OWN, SERVICES_OWN = rule("client", "web"), rule("server", "shop")
ROOT, ELSEWHERE = rule("root", "istio-system"), rule("elsewhere", "other")
WILDCARD = rule("wide", "shop").replace(HOST, "'*.shop.svc.cluster.local'")
ANY = rule("any", "shop").replace(HOST, "'*'")
PRIVATE = ", exportTo: ['.']"


@pytest.mark.parametrize(
    ("texts", "namespace", "name"),
    [
        pytest.param([], "web", None, id="none"),
        pytest.param([OWN, SERVICES_OWN, ROOT], "web", "client", id="caller-first"),
        pytest.param([SERVICES_OWN, ROOT], "web", "server", id="then-service"),
        pytest.param([ROOT, ELSEWHERE], "web", "root", id="then-root"),
        pytest.param([ELSEWHERE], "web", None, id="nobody-elses"),
        pytest.param([rule("x", "shop", PRIVATE), ROOT], "web", "root", id="private-service"),
        pytest.param([rule("x", "web", PRIVATE)], "web", "x", id="private-own"),
        pytest.param([rule("x", "shop", ", exportTo: [web]")], "web", "x", id="given"),
        pytest.param([WILDCARD, SERVICES_OWN], "web", "server", id="most-specific"),
        pytest.param([ANY, WILDCARD], "web", "wide", id="longer-wildcard"),
        pytest.param([ANY], "web", "any", id="any"),
        pytest.param([ROOT, SERVICES_OWN], "istio-system", "server", id="root-public-is-default"),
        pytest.param(
            [rule("x", "istio-system", PRIVATE), SERVICES_OWN], "istio-system", "x", id="root-own"
        ),
        pytest.param([rule("short", "shop").replace(HOST, "a")], "web", "short", id="short-name"),
    ],
)
def test_which_rule(texts: list[str], namespace: str, name: str | None) -> None:
    found = chosen(texts, namespace)
    assert (found.origins[0].name if found else None) == name


def test_rules_of_one_host_are_merged_oldest_first() -> None:
    found = chosen(
        [
            rule("one", "shop", ", subsets: [{name: v1, labels: {v: '1'}}]"),
            rule("two", "shop", ", trafficPolicy: {tls: {mode: DISABLE}}"),
            rule(
                "three",
                "shop",
                ", trafficPolicy: {tls: {mode: SIMPLE}}, "
                "subsets: [{name: v1, labels: {v: '9'}}, {name: v2, labels: {v: '2'}}]",
            ),
            rule("private", "shop", ", exportTo: [web], subsets: [{name: v3}]"),
        ]
    )
    assert found is not None
    assert [each.name for each in found.origins] == ["one", "two", "three"]
    assert found.policy is not None
    assert found.policy.tls.mode == 0
    assert {name: dict(each.labels) for name, each in found.subsets.items()} == {
        "v1": {"v": "1"},
        "v2": {"v": "2"},
    }
    assert found.duplicates == ("v1",)
    assert not found.selects_callers


SELECTING = ", workloadSelector: {matchLabels: {app: x}}"


@pytest.mark.parametrize(
    ("texts", "labels", "name", "selects"),
    [
        pytest.param([OWN, rule("s", "web", SELECTING)], {"app": "x"}, "s", True, id="preferred"),
        pytest.param([rule("s", "web", SELECTING), OWN], {}, "client", False, id="no-match"),
        pytest.param([rule("s", "shop", SELECTING)], {"app": "x"}, None, False, id="not-own"),
    ],
)
def test_rules_for_some_callers(
    texts: list[str], labels: dict[str, str], name: str | None, selects: bool
) -> None:
    found = chosen(texts, **labels)
    assert (found.origins[0].name if found else None) == name
    assert bool(found and found.selects_callers) is selects


def layered(
    policy: dict[str, Any] | None, subset: dict[str, Any] | None = None, port: int = 80
) -> dict[str, Any]:
    config = MeshConfig()
    config.default_traffic_policy.connection_pool.tcp.max_connections = 1
    config.default_traffic_policy.outlier_detection.max_ejection_percent = 1
    made = Rule(
        (),
        ParseDict(policy, TrafficPolicy()) if policy is not None else None,
        {"v1": ParseDict({"name": "v1", **(subset or {})}, Subset())},
    )
    found = traffic_policy(Mesh(complete(config)), made, "v1" if subset else "", port)
    return MessageToDict(found)


MESH_POOL = {"connectionPool": {"tcp": {"maxConnections": 1}}}
MESH_OUTLIER = {"outlierDetection": {"maxEjectionPercent": 1}}
POOL = {"connectionPool": {"http": {"maxRetries": 2}}}
OUTLIER = {"outlierDetection": {"maxEjectionPercent": 2}}
RANDOM, ROBIN = {"simple": "RANDOM"}, {"simple": "ROUND_ROBIN"}
TLS = {"mode": "SIMPLE"}


@pytest.mark.parametrize(
    ("policy", "subset", "port", "expected"),
    [
        pytest.param(None, None, 80, MESH_POOL | MESH_OUTLIER, id="mesh"),
        pytest.param(POOL, None, 80, POOL | MESH_OUTLIER, id="rule-replaces-block"),
        pytest.param(
            {"loadBalancer": RANDOM, "portLevelSettings": [{"port": {"number": 80}, **POOL}]},
            None,
            80,
            POOL,
            id="port-replaces-four-blocks",
        ),
        pytest.param(
            {"loadBalancer": RANDOM, "portLevelSettings": [{"port": {"number": 80}, **POOL}]},
            None,
            81,
            MESH_POOL | MESH_OUTLIER | {"loadBalancer": RANDOM},
            id="other-port",
        ),
        pytest.param(
            {
                "proxyProtocol": {"version": "V2"},
                "portLevelSettings": [{"port": {"number": 80}, "tls": TLS}],
            },
            None,
            80,
            {"proxyProtocol": {"version": "V2"}, "tls": TLS},
            id="port-keeps-the-others",
        ),
        pytest.param(
            {"loadBalancer": RANDOM, **OUTLIER},
            {"trafficPolicy": {"loadBalancer": ROBIN, "retryBudget": {"percent": 5}}},
            80,
            MESH_POOL | OUTLIER | {"loadBalancer": ROBIN, "retryBudget": {"percent": 5.0}},
            id="subset",
        ),
        pytest.param(
            {"loadBalancer": RANDOM, **OUTLIER},
            {"trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, "tls": TLS}]}},
            80,
            {"tls": TLS},
            id="port-of-subset",
        ),
        pytest.param(POOL, {"labels": {"a": "b"}}, 80, POOL | MESH_OUTLIER, id="subset-without"),
    ],
)
def test_layers(
    policy: dict[str, Any] | None,
    subset: dict[str, Any] | None,
    port: int,
    expected: dict[str, Any],
) -> None:
    assert layered(policy, subset, port) == expected


def test_without_a_rule_the_mesh_defaults_hold() -> None:
    assert traffic_policy(Mesh(), None, "", 80) == TrafficPolicy()


KUBERNETES = f"""
apiVersion: registry.mast/v1
kind: Service
metadata: {{name: a}}
spec:
  host: {HOST}
  namespace: shop
  name: a
  ports: [{{name: http, number: 80, target_port: 80}}, {{name: admin, number: 81, target_port: 81}}]
---
"""


def backend_tls(section: str = "") -> str:
    return (
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n"
        "metadata: {name: p, namespace: shop}\n"
        f"spec: {{targetRefs: [{{group: '', kind: Service, name: a{section}}}],"
        " validation: {hostname: a.test, wellKnownCACertificates: System}}\n---\n"
    )


POOL = "connectionPool: {tcp: {maxConnections: 7}}"
PORT = ", trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}"


@pytest.mark.parametrize(
    ("texts", "port", "expected"),
    [
        pytest.param([backend_tls()], 80, (True, 0), id="alone"),
        pytest.param([backend_tls(), rule("server", "shop", f", trafficPolicy: {{{POOL}}}")], 80,
                     (True, 7), id="with-the-services-rule"),
        pytest.param([backend_tls(), rule("client", "web", f", trafficPolicy: {{{POOL}}}")], 80,
                     (True, 7), id="with-the-callers-rule"),
        pytest.param([rule("client", "web", PORT), backend_tls()], 80, (True, 0),
                     id="over-settings-of-the-port"),
        pytest.param([backend_tls(", sectionName: http"),
                      rule("server", "shop", f", trafficPolicy: {{{POOL}}}")], 80, (True, 7),
                     id="port"),
        pytest.param([backend_tls(", sectionName: http"), rule("client", "web", PORT)], 80,
                     (True, 0), id="port-with-settings"),
        pytest.param([backend_tls(", sectionName: http"),
                      rule("server", "shop", f", trafficPolicy: {{{POOL}}}")], 81, (False, 7),
                     id="other-port"),
    ],
)  # fmt: skip
def test_backend_tls_holds_whichever_rule_counts(
    texts: Sequence[str], port: int, expected: tuple[bool, int]
) -> None:
    found = scope(sidecar_proxy("web"), KUBERNETES, *texts)
    service = found.service(HOST)
    assert service is not None
    policy = traffic_policy(Mesh(), rule_for(found, service, {}), "", port)
    assert (policy.tls.sni == "a.test", policy.connection_pool.tcp.max_connections) == expected
