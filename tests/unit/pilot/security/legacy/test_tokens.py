"""Tokens that a Policy demands (pilot.md J8)."""

from typing import Any

import yaml
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from google.protobuf.json_format import MessageToDict, ParseDict

from istio.authentication.v1alpha1.policy_pb2 import Policy
from mast.pilot.core.security.legacy.tokens import token_filters
from mast.pilot.core.security.legacy.triggers import TRIGGERS_FILTER
from tests.support.legacy_objects import binding
from tests.support.mesh_yaml import scope, sidecar_proxy
from tests.support.tokens import Issuer

KEYS = Issuer("https://a.test", "ES256").jwks
EVERY_PATH = {"prefix": "/"}
ORIGIN = {"jwt": {"issuer": "https://a.test", "jwks": KEYS}}
OTHER = {"jwt": {"issuer": "https://b.test", "jwks": KEYS}}


def made(spec: dict[str, Any], *texts: str) -> tuple[list[str], dict[str, Any]]:
    """Names of the filters, and the last one's configuration."""
    proxy = sidecar_proxy("shop")
    found = token_filters(scope(proxy, *texts), proxy, ParseDict(spec, Policy()))
    config = JwtAuthentication()
    assert found[-1].typed_config.Unpack(config)
    told: dict[str, Any] = MessageToDict(config)
    return [each.name for each in found], told


def test_without_origins_there_is_nothing() -> None:
    proxy = sidecar_proxy("shop")
    assert token_filters(scope(proxy), proxy, Policy()) == ()


def test_an_origin() -> None:
    spec = yaml.safe_load("{jwt: {audiences: [web], jwtHeaders: [x-a], jwtParams: [p]}}")
    spec["jwt"] |= ORIGIN["jwt"]
    names, config = made({"origins": [spec]})
    assert names == ["envoy.filters.http.jwt_authn"]
    provider = config["providers"]["origins-0"]
    assert provider["issuer"] == "https://a.test"
    assert provider["audiences"] == ["web"]
    assert provider["fromHeaders"] == [{"name": "x-a"}]
    assert provider["fromParams"] == ["p"]
    assert provider["forward"] is True
    assert "keys" in provider["localJwks"]["inlineString"]
    assert config["bypassCorsPreflight"] is True
    assert config["rules"] == [{"match": EVERY_PATH, "requires": {"providerName": "origins-0"}}]


def test_one_of_several_origins() -> None:
    _, config = made({"origins": [OTHER, ORIGIN]})
    accepted = [{"providerName": "origins-1"}, {"providerName": "origins-0"}]
    wanted = {"requiresAny": {"requirements": accepted}}
    assert config["rules"] == [{"match": EVERY_PATH, "requires": wanted}]


def test_optional_origins() -> None:
    _, config = made({"origins": [ORIGIN], "originIsOptional": True})
    accepted = [{"providerName": "origins-0"}, {"allowMissingOrFailed": {}}]
    wanted = {"requiresAny": {"requirements": accepted}}
    assert config["rules"] == [{"match": EVERY_PATH, "requires": wanted}]


def test_origins_by_path() -> None:
    triggered = {"jwt": {**ORIGIN["jwt"], "triggerRules": [{"includedPaths": [{"exact": "/a"}]}]}}
    names, config = made({"origins": [triggered, OTHER]})
    assert names == ["envoy.filters.http.rbac", TRIGGERS_FILTER, "envoy.filters.http.jwt_authn"]
    assert "rules" not in config
    demanded = config["filterStateRules"]["requires"]
    assert demanded["0"] == {"providerName": "origins-1"}
    assert set(demanded) == {"0", "1", "-"}


def test_words_of_claims_that_bindings_look_at() -> None:
    """A text counts as a list of words (Istio 1.4); names of somebody stay whole."""
    looking = binding(
        "b",
        "r",
        "{group: staff}",
        "{properties: {'request.auth.claims[team]': a, 'request.auth.claims[sub]': b}}",
    )
    _, config = made({"origins": [ORIGIN]}, looking)
    words = config["providers"]["origins-0"]["normalizePayloadInMetadata"]["spaceDelimitedClaims"]
    assert words == ["groups", "permission", "scope", "team"]
