"""Old policies for servers that gRPC guards itself (pilot.md B29, J7, J8)."""

import pytest
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac

from mast.pilot.core.model.finding import Finding
from mast.pilot.core.scope.audience import own_targets
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.legacy.grpc_servers import (
    ORIGINS_FILTER,
    ROLES_FILTER,
    old_server_rules,
)
from tests.support.legacy_objects import binding, policy, role, switch
from tests.support.mesh_yaml import reported, scope, sidecar_proxy

SERVICE = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web, namespace: shop},
 spec: {hosts: [web.shop.svc.cluster.local], resolution: STATIC, location: MESH_INTERNAL,
        workloadSelector: {labels: {app: web}},
        ports: [{number: 80, name: grpc, protocol: GRPC}]}}
---
"""
PROXY = sidecar_proxy("shop", labels={"app": "web"})
ORIGIN = "{jwt: {issuer: https://a.test, jwksUri: https://a.test/keys}}"
ORIGIN_BY_PATH = ORIGIN.replace("{jwt: {", "{jwt: {triggerRules: [{includedPaths: [{exact: /a}]}],")
ROLES = [
    switch(),
    role("readers", "{services: [web], paths: [/a]}"),
    binding("b", "readers", "{user: '*'}"),
]


def modern(kind: str, spec: str) -> str:
    return (
        f"apiVersion: security.istio.io/v1\nkind: {kind}\n"
        f"metadata: {{name: new, namespace: shop}}\nspec: {spec}\n---\n"
    )


def rules(seen: Scope) -> dict[str, RBAC]:
    """Rules by the name of their filter."""
    (target,) = own_targets(PROXY, seen, None)
    filters = old_server_rules(seen, PROXY, target)
    return {each.name: HttpRbac.FromString(each.typed_config.value).rules for each in filters}


def made(*texts: str) -> dict[str, RBAC]:
    return rules(scope(PROXY, SERVICE, *texts))


def told(*texts: str) -> list[Finding]:
    return list(reported(scope(PROXY, SERVICE, *texts), rules))


def test_nothing_without_policies() -> None:
    assert made() == {}
    assert old_server_rules(scope(PROXY, *ROLES), PROXY, None) == ()


def test_roles() -> None:
    (found,) = made(*ROLES).items()
    assert found[0] == ROLES_FILTER
    assert found[1].action == RBAC.ALLOW
    (readers,) = found[1].policies.values()
    assert [each.url_path.path.exact for each in readers.permissions] == ["/a"]
    assert made(*ROLES, modern("AuthorizationPolicy", "{rules: [{}]}")) == {}
    assert made(switch("{mode: ON, enforcementMode: PERMISSIVE}")) == {}


@pytest.mark.parametrize(
    ("rule", "subject"),
    [
        pytest.param("{key: connection.sni, values: [a]}", "{user: '*'}", id="server-name"),
        pytest.param(
            "{key: 'experimental.envoy.filters.a[b]', values: [a]}", "{user: '*'}", id="metadata"
        ),
        pytest.param(
            "{key: 'request.headers[grpc-x]', values: [a]}", "{user: '*'}", id="unseen-header"
        ),
        pytest.param("", "{properties: {'request.headers[grpc-x]': a}}", id="caller-by-header"),
        pytest.param("", "{group: staff}", id="token"),
    ],
)
def test_what_grpc_cannot_judge_allows_nothing(rule: str, subject: str) -> None:
    texts = [
        switch(),
        role("r", f"{{services: [web], constraints: [{rule}]}}"),
        binding("b", "r", subject),
    ]
    assert not made(*texts)[ROLES_FILTER].policies


@pytest.mark.parametrize(
    ("origin", "path"),
    [pytest.param(ORIGIN, "", id="always"), pytest.param(ORIGIN_BY_PATH, "/a", id="by-path")],
)
def test_what_needs_a_token_is_denied(origin: str, path: str) -> None:
    text = policy("default", f"{{origins: [{origin}]}}")
    (found,) = made(text).items()
    assert found[0] == ORIGINS_FILTER
    assert found[1].action == RBAC.DENY
    (concerned,) = found[1].policies["origins"].permissions
    assert concerned.any is (not path)
    assert path in str(concerned)
    (finding,) = told(text)
    assert "calls that need one are denied" in finding.message


@pytest.mark.parametrize(
    "texts",
    [
        pytest.param(["{peers: [{mtls: {}}]}"], id="none-needed"),
        pytest.param([f"{{origins: [{ORIGIN}], originIsOptional: true}}"], id="optional"),
        pytest.param(
            [
                f"{{origins: [{ORIGIN}]}}",
                modern("RequestAuthentication", "{jwtRules: [{issuer: a}]}"),
            ],
            id="newer-kind",
        ),
    ],
)
def test_what_needs_none_is_not(texts: list[str]) -> None:
    spec, *more = texts
    assert made(policy("default", spec), *more) == {}
