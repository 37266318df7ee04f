"""Policies for servers that gRPC guards itself (pilot.md B29; gRFC A41)."""

import pytest
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac

from mast.pilot.core.security.authorization.grpc_servers import (
    ALLOW_FILTER,
    DENY_FILTER,
    server_rules,
)
from tests.support.mesh_yaml import reported, scope, sidecar_proxy

PROXY = sidecar_proxy("shop", labels={"app": "web"})


def policy(name: str, spec: str, dry: str = "false") -> str:
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, namespace: shop, annotations: {{istio.io/dry-run: '{dry}'}}}}\n"
        f"spec: {{{spec}}}\n---\n"
    )


ALLOW = policy("allow", "rules: [{}]")
DENY = policy("deny", "action: DENY, rules: [{to: [{operation: {paths: [/a]}}]}]")
CUSTOM = policy("ask", "action: CUSTOM, provider: {name: x}, rules: [{}]")
AUDIT = policy("audit", "action: AUDIT, rules: [{}]")
DRY = policy("dry", "rules: [{}]", "true")
NO_METADATA = policy("token", "rules: [{from: [{source: {requestPrincipals: ['*']}}]}]")


def made(*texts: str) -> dict[str, RBAC]:
    """Rules by the name of their filter."""
    filters = server_rules(scope(PROXY, *texts), PROXY)
    assert len({each.name for each in filters}) == len(filters)
    return {each.name: HttpRbac.FromString(each.typed_config.value).rules for each in filters}


def told(*texts: str) -> list[str]:
    findings = reported(scope(PROXY, *texts), lambda inner: server_rules(inner, PROXY))
    return [each.message for each in findings]


def test_nothing_without_policies() -> None:
    assert made() == {}
    assert told() == []


def test_all_denials_are_one_filter_and_come_first() -> None:
    """gRPC takes each name of a filter once."""
    found = made(ALLOW, DENY, CUSTOM)
    assert list(found) == [DENY_FILTER, ALLOW_FILTER]
    assert found[DENY_FILTER].action == RBAC.DENY
    assert sorted(found[DENY_FILTER].policies) == [
        "istio-ext-authz-x-ns[shop]-policy[ask]-rule[0]-deny-due-to-bad-CUSTOM-action",
        "ns[shop]-policy[deny]-rule[0]",
    ]
    assert found[ALLOW_FILTER].action == RBAC.ALLOW
    assert list(found[ALLOW_FILTER].policies) == ["ns[shop]-policy[allow]-rule[0]"]


@pytest.mark.parametrize(
    ("text", "filters", "why"),
    [
        pytest.param(AUDIT, [], "leave no trace of it", id="audit"),
        pytest.param(DRY, [], "leave no trace of it", id="dry-run"),
        pytest.param(CUSTOM, [DENY_FILTER], "cannot ask x; what it matches is denied", id="custom"),
        pytest.param(NO_METADATA, [ALLOW_FILTER], "the rule allows nobody", id="tokens"),
    ],
)
def test_what_it_cannot_do_is_told(text: str, filters: list[str], why: str) -> None:
    assert list(made(text)) == filters
    (message,) = told(text)
    assert why in message


def test_a_rule_that_cannot_be_judged_allows_nothing() -> None:
    assert not made(NO_METADATA)[ALLOW_FILTER].policies
