"""RequestAuthentication: which policies are for a proxy, and what becomes of their rules (J2)."""

import json
from itertools import count
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from google.protobuf.json_format import MessageToDict

from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.security.authentication.request_authentication import request_authentication
from tests.support.mesh_yaml import scope, sidecar_proxy
from tests.support.tokens import Issuer

NUMBERS = count()
KEYS = Issuer("https://a").jwks
WEB = sidecar_proxy("shop", labels={"app": "web"})


def router() -> Proxy:
    node = Node(id="router~10.1.0.8~gw-1.shop~shop.svc.cluster.local")
    labels = {"app": "gw", "gateway.networking.k8s.io/gateway-name": "front"}
    node.metadata.update({"NAMESPACE": "shop", "LABELS": labels})
    return parse(node)


def policy(*rules: Any, namespace: str = "shop", **spec: Any) -> str:
    """A policy; the later in a test the younger."""
    return json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": f"p{next(NUMBERS)}", "namespace": namespace},
            "spec": {**spec, "jwtRules": rules},
        }
    )


def rule(issuer: str, **fields: Any) -> dict[str, Any]:
    return {"issuer": issuer, "jwks": KEYS, **fields}


def made(proxy: Proxy, *texts: str) -> JwtAuthentication:
    """The filter of a proxy in a mesh."""
    (found,) = request_authentication(scope(proxy, *texts), proxy)
    assert found.name == "envoy.filters.http.jwt_authn"
    config = JwtAuthentication()
    assert found.typed_config.Unpack(config)
    return config


def issuers(proxy: Proxy, *texts: str) -> list[str]:
    """Issuers of the providers in the order of their names."""
    if not request_authentication(scope(proxy, *texts), proxy):
        return []
    providers = made(proxy, *texts).providers
    assert set(providers) == {f"origins-{each}" for each in range(len(providers))}
    return [providers[f"origins-{each}"].issuer for each in range(len(providers))]


GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway"}
TO_WEB, TO_API = ({"matchLabels": {"app": each}} for each in ("web", "api"))


@pytest.mark.parametrize(
    ("proxy", "texts", "expected"),
    [
        pytest.param(WEB, [], [], id="none"),
        pytest.param(WEB, [policy()], [], id="without-rules"),
        pytest.param(WEB, [policy(rule("b"), rule("a"))], ["a", "b"], id="by-issuer"),
        pytest.param(
            WEB,
            [policy(rule("b")), policy(rule("c"), selector=TO_WEB), policy(rule("a"))],
            ["a", "b", "c"],
            id="all-count",
        ),
        pytest.param(
            WEB,
            [policy(rule("a"), selector=TO_API), policy(rule("b"), namespace="other")],
            [],
            id="for-others",
        ),
        pytest.param(
            WEB,
            [
                policy(rule("b"), namespace="istio-system"),
                policy(rule("a"), namespace="istio-system", selector=TO_WEB),
                policy(rule("c"), namespace="istio-system", selector=TO_API),
            ],
            ["a", "b"],
            id="root-namespace",
        ),
        pytest.param(
            router(),
            [
                policy(rule("a"), targetRefs=[{**GATEWAY, "name": "front"}]),
                policy(rule("b"), targetRef={**GATEWAY, "name": "front"}),
                policy(rule("c"), targetRefs=[{**GATEWAY, "name": "back"}]),
                policy(rule("d"), targetRefs=[{"kind": "Service", "name": "web"}]),
            ],
            ["a", "b"],
            id="gateway",
        ),
        pytest.param(
            WEB, [policy(rule("a"), targetRefs=[{**GATEWAY, "name": "front"}])], [],
            id="not-for-sidecars",
        ),
    ],
)  # fmt: skip
def test_policies_of_a_proxy(proxy: Proxy, texts: list[str], expected: list[str]) -> None:
    assert issuers(proxy, *texts) == expected


def test_rules_of_one_issuer_keep_the_order_of_their_policies() -> None:
    texts = [
        policy(rule("a", audiences=["own, older"])),
        policy(rule("a", audiences=["own, younger"])),
        policy(rule("a", audiences=["root"]), namespace="istio-system"),
    ]
    providers = made(WEB, *texts).providers
    found = [list(providers[f"origins-{each}"].audiences) for each in range(3)]
    assert found == [["root"], ["own, older"], ["own, younger"]]


def test_a_rule_with_everything() -> None:
    text = policy(
        rule(
            "https://a",
            audiences=["x", "y"],
            fromHeaders=[{"name": "x-token", "prefix": "T "}, {"name": "x-bare"}],
            fromParams=["p"],
            fromCookies=["c"],
            outputPayloadToHeader="x-payload",
            forwardOriginalToken=True,
            outputClaimToHeaders=[{"header": "x-sub", "claim": "sub"}],
            spaceDelimitedClaims=["roles", "scope"],
        )
    )
    assert MessageToDict(made(WEB, text), preserving_proto_field_name=True) == {
        "providers": {
            "origins-0": {
                "issuer": "https://a",
                "audiences": ["x", "y"],
                "from_headers": [
                    {"name": "x-token", "value_prefix": "T "},
                    {"name": "x-bare"},
                ],
                "from_params": ["p"],
                "from_cookies": ["c"],
                "forward": True,
                "forward_payload_header": "x-payload",
                "claim_to_headers": [{"header_name": "x-sub", "claim_name": "sub"}],
                "payload_in_metadata": "payload",
                "normalize_payload_in_metadata": {
                    "space_delimited_claims": ["permission", "roles", "scope"]
                },
                "local_jwks": {"inline_string": canonical(KEYS)},
            }
        },
        "rules": [
            {
                "match": {"prefix": "/"},
                "requires": {
                    "requires_any": {
                        "requirements": [{"provider_name": "origins-0"}, {"allow_missing": {}}]
                    }
                },
            }
        ],
        "bypass_cors_preflight": True,
    }


def canonical(keys: str) -> str:
    return json.dumps(json.loads(keys), sort_keys=True, separators=(",", ":"))


def test_claims_choose_routes_on_gateways() -> None:
    for proxy, expected in ((router(), True), (WEB, False)):
        (provider,) = made(proxy, policy(rule("a"))).providers.values()
        assert provider.clear_route_cache is expected
