"""What AuthorizationPolicies put before a workload or gateway (pilot.md J4 to J6, E10)."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.model.finding import Fault
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.authorization import (
    NO_AUTHORIZATION,
    Authorization,
    authorization,
    hidden_authorizers,
)
from mast.pilot.core.xds.resources import LDS
from tests.support.mesh_yaml import Put, changes, reported, scope, sidecar_proxy, world
from tests.support.view_mesh import config

PROXY = sidecar_proxy("shop", labels={"app": "web", "tier": "front"})
EVERYTHING = "rules: [{}]"


def policy(name: str, spec: str, namespace: str = "shop", dry: str = "") -> str:
    annotations = f", annotations: {{istio.io/dry-run: '{dry}'}}" if dry else ""
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}{annotations}}}\nspec: {{{spec}}}\n---\n"
    )


def seen(*texts: str) -> Scope:
    return scope(PROXY, *texts)


def shown(found: Authorization) -> Sequence[Mapping[str, Any]]:
    """The HTTP filters for rules, by their fields in JSON."""
    result = []
    for each in found.rules.http:
        assert each.name == "envoy.filters.http.rbac"
        made = HttpRbac()
        assert each.typed_config.Unpack(made)
        result.append(MessageToDict(made))
    return result


def policies(rules: Mapping[str, Any]) -> list[str]:
    return sorted(rules.get("policies", {}))


ALLOW_ALL = policy("allow", EVERYTHING)
DENY_ALL = policy("deny", f"action: DENY, {EVERYTHING}")
AUDIT_ALL = policy("audit", f"action: AUDIT, {EVERYTHING}")


def test_nothing_without_policies() -> None:
    assert authorization(seen(), PROXY) is NO_AUTHORIZATION


def test_a_filter_for_each_action_in_their_order() -> None:
    found = authorization(seen(ALLOW_ALL, DENY_ALL, AUDIT_ALL), PROXY)
    assert [each["rules"].get("action", "ALLOW") for each in shown(found)] == [
        "LOG",
        "DENY",
        "ALLOW",
    ]
    assert [policies(each["rules"]) for each in shown(found)] == [
        ["ns[shop]-policy[audit]-rule[0]"],
        ["ns[shop]-policy[deny]-rule[0]"],
        ["ns[shop]-policy[allow]-rule[0]"],
    ]
    assert [each.name for each in found.rules.network] == ["envoy.filters.network.rbac"] * 3
    made = NetworkRbac.FromString(found.rules.network[1].typed_config.value)
    assert made.stat_prefix == "tcp."
    assert list(made.rules.policies) == ["ns[shop]-policy[deny]-rule[0]"]


def test_rules_of_all_policies_are_united() -> None:
    more = policy("more", "rules: [{}, {to: [{operation: {methods: [GET]}}]}]", "istio-system")
    (allow,) = shown(authorization(seen(ALLOW_ALL, more), PROXY))
    assert policies(allow["rules"]) == [
        "ns[istio-system]-policy[more]-rule[0]",
        "ns[istio-system]-policy[more]-rule[1]",
        "ns[shop]-policy[allow]-rule[0]",
    ]


def test_no_rules_match_nothing() -> None:
    (allow,) = shown(authorization(seen(policy("none", "")), PROXY))
    (never,) = allow["rules"]["policies"].values()
    nothing = {"any": True}
    assert never == {
        "permissions": [{"notRule": nothing}],
        "principals": [{"notId": nothing}],
    }


def test_a_rule_that_allows_nothing_still_refuses() -> None:
    """Its policy is there, so what no other allows is refused (fails closed)."""
    bad = policy("bad", "rules: [{to: [{operation: {ports: [x]}}]}]")
    (allow,) = shown(authorization(seen(bad), PROXY))
    assert allow == {"rules": {}}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        pytest.param(ALLOW_ALL, True, id="own-namespace"),
        pytest.param(policy("a", EVERYTHING, "istio-system"), True, id="root-namespace"),
        pytest.param(policy("a", EVERYTHING, "other"), False, id="another-namespace"),
        pytest.param(
            policy("a", f"selector: {{matchLabels: {{app: web}}}}, {EVERYTHING}"),
            True,
            id="selected",
        ),
        pytest.param(
            policy("a", f"selector: {{matchLabels: {{app: x}}}}, {EVERYTHING}"), False, id="another"
        ),
        pytest.param(
            policy("a", f"selector: {{matchLabels: {{app: web}}}}, {EVERYTHING}", "istio-system"),
            True,
            id="selected-by-the-root-namespace",
        ),
        pytest.param(
            policy("a", f"selector: {{matchLabels: {{app: x}}}}, {EVERYTHING}", "istio-system"),
            False,
            id="not-selected-by-the-root-namespace",
        ),
        pytest.param(
            policy(
                "a",
                "targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: gate}, "
                + EVERYTHING,
            ),
            False,
            id="a-gateway",
        ),
        pytest.param(policy("a", EVERYTHING, dry="true"), False, id="dry-run"),
    ],
)
def test_which_policies_hold(text: str, holds: bool) -> None:
    assert authorization(seen(text), PROXY).holds is holds


@pytest.mark.parametrize(
    ("targets", "holds"),
    [
        pytest.param("targetRefs: [{GROUP, kind: Gateway, name: gate}]", True, id="named"),
        pytest.param("targetRef: {GROUP, kind: Gateway, name: gate}", True, id="named-alone"),
        pytest.param("targetRefs: [{GROUP, kind: Gateway, name: x}]", False, id="another"),
        pytest.param("targetRefs: [{kind: Service, name: gate}]", False, id="a-service"),
    ],
)
def test_gateways_of_gateway_api(targets: str, holds: bool) -> None:
    labels = {"gateway.networking.k8s.io/gateway-name": "gate"}
    proxy = sidecar_proxy("shop", labels=labels)
    given = targets.replace("GROUP", "group: gateway.networking.k8s.io")
    found = scope(proxy, policy("a", f"{given}, {EVERYTHING}"))
    assert authorization(found, proxy).holds is holds


@pytest.mark.parametrize("value", ["true", "True", "1", "t"])
def test_dry_runs_are_shadows(value: str) -> None:
    found = authorization(
        seen(
            policy("a", EVERYTHING, dry=value),
            policy("d", f"action: DENY, {EVERYTHING}", dry=value),
        ),
        PROXY,
    )
    deny, allow = shown(found)
    for each, prefix, name in (
        (deny, "istio_dry_run_deny_", "d"),
        (allow, "istio_dry_run_allow_", "a"),
    ):
        assert "rules" not in each
        assert policies(each["shadowRules"]) == [f"ns[shop]-policy[{name}]-rule[0]"]
        assert each["shadowRulesStatPrefix"] == prefix
    assert not found.holds


def test_dry_runs_beside_what_counts() -> None:
    found = authorization(seen(ALLOW_ALL, policy("dry", "", dry="true")), PROXY)
    (allow,) = shown(found)
    assert policies(allow["rules"]) == ["ns[shop]-policy[allow]-rule[0]"]
    assert policies(allow["shadowRules"]) == ["ns[shop]-policy[dry]-rule[0]"]


@pytest.mark.parametrize("value", ["false", "yes", ""])
def test_no_dry_run(value: str) -> None:
    (allow,) = shown(authorization(seen(policy("a", EVERYTHING, dry=value)), PROXY))
    assert "shadowRules" not in allow


def test_audit_has_no_dry_run() -> None:
    """Galley refuses it; it decides nothing anyway."""
    dry = policy("audit", f"action: AUDIT, {EVERYTHING}", dry="true")
    (audit,) = shown(authorization(seen(dry), PROXY))
    assert policies(audit["rules"]) == ["ns[shop]-policy[audit]-rule[0]"]


def test_a_dry_run_of_an_authorizer_does_nothing_and_is_told() -> None:
    text = policy("c", f"action: CUSTOM, provider: {{name: x}}, {EVERYTHING}", dry="true")
    found = authorization(seen(text), PROXY)
    assert found.custom.http == found.custom.network == []
    (told,) = reported(seen(text), lambda inner: authorization(inner, PROXY))
    assert (told.fault, told.key) == (Fault.UNENFORCEABLE, "shop/c")


@pytest.mark.parametrize(
    ("action", "instead"),
    [
        pytest.param("ALLOW", "the rule allows nobody", id="allow"),
        pytest.param("DENY", "the rule does without, and concerns more", id="deny"),
    ],
)
def test_what_cannot_be_used_is_told_once(action: str, instead: str) -> None:
    bad = policy("bad", f"action: {action}, rules: [{{}}, {{to: [{{operation: {{ports: [x]}}}}]}}]")
    (told,) = reported(seen(bad), lambda inner: authorization(inner, PROXY))
    assert told.fault is Fault.UNENFORCEABLE
    assert told.subject is not None
    assert told.message == (
        "AuthorizationPolicy shop/bad, rules[1]: ports: 'x' is not a port; allowed: 0 to 65535;"
        f" {instead}."
    )


def test_what_bytes_do_not_have_is_not_told() -> None:
    found = reported(
        seen(policy("a", "rules: [{to: [{operation: {paths: [/a]}}]}]")),
        lambda inner: authorization(inner, PROXY),
    )
    assert found == []


def test_equal_if_the_filters_are() -> None:
    first, second = (authorization(seen(ALLOW_ALL), PROXY) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != authorization(seen(DENY_ALL), PROXY)


PROVIDER = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {extensionProviders: [
   {name: one, envoyExtAuthzGrpc: {service: authz.test, port: 80}},
   {name: two, envoyExtAuthzHttp: {service: authz.test, port: 81}}]}}
---
"""
SERVICE = config(
    "ServiceEntry",
    "authz",
    "shop",
    "{hosts: [authz.test], resolution: STATIC, ports: [{number: 80, name: grpc, protocol: GRPC},"
    " {number: 81, name: http, protocol: HTTP}]}",
)
NARROW = config("Sidecar", "default", "shop", "{egress: [{hosts: ['~/*']}]}")


