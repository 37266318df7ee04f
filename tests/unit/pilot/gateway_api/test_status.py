"""Statuses of Gateway API objects in the API's shape (pilot.md I8)."""

import pytest

from mast.pilot.core.debug.mesh import gateway_statuses
from tests.support.gateway_api import GATEWAY, HTTP, conditions, described, service, told
from tests.support.mesh_yaml import changes, world

OURS = described("GatewayClass", "own", '""', "{controllerName: istio.io/gateway-controller}")
THEIRS = described("GatewayClass", "theirs", '""', "{controllerName: a.com/controller}")
ROUTE = described("HTTPRoute", "r", "shop", "{parentRefs: [{name: web, namespace: edge}]}")
POLICY = described("BackendTLSPolicy", "p", "shop", "{targetRefs: [{kind: Service, name: a},"
                   " {kind: Service, name: b, sectionName: http}],"
                   " validation: {hostname: a.test}}")  # fmt: skip


def test_classes_of_ours_are_accepted() -> None:
    found = told(OURS, THEIRS)
    assert list(found) == ["GatewayClass /own"]
    assert conditions(found["GatewayClass /own"]["conditions"]) == {"Accepted": "Accepted"}


def test_a_gateway() -> None:
    found = told(GATEWAY + HTTP, ROUTE)["Gateway edge/web"]
    assert found["addresses"] == []
    (listener,) = found["listeners"]
    assert (listener["name"], listener["attachedRoutes"]) == ("http", 1)
    assert conditions(listener["conditions"]) == {
        "Accepted": "Accepted",
        "Conflicted": "!NoConflicts",
        "Programmed": "Programmed",
        "ResolvedRefs": "ResolvedRefs",
    }


def test_a_route_that_nobody_takes_has_no_status() -> None:
    assert told(described("HTTPRoute", "r", "shop", "{}")) == {}


def test_a_policy_has_an_ancestor_per_target() -> None:
    found = told(service("a"), service("b"), POLICY)["BackendTLSPolicy shop/p"]["ancestors"]
    assert [each["ancestorRef"] for each in found] == [
        {"group": "", "kind": "Service", "name": "a"},
        {"group": "", "kind": "Service", "name": "b", "sectionName": "http"},
    ]


BACKEND = "rules: [{backendRefs: [{name: a, port: 80}]}]"
TO_EDGE = f"parentRefs: [{{name: web, namespace: edge}}], {BACKEND}"
TCP = "  - {name: tcp, port: 90, protocol: TCP, allowedRoutes: {namespaces: {from: All}}}\n---\n"


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(described("HTTPRoute", "r", "shop", f"{{{TO_EDGE}}}"), id="http"),
        pytest.param(described("TCPRoute", "r", "shop", f"{{{TO_EDGE}}}"), id="tcp"),
    ],
)
def test_gateways_that_lead_to_a_service_are_ancestors_of_its_policies(route: str) -> None:
    gateway = GATEWAY + HTTP.removesuffix("---\n") + TCP
    found = told(service("a"), service("b"), gateway, route, POLICY)["BackendTLSPolicy shop/p"]
    assert [each["ancestorRef"]["kind"] for each in found["ancestors"]] == [
        "Service",
        "Gateway",
        "Service",
    ]
    assert found["ancestors"][1]["ancestorRef"] == {
        "group": "gateway.networking.k8s.io",
        "kind": "Gateway",
        "namespace": "edge",
        "name": "web",
    }


ELSEWHERE = described("ServiceEntry", "out", "shop", "{hosts: [a.test], resolution: DNS,"
                      " ports: [{number: 80, name: http, protocol: HTTP}]}")  # fmt: skip


def test_gateways_that_lead_elsewhere_are_no_ancestors() -> None:
    backend = "{group: networking.istio.io, kind: Hostname, name: a.test, port: 80}"
    spec = f"{{{TO_EDGE.replace('{name: a, port: 80}', backend)}}}"
    route = described("HTTPRoute", "r", "shop", spec)
    found = told(service("a"), service("b"), ELSEWHERE, GATEWAY + HTTP, route, POLICY)
    assert conditions(found["HTTPRoute shop/r"]["parents"][0]["conditions"]) == {
        "Accepted": "Accepted",
        "ResolvedRefs": "ResolvedRefs",
    }
    ancestors = found["BackendTLSPolicy shop/p"]["ancestors"]
    assert {each["ancestorRef"]["kind"] for each in ancestors} == {"Service"}


def test_generations_are_those_of_where_objects_are_from() -> None:
    ours = OURS.replace('namespace: ""', "annotations: {mast.io/generation: '7'}")
    (condition,) = told(ours)["GatewayClass /own"]["conditions"]
    assert condition["observedGeneration"] == 7


def test_the_debug_page() -> None:
    found = gateway_statuses(world(GATEWAY + HTTP, ROUTE).snapshot(1))
    assert [(each["apiVersion"], each["kind"], each["metadata"]) for each in found] == [
        ("gateway.networking.k8s.io/v1", "Gateway", {"name": "web", "namespace": "edge"}),
        ("gateway.networking.k8s.io/v1", "HTTPRoute", {"name": "r", "namespace": "shop"}),
    ]
    assert all(each["status"] for each in found)


def test_what_is_collected_once_is_kept() -> None:
    made = world(GATEWAY + HTTP, ROUTE)
    first = made.snapshot(1).translation
    made.apply(changes(service("a")))
    assert made.snapshot(2).translation is first
    made.apply(changes(POLICY))
    assert made.snapshot(3).translation is not first
