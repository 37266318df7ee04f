"""What authors of policies about tokens are told of keys (pilot.md J3, N15)."""

import json

import pytest

from mast.common import keys
from mast.pilot.core.model.finding import ObjectName
from mast.pilot.core.model.public_keys import KeyFetching
from mast.pilot.core.world.world import World
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys
from tests.support.mesh_yaml import Put, changes, reviewed
from tests.support.tokens import Issuer

KEYS = Issuer("https://a.test").jwk
URI = "https://a.test/keys"
DISCOVERED = "https://a.test/.well-known/openid-configuration"
SERVICE = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: keys, namespace: shop},
 spec: {hosts: [a.test], resolution: DNS, ports: [{number: 443, name: tls, protocol: TLS}]}}
"""


def policy(rule: str) -> str:
    return f"""
{{apiVersion: security.istio.io/v1, kind: RequestAuthentication,
 metadata: {{name: tokens, namespace: shop}}, spec: {{jwtRules: [{{{rule}}}]}}}}
"""


def jwks(*content: object) -> str:
    return f"issuer: a, jwks: {json.dumps(json.dumps({'keys': content}))}"


def found(*texts: str, record: PublishedKeys | None = None, fetching: str = "false") -> list[str]:
    """`FAULT KEY: MESSAGE` of all findings."""
    world = World(key_fetching=KeyFetching.of(fetching))
    puts = [*changes(*texts)]
    if record is not None:
        key = keys.jwks_key(record.jwks_uri, record.issuer)
        puts.append(Put(key, record.SerializeToString()))
    assert not world.apply(puts)
    return [f"{each.fault.name} {each.key}: {each.message}" for each in reviewed(world)]


@pytest.mark.parametrize(
    ("rule", "record", "expected"),
    [
        pytest.param(jwks(KEYS), None, "", id="good"),
        pytest.param(
            jwks(KEYS, {"kty": "RSA"}),
            None,
            "UNUSABLE_KEYS a: jwtRules[0]: keys of jwks that cannot be used: keys[1] has no 'n'.",
            id="one-bad-key",
        ),
        pytest.param(
            jwks({"kty": "RSA"}),
            None,
            "MISSING_KEYS a: jwtRules[0]: every token is refused for want of keys of jwks:"
            " keys[0] has no 'n'.",
            id="bad-keys-only",
        ),
        pytest.param(
            jwks(),
            None,
            "MISSING_KEYS a: jwtRules[0]: every token is refused for want of keys of jwks:"
            " there are none.",
            id="no-keys",
        ),
        pytest.param(
            "issuer: a, jwks: '{'",
            None,
            "MISSING_KEYS a: jwtRules[0]: every token is refused for want of keys of jwks: not"
            " JSON: Expecting property name enclosed in double quotes.",
            id="not-json",
        ),
        pytest.param(
            "issuer: a",
            None,
            "MISSING_KEYS a: jwtRules[0]: every token is refused for want of keys of a: the issuer"
            " 'a' is no URL, and there is neither jwks nor jwksUri.",
            id="nowhere",
        ),
        pytest.param(
            f"issuer: a, jwksUri: '{URI}?key=secret'",
            None,
            f"MISSING_KEYS a: jwtRules[0]: every token is refused for want of keys of {URI}: they"
            " have not been fetched yet.",
            id="not-fetched",
        ),
        pytest.param(
            f"jwksUri: '{URI}'",
            PublishedKeys(jwks_uri=URI, failure=f"{URI}: HTTP status 503"),
            f"MISSING_KEYS {URI}: jwtRules[0]: every token is refused for want of keys of {URI}:"
            " HTTP status 503.",
            id="not-there",
        ),
        pytest.param(
            "issuer: 'https://a.test'",
            PublishedKeys(issuer="https://a.test", keys="{}", failure="refused"),
            "OLD_KEYS https://a.test: jwtRules[0]: keys of"
            f" {DISCOVERED} are those fetched last: refused.",
            id="old",
        ),
        pytest.param(
            f"issuer: a, jwksUri: '{URI}'",
            PublishedKeys(jwks_uri=URI, keys="{}", defects=["keys[0] is odd", "keys[1] is even"]),
            f"UNUSABLE_KEYS a: jwtRules[0]: keys of {URI} that cannot be used: keys[0] is odd;"
            " keys[1] is even.",
            id="some-unusable",
        ),
        pytest.param(
            f"issuer: a, jwksUri: '{URI}'", PublishedKeys(jwks_uri=URI, keys="{}"), "", id="fetched"
        ),
    ],
)
def test_rules(rule: str, record: PublishedKeys | None, expected: str) -> None:
    assert found(policy(rule), record=record) == ([expected] if expected else [])


def test_keys_that_proxies_fetch() -> None:
    rule = policy(f"issuer: a, jwksUri: '{URI}'")
    assert found(rule, SERVICE, fetching="envoy") == []
    assert found(rule, SERVICE, fetching="hybrid") == []
    assert found(rule, fetching="envoy") == [
        f"MISSING_KEYS a: jwtRules[0]: every token is refused for want of keys of {URI}: no service"
        " of the mesh has its host and port."
    ]
    assert found(rule, fetching="hybrid")[0].endswith("they have not been fetched yet.")


def test_policies_of_istio_1_4() -> None:
    text = """
{apiVersion: authentication.istio.io/v1alpha1, kind: Policy,
 metadata: {name: default, namespace: shop}, spec: {origins: [{jwt: {issuer: a}}]}}
"""
    (finding,) = (each for each in found(text) if each.startswith("MISSING_KEYS"))
    assert "origins[0].jwt: every token is refused" in finding


def test_the_policy_is_named() -> None:
    world = World()
    assert not world.apply(changes(policy("issuer: a")))
    (finding,) = reviewed(world)
    assert finding.subject == ObjectName(
        "istio/security/v1beta1/requestauthentications", "shop", "tokens"
    )
