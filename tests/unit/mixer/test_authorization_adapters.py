"""Adapters rbac and opa: who may do what (mixer.md G.1)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from istio.mixer.adapter.opa.config.config_pb2 import Params as OpaParams
from istio.mixer.adapter.rbac.config.config_pb2 import Params as RbacParams
from mast.common.keys import config_key
from mast.mixer.adapters import opa, rbac
from mast.mixer.core.adapter import AdapterError, CheckResult, HandlerConfig, Instance
from mast.mixer.core.roles import COLLECTIONS
from mast.mixer.core.values import Duration
from mast.mixer.core.world import World
from tests.support.mixer_config import stored

ROLES = """
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: reader, namespace: shop}
spec:
  rules:
  - services: ["reviews.shop.svc.cluster.local", "ratings*"]
    methods: [GET, HEAD]
    paths: ["/reviews/*", "*/public"]
    constraints: [{key: version, values: [v1, "v2*"]}]
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: anything, namespace: shop}
spec: {rules: [{services: ["*"], methods: ["*"]}]}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: readers, namespace: shop}
spec:
  subjects: [{user: ann}, {group: staff, properties: {namespace: "team-*"}}]
  roleRef: {kind: ServiceRole, name: reader}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: everything, namespace: shop}
spec:
  subjects: [{user: root}, {}]
  roleRef: {kind: ServiceRole, name: anything}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: nobody, namespace: shop}
spec:
  subjects: [{user: "*"}]
  roleRef: {kind: ServiceRole, name: missing}
"""
DENIED = (7, "RBAC: permission denied.")


def instance(
    subject: Mapping[str, Any] | None = None, action: Mapping[str, Any] | None = None
) -> Instance:
    who = {"user": "ann", "groups": "", "properties": {}, **(subject or {})}
    what = {
        "namespace": "shop",
        "service": "reviews.shop.svc.cluster.local",
        "method": "GET",
        "path": "/reviews/1",
        "properties": {"version": "v1"},
        **(action or {}),
    }
    return Instance("a.instance.istio-system", "authorization", {"subject": who, "action": what})


def world() -> World:
    found = World()
    found.apply(dict(stored(ROLES)))
    return found


def decided(roles: World, asked: Instance) -> CheckResult:
    params = RbacParams()
    params.CopyFrom(rbac.adapter(roles.roles).defaults)  # type: ignore[arg-type]
    handler: Any = rbac.adapter(roles.roles).build(HandlerConfig("h", "rbac", params))
    found: CheckResult = handler.check(asked)
    return found


@pytest.mark.parametrize(
    ("subject", "action", "allowed"),
    [
        ({}, {}, True),
        ({"user": "bob"}, {}, False),
        ({"user": "root"}, {"service": "x", "method": "DELETE", "path": "/"}, True),
        ({"user": "root"}, {"namespace": "other"}, False),
        ({"user": "bob", "groups": "staff", "properties": {"namespace": "team-a"}}, {}, True),
        ({"user": "bob", "groups": "staff", "properties": {"namespace": "a"}}, {}, False),
        ({"user": "bob", "groups": "staff"}, {}, False),
        ({}, {"service": "ratings-v2.shop"}, True),
        ({}, {"service": "details.shop"}, False),
        ({}, {"method": "POST"}, False),
        ({}, {"path": "/a/public"}, True),
        ({}, {"path": "/private"}, False),
        ({}, {"properties": {"version": "v2-beta"}}, True),
        ({}, {"properties": {"version": "v3"}}, False),
        ({}, {"properties": {}}, False),
    ],
)
def test_roles(subject: dict[str, Any], action: dict[str, Any], allowed: bool) -> None:
    found = decided(world(), instance(subject, action))
    if allowed:
        assert found.status.code == 0
    else:
        assert (found.status.code, found.status.message) == DENIED
    assert found.valid_duration == timedelta(seconds=60)
    assert found.valid_use_count == 1_000_000_000


def test_roles_come_and_go() -> None:
    roles = world()
    assert not roles.apply({config_key(COLLECTIONS[1], "shop", "readers"): None})
    assert decided(roles, instance()).status.code == DENIED[0]
    binding = config_key(COLLECTIONS[1], "shop", "readers")
    roles.apply({binding: stored(ROLES)[binding]})
    assert decided(roles, instance()).status.code == 0
    roles.apply({config_key(COLLECTIONS[0], "shop", "reader"): None})
    assert decided(roles, instance()).status.code == DENIED[0]


POLICY = """
package mixerauthz
default allow = false
allow = true { input.subject.user == "ann"; input.action.method == "GET" }
allow = true { input.subject.groups[_] == "admins" }
allow = true { input.subject.properties.age >= 18; input.action.properties.took == "1.5ms" }
word = "yes" { input.action.method == "GET" }
maybe = true { input.action.method == "PUT" }
clash = true { input.action.method == "GET" }
clash = false { input.subject.user == "ann" }
"""


def built(**params: Any) -> opa.Opa:
    given = {"policy": [POLICY], "check_method": "data.mixerauthz.allow", **params}
    handler = opa.ADAPTER.build(HandlerConfig("h", "opa", OpaParams(**given)))
    assert isinstance(handler, opa.Opa)
    return handler


@pytest.mark.parametrize(
    ("subject", "action", "allowed"),
    [
        ({}, {}, True),
        ({}, {"method": "POST"}, False),
        ({"user": "bob", "groups": "staff, admins"}, {"method": "POST"}, True),
        ({"user": "bob", "groups": "administrators"}, {}, False),
        (
            {"user": "bob", "properties": {"age": 20}},
            {"properties": {"took": Duration(1_500_000)}},
            True,
        ),
    ],
)
def test_policies(subject: dict[str, Any], action: dict[str, Any], allowed: bool) -> None:
    assert built().check(instance(subject, action)) == (CheckResult() if allowed else opa.REJECTED)


@pytest.mark.parametrize("rule", ["word", "maybe", "clash", "gone"])
def test_what_is_no_boolean_allows_unless_it_shall_not(rule: str) -> None:
    """A word, a rule without value, one with two values (an error), one that there is not."""
    method = f"data.mixerauthz.{rule}"
    assert built(check_method=method).check(instance()) == CheckResult()
    assert built(check_method=method, fail_close=True).check(instance()) == opa.REJECTED


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"policy": ["package x\nallow = {"]}, "opa: policy: "),
        ({"policy": []}, "opa: policy: at least one is needed"),
        ({"check_method": ""}, "want data.PACKAGE.RULE"),
        ({"check_method": "data.x; y"}, "want data.PACKAGE.RULE"),
    ],
)
def test_bad_policies_are_not_built(params: dict[str, Any], error: str) -> None:
    with pytest.raises(AdapterError, match=error):
        built(**params)
    assert built(**params, fail_close=True).check(instance()) == opa.REJECTED


def test_bad_policies_do_not_write_to_the_output(capfd: pytest.CaptureFixture[str]) -> None:
    built(policy=["package x\nallow = {"], fail_close=True)
    assert "unclosed" not in capfd.readouterr().out.split("opa.policies_refused")[0]
