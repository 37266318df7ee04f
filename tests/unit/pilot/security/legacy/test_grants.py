"""Roles and their bindings (pilot.md J7)."""

import pytest

from mast.pilot.core.security.legacy.grants import grants
from tests.support.legacy_objects import binding, obj, role
from tests.support.mesh_yaml import reported, scope, sidecar_proxy

READ, WRITE = "{services: ['*'], methods: [GET]}", "{services: ['*'], methods: [PUT]}"
ANN, BOB = "{user: ann}", "{user: bob}"
PERMISSIVE = "mode: PERMISSIVE,"


def by_actions(name: str) -> str:
    return obj("ServiceRoleBinding", name, f"{{actions: [{READ}], subjects: [{ANN}]}}")


def by_role(name: str, what: str) -> str:
    return obj("ServiceRoleBinding", name, f"{{role: {what}, subjects: [{ANN}]}}")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([role("r", READ)], [], id="unbound"),
        pytest.param(
            [role("r", READ, WRITE), binding("b", "r", ANN, BOB)],
            [("r", "shop", ["GET", "PUT"], ["ann", "bob"], True)],
            id="bound",
        ),
        pytest.param(
            [role("r", READ), binding("b", "r", ANN), binding("c", "r", BOB)],
            [("r", "shop", ["GET"], ["ann", "bob"], True)],
            id="twice",
        ),
        pytest.param(
            [role("r", READ), binding("b", "r", ANN, more=PERMISSIVE), binding("c", "r", BOB)],
            [("r", "shop", ["GET"], ["bob"], True), ("r", "shop", ["GET"], ["ann"], False)],
            id="enforced-and-tried",
        ),
        pytest.param(
            [role("w", WRITE), role("r", READ), binding("b", "r", ANN), binding("c", "w", ANN)],
            [("w", "shop", ["PUT"], ["ann"], True), ("r", "shop", ["GET"], ["ann"], True)],
            id="oldest-role-first",
        ),
        pytest.param(
            [role("r", READ, namespace="other"), binding("b", "r", ANN)], [], id="other-namespace"
        ),
        pytest.param(
            [role("r", READ), binding("b", "r", ANN, namespace="other")], [], id="bound-elsewhere"
        ),
        pytest.param(
            [role("r", READ), by_role("b", "r")],
            [("r", "shop", ["GET"], ["ann"], True)],
            id="by-name",
        ),
        pytest.param(
            [role("r", READ, namespace="istio-system"), by_role("b", "/r")],
            [("/r", "istio-system", ["GET"], ["ann"], True)],
            id="of-the-root-namespace",
        ),
        pytest.param(
            [by_actions("b")], [("binding[b]", "shop", ["GET"], ["ann"], True)], id="own-rules"
        ),
    ],
)
def test_grants(texts: list[str], expected: list[tuple[object, ...]]) -> None:
    found = [
        (
            each.name,
            each.namespace,
            [method for rule in each.rules for method in rule.methods],
            [subject.user for subject in each.subjects],
            each.enforced,
        )
        for each in grants(scope(sidecar_proxy(), *texts), "shop")
    ]
    assert found == expected


def test_they_are_worked_out_once() -> None:
    seen = scope(sidecar_proxy(), role("r", READ), binding("b", "r", ANN))
    assert grants(seen, "shop") is grants(seen, "shop")


def test_a_binding_to_nothing_is_told() -> None:
    seen = scope(sidecar_proxy(), binding("lost", "nobody", ANN), by_role("far", "/nobody"))
    found = reported(seen, lambda inner: grants(inner, "shop"))
    assert [each.message for each in found] == [
        "ServiceRoleBinding shop/far grants nothing: there is no ServiceRole istio-system/nobody.",
        "ServiceRoleBinding shop/lost grants nothing: there is no ServiceRole shop/nobody.",
    ]
    assert found[0].subject is not None
    assert found[0].subject.name == "far"