def asking(name: str) -> str:
    return policy(name, f"action: CUSTOM, provider: {{name: {name}}}, {EVERYTHING}")


def test_authorizers_are_asked_one_after_the_other() -> None:
    found = authorization(seen(PROVIDER, SERVICE, "---\n", asking("two"), asking("one")), PROXY)
    kinds = ["envoy.filters.http.rbac", "envoy.filters.http.ext_authz"]
    assert [each.name for each in found.custom.http] == kinds * 2
    shadows = [HttpRbac.FromString(each.typed_config.value) for each in found.custom.http[::2]]
    assert [list(each.shadow_rules.policies) for each in shadows] == [
        ["istio-ext-authz-one-ns[shop]-policy[one]-rule[0]"],
        ["istio-ext-authz-two-ns[shop]-policy[two]-rule[0]"],
    ]
    assert {each.shadow_rules_stat_prefix for each in shadows} == {"istio_ext_authz_"}
    assert not any(each.HasField("rules") for each in shadows)
    assert [each.name for each in found.custom.network] == [
        "envoy.filters.network.rbac",
        "envoy.filters.network.ext_authz",
    ]


def test_who_cannot_be_asked_refuses() -> None:
    texts = [PROVIDER, asking("one")]
    found = authorization(seen(*texts), PROXY)
    (http,), (network,) = found.custom.http, found.custom.network
    for made in (
        HttpRbac.FromString(http.typed_config.value),
        NetworkRbac.FromString(network.typed_config.value),
    ):
        assert list(made.rules.policies) == [
            "istio-ext-authz-one-ns[shop]-policy[one]-rule[0]-deny-due-to-bad-CUSTOM-action"
        ]
        assert not made.HasField("shadow_rules")
    (told,) = reported(seen(*texts), lambda inner: authorization(inner, PROXY))
    assert (told.fault, told.key) == (Fault.UNKNOWN_PROVIDER, "one")
    assert told.message == (
        "provider one: no service authz.test with a port 80 is visible;"
        " what AuthorizationPolicy shop/one matches is refused."
    )


