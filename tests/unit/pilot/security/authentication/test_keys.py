"""What a proxy verifies tokens with: keys of the rule, fetched ones, or its own affair (J3)."""

import json
from collections.abc import Sequence
from datetime import timedelta

import pytest

from istio.authentication.v1alpha1.policy_pb2 import Jwt
from istio.security.v1beta1.request_authentication_pb2 import JWTRule
from mast.common import keys
from mast.pilot.core.model.public_keys import KeyFetching
from mast.pilot.core.scope.memo import Reads
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authentication.keys import fetch_timeout, keys_of
from mast.pilot.core.security.authentication.providers import (
    Keys,
    LocalKeys,
    RemoteKeys,
    jwt_provider,
)
from mast.pilot.core.world.world import World
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys
from tests.support.mesh_yaml import Put, changes, sidecar_proxy
from tests.support.tokens import Issuer

ISSUER = Issuer("https://issuer.test")
URI = "https://keys.test:8443/jwks"
NOBODY, CLUSTER = LocalKeys(""), "outbound|8443||keys.test"
FETCHED = LocalKeys('{"keys":"fetched"}')
SERVICE = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: keys, namespace: shop},
 spec: {hosts: [keys.test], resolution: DNS,
        ports: [{number: 8443, name: http, protocol: HTTP}]}}
"""


def record(*, jwks_uri: str = "", issuer: str = "", text: str = FETCHED.text) -> Put:
    made = PublishedKeys(jwks_uri=jwks_uri, issuer=issuer, keys=text)
    return Put(keys.jwks_key(jwks_uri, issuer), made.SerializeToString())


def scope(puts: Sequence[Put], fetching: KeyFetching = KeyFetching.PILOT) -> Scope:
    world = World(key_fetching=fetching)
    assert not world.apply(puts)
    snapshot = world.snapshot(1)
    return Scope(snapshot.index, snapshot.results, Reads(), "shop")


@pytest.mark.parametrize(
    ("rule", "puts", "expected"),
    [
        pytest.param(
            JWTRule(issuer="a", jwks=f" {ISSUER.jwks} "),
            [record(issuer="a")],
            LocalKeys(json.dumps(json.loads(ISSUER.jwks), sort_keys=True, separators=(",", ":"))),
            id="in-the-rule",
        ),
        pytest.param(JWTRule(issuer="a", jwks="{"), [], NOBODY, id="not-json"),
        pytest.param(JWTRule(issuer="a", jwks='{"keys":[{}]}'), [], NOBODY, id="bad-keys-only"),
        pytest.param(JWTRule(issuer="a", jwks_uri=URI), [], NOBODY, id="not-fetched"),
        pytest.param(
            JWTRule(issuer="a", jwks_uri=URI),
            [record(jwks_uri=URI), record(issuer="a", text="other")],
            FETCHED,
            id="by-uri",
        ),
        pytest.param(JWTRule(issuer="a"), [record(issuer="a")], FETCHED, id="by-discovery"),
        pytest.param(
            Jwt(issuer="a", jwks_uri=URI), [record(jwks_uri=URI)], FETCHED, id="of-istio-1.4"
        ),
    ],
)
def test_fetched_by_pilot(rule: JWTRule, puts: list[Put], expected: Keys) -> None:
    assert keys_of(scope(puts), rule) == expected


@pytest.mark.parametrize(
    ("fetching", "uri", "expected"),
    [
        pytest.param("false", URI, FETCHED, id="pilot"),
        pytest.param("hybrid", URI, RemoteKeys(URI, CLUSTER, timedelta(seconds=5)), id="hybrid"),
        pytest.param("hybrid", "https://keys.test/", FETCHED, id="hybrid-port-unknown"),
        pytest.param("hybrid", "https://else.test/", FETCHED, id="hybrid-host-unknown"),
        pytest.param("envoy", URI, RemoteKeys(URI, CLUSTER, timedelta(seconds=5)), id="envoy"),
        pytest.param("envoy", "https://else.test/", NOBODY, id="envoy-host-unknown"),
        pytest.param("envoy", "https://[::1", NOBODY, id="envoy-no-url"),
        pytest.param("envoy", "", FETCHED, id="envoy-discovery"),
    ],
)
def test_fetched_by_the_proxy(fetching: str, uri: str, expected: Keys) -> None:
    puts = [record(jwks_uri=uri, issuer="" if uri else "a"), *changes(SERVICE)]
    seen = scope(puts, KeyFetching.of(fetching))
    assert keys_of(seen, JWTRule(issuer="a", jwks_uri=uri)) == expected


def test_how_the_proxy_fetches() -> None:
    rule = JWTRule(issuer="a", jwks_uri=URI)
    rule.timeout.FromSeconds(2)
    seen = scope([*changes(SERVICE)], KeyFetching.ENVOY)
    made = jwt_provider(rule, keys_of(seen, rule), sidecar_proxy()).remote_jwks
    assert (made.http_uri.uri, made.http_uri.cluster) == (URI, CLUSTER)
    assert made.http_uri.timeout.ToTimedelta() == timedelta(seconds=2)
    assert made.cache_duration.ToTimedelta() == timedelta(minutes=5)
    assert made.async_fetch.fast_listener


def test_timeouts() -> None:
    rule = JWTRule()
    assert fetch_timeout(rule) == fetch_timeout(Jwt()) == timedelta(seconds=5)
    rule.timeout.FromMilliseconds(1500)
    assert fetch_timeout(rule) == timedelta(seconds=1.5)


def test_settings() -> None:
    words = {each: KeyFetching.of(each) for each in ("false", "istiod", "TRUE", "hybrid", "envoy")}
    assert words == {
        "false": KeyFetching.PILOT,
        "istiod": KeyFetching.PILOT,
        "TRUE": KeyFetching.HYBRID,
        "hybrid": KeyFetching.HYBRID,
        "envoy": KeyFetching.ENVOY,
    }
    with pytest.raises(ValueError, match="'yes' is not allowed; allowed: envoy, false, hybrid"):
        KeyFetching.of("yes")
