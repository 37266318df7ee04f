"""Which keys Pilot fetches for all policies of a mesh (pilot.md J3)."""

from datetime import timedelta

import pytest

from mast.pilot.core.model.public_keys import KeyFetching, KeySource
from mast.pilot.core.security.authentication.sources import wanted_sources
from mast.pilot.core.world.world import World
from tests.support.mesh_yaml import changes

MODERN = """
{apiVersion: security.istio.io/v1, kind: RequestAuthentication,
 metadata: {name: NAME, namespace: NAME}, spec: {jwtRules: [RULES]}}
"""
LEGACY = """
{apiVersion: authentication.istio.io/v1alpha1, kind: Policy,
 metadata: {name: default, namespace: old},
 spec: {origins: [{jwt: {issuer: a, jwksUri: 'https://origins'}}],
        peers: [{mtls: {}}, {jwt: {issuer: a, jwksUri: 'https://peers'}}]}}
---
{apiVersion: authentication.istio.io/v1alpha1, kind: MeshPolicy, metadata: {name: default},
 spec: {origins: [{jwt: {issuer: 'https://discovered'}}]}}
"""
FIVE = timedelta(seconds=5)


def policy(name: str, *rules: str) -> str:
    return MODERN.replace("NAME", name).replace("RULES", ", ".join(rules))


def service(host: str, export: str = "*") -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: s, namespace: x}},
 spec: {{hosts: [{host}], resolution: DNS, exportTo: ['{export}'],
        ports: [{{number: 443, name: tls, protocol: TLS}}]}}}}
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", {}, id="nothing"),
        pytest.param(policy("a", "{issuer: a, jwks: '{}'}"), {}, id="in-the-rule"),
        pytest.param(
            policy("a", "{issuer: a, jwksUri: 'https://k'}"),
            {KeySource(jwks_uri="https://k"): FIVE},
            id="uri",
        ),
        pytest.param(
            policy("a", "{issuer: 'https://a/'}"),
            {KeySource(issuer="https://a/"): FIVE},
            id="discovery",
        ),
        pytest.param(policy("a", "{issuer: a}"), {}, id="issuer-that-is-no-url"),
        pytest.param(policy("a", "{jwksUri: 'file:///etc/passwd'}"), {}, id="no-file"),
        pytest.param(
            "---".join(
                [
                    policy("a", "{issuer: a, jwksUri: 'https://k', timeout: 7s}"),
                    policy("b", "{issuer: b, jwksUri: 'https://k', timeout: 2s}"),
                ]
            ),
            {KeySource(jwks_uri="https://k"): timedelta(seconds=7)},
            id="once-for-all-with-the-longest-time",
        ),
        pytest.param(
            policy("a", "{jwksUri: 'https://k', timeout: 3600s}"),
            {KeySource(jwks_uri="https://k"): timedelta(minutes=1)},
            id="no-slot-is-held-for-long",
        ),
        pytest.param(
            LEGACY,
            {
                KeySource(jwks_uri="https://origins"): FIVE,
                KeySource(jwks_uri="https://peers"): FIVE,
                KeySource(issuer="https://discovered"): FIVE,
            },
            id="istio-1.4",
        ),
    ],
)
def test_all_policies(text: str, expected: dict[KeySource, timedelta]) -> None:
    assert wanted(text) == expected


@pytest.mark.parametrize(
    ("fetching", "texts", "expected"),
    [
        pytest.param("envoy", [], set(), id="envoy"),
        pytest.param("hybrid", [], {KeySource(jwks_uri="https://k.test/")}, id="hybrid"),
        pytest.param("hybrid", [service("k.test")], set(), id="hybrid-known-host"),
        pytest.param(
            "hybrid",
            [service("k.test", ".")],
            {KeySource(jwks_uri="https://k.test/")},
            id="hybrid-host-known-to-some",
        ),
        pytest.param(
            "false",
            [service("k.test")],
            {KeySource(jwks_uri="https://k.test/")},
            id="pilot-known-host",
        ),
    ],
)
def test_what_is_left_to_proxies(fetching: str, texts: list[str], expected: set[KeySource]) -> None:
    discovered = KeySource(issuer="https://k.test")
    rules = policy("a", "{jwksUri: 'https://k.test/'}", "{issuer: 'https://k.test'}")
    found = wanted(rules, *texts, fetching=fetching)
    assert found.keys() == {*expected, discovered}


def test_a_url_that_is_none_is_left_to_the_fetch_to_refuse() -> None:
    found = wanted(policy("a", "{jwksUri: 'https://[::1'}"), fetching="hybrid")
    assert found.keys() == {KeySource(jwks_uri="https://[::1")}


def wanted(*texts: str, fetching: str = "false") -> dict[KeySource, timedelta]:
    world = World(key_fetching=KeyFetching.of(fetching))
    assert not world.apply(changes(*texts))
    return dict(wanted_sources(world.snapshot(1).index))