@pytest.mark.parametrize(
    ("more", "ports"),
    [
        pytest.param("", [], id="seen-anyway"),
        pytest.param(NARROW, [80, 81], id="left-out-by-the-sidecar"),
    ],
)
def test_authorizers_that_a_sidecar_hides(more: str, ports: list[int]) -> None:
    found = seen(PROVIDER, SERVICE, "---\n", asking("one"), asking("two"), more)
    assert [port.number for _, port in hidden_authorizers(found, PROXY)] == ports


def test_an_authorizer_may_come_later() -> None:
    """Whoever depends on it is told (work follows change)."""
    mesh = world(PROVIDER, asking("one"))

    def asked() -> bool:
        found = mesh.snapshot().view(PROXY).named(LDS, "virtualInbound")
        assert found is not None
        return b"envoy.filters.http.ext_authz" in found.body

    assert not asked()
    (service,) = changes(SERVICE)
    assert not mesh.apply([service])
    assert asked()
    assert not mesh.apply([Put(service.key, None)])
    assert not asked()


def test_rules_are_written_once_for_all_workloads() -> None:
    """And again only if their policy changes."""
    mesh = world(ALLOW_ALL, DENY_ALL)
    snapshot = mesh.snapshot()
    for app in ("a", "b"):
        snapshot.view(sidecar_proxy("shop", labels={"app": app})).collection(LDS)
    assert snapshot.results.sizes()["access rules"] == 4  # for requests and for bytes
    assert not mesh.apply(changes(policy("allow", "")))
    snapshot = mesh.snapshot()
    snapshot.view(PROXY).collection(LDS)
    assert snapshot.results.sizes()["access rules"] == 6  # the new ones of one policy
