"""Statuses of Gateway API objects in the API's shape (pilot.md I8)."""

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
