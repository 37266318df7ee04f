"""What old policies put before the ports of a proxy (pilot.md J7, J8)."""

import json

import pytest
from envoy.config.core.v3.base_pb2 import Node

from mast.pilot.core.model.model import Service
from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.scope.audience import own_targets
from mast.pilot.core.security.legacy.guards import NO_LEGACY, LegacyGuards, legacy_guards
from tests.support.legacy_objects import binding, mesh_policy, policy, role, switch
from tests.support.mesh_yaml import scope, sidecar_proxy
from tests.support.tokens import Issuer

SERVICE = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web, namespace: shop},
 spec: {hosts: [web.shop.svc.cluster.local], resolution: STATIC, location: MESH_INTERNAL,
        workloadSelector: {labels: {app: web}},
        ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080},
                {number: 81, name: admin, protocol: HTTP}]}}
---
"""
JWT = json.dumps({"issuer": "https://a.test", "jwks": Issuer("https://a.test", "ES256").jwks})
ORIGINS = f"origins: [{{jwt: {JWT}}}]"
TARGETED = policy("web", f"{{targets: [{{name: web, ports: [{{number: 80}}]}}], {ORIGINS}}}")
OF_NAMESPACE = policy("default", f"{{{ORIGINS}}}")
OF_MESH = mesh_policy(f"{{{ORIGINS}}}")
TOKENS, RBAC = "envoy.filters.http.jwt_authn", "envoy.filters.http.rbac"


def modern(kind: str, spec: str, namespace: str = "shop", annotations: str = "{}") -> str:
    return (
        f"apiVersion: security.istio.io/v1\nkind: {kind}\n"
        f"metadata: {{name: new, namespace: {namespace}, annotations: {annotations}}}\n"
        f"spec: {spec}\n---\n"
    )


def request_authentication(namespace: str = "shop", selector: str = "") -> str:
    return modern("RequestAuthentication", f"{{{selector} jwtRules: [{JWT}]}}", namespace)


SELECTED = "selector: {matchLabels: {app: web}},"


def web() -> Proxy:
    return sidecar_proxy("shop", labels={"app": "web"})


def gateway() -> Proxy:
    node = Node(id="router~10.1.0.8~edge-1.shop~shop.svc.cluster.local")
    node.metadata.update({"NAMESPACE": "shop", "LABELS": {"app": "web"}})
    return parse(node)


def guards(proxy: Proxy, *texts: str) -> tuple[LegacyGuards, Service]:
    seen = scope(proxy, SERVICE, *texts)
    served = own_targets(proxy, seen, None)
    return legacy_guards(seen, proxy, served), served[0].service


def filters(proxy: Proxy, port: int, *texts: str) -> tuple[list[str] | None, list[str], list[str]]:
    """Names of the filters before a service port: of tokens, of requests, of connections."""
    found, service = guards(proxy, *texts)
    at = found.at(None if proxy.type == gateway().type else service, port)
    tokens = None if at.tokens is None else [each.name for each in at.tokens]
    return tokens, [each.name for each in at.http], [each.name for each in at.network]


NETWORK = "envoy.filters.network.rbac"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param([], (None, [], []), id="nothing"),
        pytest.param([switch()], (None, [RBAC], [NETWORK]), id="roles"),
        pytest.param([switch("{}")], (None, [], []), id="off"),
        pytest.param([TARGETED], ([TOKENS], [], []), id="tokens-of-a-port"),
        pytest.param([OF_NAMESPACE], ([TOKENS], [], []), id="tokens-of-the-namespace"),
        pytest.param([OF_MESH], ([TOKENS], [], []), id="tokens-of-the-mesh"),
        pytest.param(
            [OF_NAMESPACE, policy("web", "{targets: [{name: web}]}")],
            (None, [], []),
            id="a-special-policy-without-tokens",
        ),
        pytest.param([TARGETED, switch()], ([TOKENS], [RBAC], [NETWORK]), id="both"),
    ],
)
def test_filters(texts: list[str], expected: tuple[object, ...]) -> None:
    assert filters(web(), 80, *texts) == expected
    assert filters(gateway(), 80, *texts) == expected


def test_other_ports_and_services() -> None:
    assert filters(web(), 81, TARGETED) == (None, [], [])
    assert filters(web(), 82, TARGETED, switch()) == (None, [], [])
    found, _ = guards(web(), TARGETED, switch())
    assert found.at(None, 80).tokens is None
    assert found.at(None, 80).http == ()


@pytest.mark.parametrize(
    ("text", "switched_off"),
    [
        pytest.param(modern("AuthorizationPolicy", "{}"), True, id="allow"),
        pytest.param(modern("AuthorizationPolicy", "{action: DENY, rules: [{}]}"), True, id="deny"),
        pytest.param(modern("AuthorizationPolicy", "{}", "istio-system"), True, id="root"),
        pytest.param(modern("AuthorizationPolicy", "{}", "other"), False, id="other-namespace"),
        pytest.param(
            modern("AuthorizationPolicy", "{selector: {matchLabels: {app: x}}}"), False, id="other"
        ),
        pytest.param(
            modern("AuthorizationPolicy", "{action: AUDIT, rules: [{}]}"), False, id="watches"
        ),
        pytest.param(
            modern("AuthorizationPolicy", "{}", annotations="{istio.io/dry-run: 'true'}"),
            False,
            id="is-tried",
        ),
    ],
)
def test_a_newer_policy_switches_roles_off(text: str, switched_off: bool) -> None:
    assert filters(web(), 80, switch(), text)[1:] == (
        ([], []) if switched_off else ([RBAC], [NETWORK])
    )


@pytest.mark.parametrize(
    ("old", "new", "silent"),
    [
        pytest.param(OF_MESH, request_authentication("istio-system"), True, id="mesh-mesh"),
        pytest.param(OF_MESH, request_authentication(), True, id="mesh-namespace"),
        pytest.param(
            OF_NAMESPACE, request_authentication("istio-system"), False, id="namespace-mesh"
        ),
        pytest.param(OF_NAMESPACE, request_authentication(), True, id="namespace-namespace"),
        pytest.param(
            OF_NAMESPACE, request_authentication(selector=SELECTED), True, id="namespace-workload"
        ),
        pytest.param(TARGETED, request_authentication(), False, id="workload-namespace"),
        pytest.param(
            TARGETED, request_authentication(selector=SELECTED), True, id="workload-workload"
        ),
        pytest.param(TARGETED, request_authentication("other"), False, id="other-namespace"),
    ],
)
def test_the_more_special_kind_says_what_tokens_are_needed(
    old: str, new: str, silent: bool
) -> None:
    assert filters(web(), 80, old, new)[0] == (None if silent else [TOKENS])


BOUND_TO_TOKEN = policy("default", f"{{principalBinding: USE_ORIGIN, {ORIGINS}}}")
MUTUAL = policy("default", "{peers: [{mtls: {}}]}")


@pytest.mark.parametrize(
    ("texts", "by_token"),
    [
        pytest.param([], True, id="no-policy"),
        pytest.param([OF_NAMESPACE], False, id="peer"),
        pytest.param([BOUND_TO_TOKEN], True, id="origin"),
        pytest.param([MUTUAL], False, id="no-origins"),
        pytest.param([OF_NAMESPACE, request_authentication()], True, id="silent"),
        pytest.param([OF_NAMESPACE, request_authentication("istio-system")], False, id="special"),
        pytest.param(
            [MUTUAL, request_authentication("istio-system")], True, id="only-newer-tokens"
        ),
    ],
)
def test_who_a_request_speaks_for_is_told_by_the_policy_that_holds(
    texts: list[str], by_token: bool
) -> None:
    ann = "{properties: {request.auth.principal: https://a.test/ann}}"
    roles = [switch(), role("r", "{services: [web]}"), binding("b", "r", ann)]
    found, service = guards(web(), *roles, *texts)
    assert (b"jwt_authn" in found.at(service, 80).http[0].SerializeToString()) is by_token


BY_PATH = ORIGINS.replace("{jwt: {", "{jwt: {triggerRules: [{includedPaths: [{exact: /a}]}], ", 1)


@pytest.mark.parametrize(
    ("texts", "looking"),
    [
        pytest.param([], False, id="nothing"),
        pytest.param([OF_NAMESPACE], False, id="tokens"),
        pytest.param([policy("default", f"{{{BY_PATH}}}")], True, id="tokens-by-path"),
        pytest.param([switch()], True, id="roles"),
    ],
)
def test_what_looks_at_requests(texts: list[str], looking: bool) -> None:
    found, service = guards(web(), *texts)
    assert found.at(service, 80).look_at_requests is looking


def test_equal_content_is_equal() -> None:
    assert guards(web())[0] is NO_LEGACY
    one, other = (guards(web(), switch())[0] for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != guards(web(), switch(), TARGETED)[0]
    assert one != NO_LEGACY
