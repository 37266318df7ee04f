"""Subjects of bindings as RBAC principals (pilot.md J7, J8)."""

from typing import Any

import pytest
import yaml
from google.protobuf.json_format import MessageToDict, ParseDict

from istio.rbac.v1alpha1.rbac_pb2 import Subject
from mast.pilot.core.security.authorization.rules import Carrier
from mast.pilot.core.security.legacy.principals import Callers, claims, principal

DOMAINS = ("cluster.local", "old")
HTTP = Callers(carrier=Carrier.HTTP, trust_domains=DOMAINS)
BOUND = Callers(carrier=Carrier.HTTP, trust_domains=DOMAINS, bound_to_peer=True)
TCP = Callers(carrier=Carrier.TCP, trust_domains=DOMAINS)
GRPC = Callers(carrier=Carrier.GRPC, trust_domains=DOMAINS)
ANYBODY: dict[str, Any] = {"any": True}
NOBODY: dict[str, Any] = {"notId": {"any": True}}
ANN = "cluster.local/ns/shop/sa/ann"


def rendered(subject: str, callers: Callers = HTTP) -> dict[str, Any] | None:
    found = principal(ParseDict(yaml.safe_load(subject), Subject()), callers)
    made: dict[str, Any] | None = MessageToDict(found) if found is not None else None
    return made


def peer(**matcher: Any) -> dict[str, Any]:
    return {"authenticated": {"principalName": matcher}}


def regex(text: str) -> dict[str, Any]:
    return {"safeRegex": {"regex": text}}


def either(*found: dict[str, Any]) -> dict[str, Any]:
    return {"orIds": {"ids": [*found]}}


ANN_ANYWHERE = either(peer(exact=f"spiffe://{ANN}"), peer(exact="spiffe://old/ns/shop/sa/ann"))
KNOWN = peer(**regex("spiffe://.+"))
LOOPBACK = {"directRemoteIp": {"addressPrefix": "127.0.0.0", "prefixLen": 8}}
SHOP = peer(**regex(".*/ns/shop/.*"))


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        pytest.param("{}", None, id="nobody"),
        pytest.param("{user: '*'}", ANYBODY, id="anybody"),
        pytest.param(f"{{user: {ANN}}}", ANN_ANYWHERE, id="user"),
        pytest.param(f"{{names: [{ANN}]}}", ANN_ANYWHERE, id="name"),
        pytest.param("{names: [allUsers]}", ANYBODY, id="all-users"),
        pytest.param("{names: [allAuthenticatedUsers]}", KNOWN, id="all-known-users"),
        pytest.param("{names: ['a/b*']}", peer(prefix="spiffe://a/b"), id="prefix"),
        pytest.param(f"{{notNames: [{ANN}]}}", {"notId": ANN_ANYWHERE}, id="not-names"),
        pytest.param("{namespaces: [shop]}", SHOP, id="namespace"),
        pytest.param("{notNamespaces: [shop]}", {"notId": SHOP}, id="not-namespaces"),
        pytest.param("{ips: [127.0.0.0/8]}", LOOPBACK, id="address"),
        pytest.param("{notIps: [127.0.0.0/8]}", {"notId": LOOPBACK}, id="not-addresses"),
        pytest.param(
            "{user: '*', namespaces: [shop]}", {"andIds": {"ids": [ANYBODY, SHOP]}}, id="all-parts"
        ),
        pytest.param("{properties: {source.ip: 127.0.0.0/8}}", LOOPBACK, id="ip-property"),
        pytest.param(
            f"{{properties: {{source.principal: {ANN}}}}}", ANN_ANYWHERE, id="principal-property"
        ),
        pytest.param("{properties: {source.principal: '*'}}", ANYBODY, id="any-principal"),
        pytest.param(f"{{properties: {{source.user: {ANN}}}}}", ANN_ANYWHERE, id="user-property"),
        pytest.param("{properties: {source.user: '*'}}", KNOWN, id="any-user"),
        pytest.param("{properties: {source.namespace: shop}}", SHOP, id="namespace-property"),
        pytest.param(
            "{properties: {'request.headers[X-A]': b}}",
            {"header": {"name": "x-a", "stringMatch": {"exact": "b"}}},
            id="header",
        ),
        pytest.param("{properties: {other: a}}", None, id="unknown-property"),
        pytest.param("{ips: [x]}", None, id="no-address"),
    ],
)
def test_subjects(subject: str, expected: dict[str, Any] | None) -> None:
    assert rendered(subject) == expected


def claim(*path: str, **value: Any) -> dict[str, Any]:
    matcher = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": each} for each in ("payload", *path)],
        "value": value,
    }
    return {"sourcedMetadata": {"metadataMatcher": matcher}}


def text_or_item(text: str) -> dict[str, Any]:
    match = {"stringMatch": {"exact": text}}
    return {"orMatch": {"valueMatchers": [match, {"listMatch": {"oneOf": match}}]}}


@pytest.mark.parametrize(
    ("subject", "path"),
    [
        pytest.param("{group: staff}", "groups", id="group"),
        pytest.param("{groups: [staff]}", "groups", id="groups"),
        pytest.param("{properties: {'request.auth.claims[team]': staff}}", "team", id="claim"),
        pytest.param("{properties: {request.auth.audiences: staff}}", "aud", id="audience"),
        pytest.param("{properties: {request.auth.presenter: staff}}", "azp", id="presenter"),
    ],
)
def test_claims_of_tokens(subject: str, path: str) -> None:
    assert rendered(subject) == claim(path, **text_or_item("staff"))
    assert rendered(subject, TCP) is None
    assert rendered(subject, GRPC) is None


def issued(issuer: str, subject: str) -> dict[str, Any]:
    found = [
        claim("iss", stringMatch={"exact": issuer}),
        claim("sub", stringMatch={"exact": subject}),
    ]
    return {"andIds": {"ids": found}}


def test_request_principals() -> None:
    assert rendered("{properties: {request.auth.principal: one/ann}}") == issued("one", "ann")


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        pytest.param(f"request.auth.principal: {ANN}", ANN_ANYWHERE, id="principal"),
        pytest.param(f"source.principal: {ANN}", ANN_ANYWHERE, id="peer"),
        pytest.param(
            "request.auth.audiences: web", claim("aud", **text_or_item("web")), id="audience"
        ),
    ],
)
def test_requests_that_are_known_by_their_peers(subject: str, expected: dict[str, Any]) -> None:
    """`principalBinding: USE_PEER` (pilot.md J8)."""
    assert rendered(f"{{properties: {{{subject}}}}}", BOUND) == expected


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        pytest.param(f"{{user: {ANN}}}", ANN_ANYWHERE, id="user"),
        pytest.param("{properties: {'request.headers[a]': b}}", None, id="header"),
        pytest.param("{properties: {source.user: a}}", None, id="user-property"),
        pytest.param("{user: '*', notGroups: [a]}", None, id="not-groups"),
    ],
)
def test_what_is_about_requests_is_nobody_on_connections(
    subject: str, expected: dict[str, Any] | None
) -> None:
    assert rendered(subject, TCP) == expected


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        pytest.param("{user: a}", set(), id="none"),
        pytest.param("{group: a}", {"groups"}, id="group"),
        pytest.param("{notGroups: [a]}", {"groups"}, id="not-groups"),
        pytest.param(
            "{groups: [a], properties: {'request.auth.claims[b]': c, 'request.headers[d]': e}}",
            {"groups", "b"},
            id="property",
        ),
    ],
)
def test_claims(subject: str, expected: set[str]) -> None:
    assert claims(ParseDict(yaml.safe_load(subject), Subject())) == expected
