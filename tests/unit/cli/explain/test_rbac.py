"""Rules of RBAC in words, and what cannot be told (Envoy compares in test_explain_access_envoy)."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy, Principal
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import (
    UriTemplateMatchConfig,
)
from google.protobuf.json_format import ParseDict

from mast.cli.explain.rbac import Arrival, ruling, template_fits
from mast.cli.explain.traffic import Connection, Request
from mast.common.envoy.matchers import NotUnderstood
from mast.pilot.core.packing import typed_extension

CART = "spiffe://cluster.local/ns/shop/sa/cart"
CONNECTION = Connection(
    address="10.0.0.1", port=80, source_address="192.0.2.7", identities=(CART,), server_name="a.b"
)
REQUEST = Request(authority="shop.test", path="/a/b?c", headers=[("x", "1"), ("x", "2")])
CLAIMS = {"envoy.filters.http.jwt_authn": {"payload": {"iss": "us", "groups": ["a", "b"]}}}
ARRIVAL = Arrival(CONNECTION, REQUEST, "203.0.113.9", CLAIMS)
ANYBODY = Principal(any=True)


def rules(permission: Permission, principal: Principal = ANYBODY) -> RBAC:
    made = RBAC(action=RBAC.ALLOW)
    made.policies["one"].CopyFrom(Policy(permissions=[permission], principals=[principal]))
    return made


def claim(name: str, value: dict[str, Any]) -> dict[str, Any]:
    path = [{"key": "payload"}, {"key": name}]
    matcher = {"filter": "envoy.filters.http.jwt_authn", "path": path, "value": value}
    return {"sourcedMetadata": {"metadataMatcher": matcher}}


@pytest.mark.parametrize(
    ("permission", "words"),
    [
        pytest.param({"any": True}, "", id="any"),
        pytest.param({"urlPath": {"path": {"prefix": "/a"}}}, "", id="path-without-query"),
        pytest.param({"urlPath": {"path": {"suffix": ".js"}}}, "path is /a/b, not *.js", id="path"),
        pytest.param({"destinationPort": 81}, "port is 80, not 81", id="port"),
        pytest.param(
            {"destinationPortRange": {"start": 81, "end": 90}},
            "port is 80, not 81 to 89",
            id="ports",
        ),
        pytest.param(
            {"destinationIp": {"addressPrefix": "10.1.0.0", "prefixLen": 16}},
            "destination address is 10.0.0.1, not 10.1.0.0/16",
            id="destination",
        ),
        pytest.param(
            {"requestedServerName": {"contains": "x"}}, "server name is a.b, not *x*", id="sni"
        ),
        pytest.param(
            {"header": {"name": ":method", "stringMatch": {"exact": "POST"}}},
            "method is GET, not POST",
            id="method",
        ),
        pytest.param(
            {"header": {"name": ":authority", "stringMatch": {"safeRegex": {"regex": "a|b"}}}},
            "host is shop.test, not regex a|b",
            id="host",
        ),
        pytest.param(
            {"header": {"name": "x", "stringMatch": {"exact": "3"}}},
            "header x is 1,2, not 3",
            id="header",
        ),
        pytest.param(
            {"header": {"name": "x", "stringMatch": {"exact": "2"}}}, "", id="one-line-of-a-header"
        ),
        pytest.param(
            {"header": {"name": "y", "presentMatch": True}},
            "header y is nothing, not any value",
            id="no-header",
        ),
        pytest.param(
            claim("groups", {"listMatch": {"oneOf": {"stringMatch": {"exact": "c"}}}}),
            "claim groups is a, b, not c",
            id="claims",
        ),
        pytest.param(
            claim("sub", {"orMatch": {"valueMatchers": [{"presentMatch": True}]}}),
            "claim sub is nothing, not any value",
            id="no-claim",
        ),
        pytest.param(
            claim("admin", {"boolMatch": True}), "claim admin is nothing, not true", id="b"
        ),
        pytest.param({"notRule": {"any": True}}, "anything there is excluded", id="never"),
    ],
)
def test_what_is_asked_for(permission: dict[str, Any], words: str) -> None:
    said = ruling(rules(ParseDict(permission, Permission())), ARRIVAL)
    assert said.tried[0].lacking == words
    assert said.allowed is not bool(words)


@pytest.mark.parametrize(
    ("principal", "words"),
    [
        pytest.param({"authenticated": {}}, "", id="anybody-known"),
        pytest.param(
            {"authenticated": {"principalName": {"safeRegex": {"regex": ".*/ns/o\\-1/.*"}}}},
            "source principal is cluster.local/ns/shop/sa/cart, not */ns/o-1/*",
            id="namespace",
        ),
        pytest.param(
            {"authenticated": {"principalName": {"exact": "spiffe://x/ns/a/sa/b"}}},
            "source principal is cluster.local/ns/shop/sa/cart, not x/ns/a/sa/b",
            id="principal",
        ),
        pytest.param(
            {"directRemoteIp": {"addressPrefix": "::1", "prefixLen": 128}},
            "source address is 192.0.2.7, not ::1/128",
            id="direct",
        ),
        pytest.param(
            {"sourceIp": {"addressPrefix": "10.0.0.0", "prefixLen": 8}},
            "source address is 192.0.2.7, not 10.0.0.0/8",
            id="source",
        ),
        pytest.param(
            {"remoteIp": {"addressPrefix": "192.0.2.0", "prefixLen": 24}},
            "remote address is 203.0.113.9, not 192.0.2.0/24",
            id="remote",
        ),
        pytest.param({"urlPath": {"path": {"exact": "/a/b"}}}, "", id="path"),
        pytest.param({"header": {"name": "x", "presentMatch": True}}, "", id="header"),
    ],
)
def test_who_asks(principal: dict[str, Any], words: str) -> None:
    said = ruling(rules(Permission(any=True), ParseDict(principal, Principal())), ARRIVAL)
    assert said.tried[0].lacking == words


def test_nobody_known() -> None:
    plain = Arrival(Connection(address="10.0.0.1", port=80, source_address="192.0.2.7"))
    asked = ParseDict({"authenticated": {}}, Principal())
    said = ruling(rules(Permission(any=True), asked), plain)
    assert said.tried[0].lacking == "the caller is unknown, not anybody with mutual TLS"
    asked = ParseDict(
        {"authenticated": {"principalName": {"safeRegex": {"regex": ".+"}}}}, Principal()
    )
    said = ruling(rules(Permission(any=True), asked), plain)
    assert said.tried[0].lacking == "source principal is unknown, not *"


@pytest.mark.parametrize(
    "permission",
    [
        pytest.param(Permission(), id="nothing"),
        pytest.param(
            ParseDict({"urlPath": {"path": {}}}, Permission()), id="a-string-matcher-of-no-kind"
        ),
        pytest.param(ParseDict(claim("a", {}), Permission()), id="a-value-of-no-kind"),
        pytest.param(
            ParseDict({"sourcedMetadata": {"metadataSource": "ROUTE"}}, Permission()), id="routes"
        ),
        pytest.param(
            Permission(uri_template=typed_extension("x", Policy())), id="another-path-matcher"
        ),
        pytest.param(Permission(matcher=typed_extension("x", Policy())), id="an-extension"),
    ],
)
def test_what_cannot_be_told_is_refused(permission: Permission) -> None:
    with pytest.raises(NotUnderstood):
        ruling(rules(permission), ARRIVAL)


def test_conditions_in_cel_are_refused() -> None:
    made = rules(Permission(any=True))
    made.policies["one"].condition.SetInParent()
    with pytest.raises(NotUnderstood, match="CEL"):
        ruling(made, ARRIVAL)


@pytest.mark.parametrize(
    ("template", "path", "fits"),
    [
        pytest.param("/a/*", "/a/b", True, id="segment"),
        pytest.param("/a/*", "/a/", False, id="no-segment"),
        pytest.param("/a/*", "/a/b/c", False, id="two-segments"),
        pytest.param("/a/**", "/a/", True, id="no-segments"),
        pytest.param("/a/**", "/a/b/c", True, id="segments"),
        pytest.param("/*/b/**", "/a/b/c/d", True, id="both"),
        pytest.param("/a.b/*", "/axb/c", False, id="no-regex"),
        pytest.param("/**", "/[", False, id="brackets"),
    ],
)
def test_templates(template: str, path: str, fits: bool) -> None:
    assert template_fits(UriTemplateMatchConfig(path_template=template), path) is fits


def test_templates_with_variables_are_refused() -> None:
    with pytest.raises(NotUnderstood, match="variables"):
        template_fits(UriTemplateMatchConfig(path_template="/{a}"), "/a")
