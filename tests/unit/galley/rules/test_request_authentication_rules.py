"""RequestAuthentication: rules about tokens, accepted, rejected and warned of (B3)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast.galley.core.rules.request_authentication import keys
from tests.support.galley_rules import found
from tests.support.tokens import Issuer

SELECTOR = "selector: {matchLabels: {app: a}}"
RSA, EC, ED, HMAC = (Issuer("https://a", each).jwk for each in ("RS256", "ES256", "EdDSA", "HS256"))


def jwks(*keys: object) -> str:
    """YAML of a field with that key set."""
    return "jwks: %s" % json.dumps(json.dumps({"keys": keys}))


def judged(rule: str) -> list[str]:
    """What is wrong with a rule; with `KEYS` in it one that says where keys are."""
    rule = rule.replace("KEYS", "issuer: a, " + jwks(RSA))
    return found("RequestAuthentication", "{jwtRules: [{%s}]}" % rule)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("issuer: a, jwksUri: 'https://a/b?c=d'", [], id="issuer-and-uri"),
        pytest.param("jwksUri: 'http://[::1]:8080/b'", [], id="uri-alone"),
        pytest.param("issuer: 'https://a.example.com/'", [], id="discovery"),
        pytest.param("issuer: a", ["warning issuer no-keys"], id="keys-nowhere"),
        pytest.param("audiences: [a]", ["error issuer required"], id="nobody"),
        pytest.param("jwksUri: 'ftp://a'", ["error jwksUri url"], id="scheme"),
        pytest.param("jwksUri: 'https:///a'", ["error jwksUri url"], id="no-host"),
        pytest.param("jwksUri: 'https://a b/c'", ["error jwksUri url"], id="space-in-host"),
        pytest.param("jwksUri: 'https://a/b c'", ["error jwksUri url"], id="space-in-path"),
        pytest.param("jwksUri: 'https://a:70000/'", ["error jwksUri url"], id="port-too-high"),
        pytest.param("jwksUri: 'https://a:0/'", ["error jwksUri url"], id="port-zero"),
        pytest.param("jwksUri: 'https://1.2.3/'", ["error jwksUri url"], id="half-an-address"),
        pytest.param("jwksUri: 'https://[::1'", ["error jwksUri url"], id="half-a-bracket"),
        pytest.param("KEYS, jwksUri: 'https://a'", ["error jwks one-of"], id="uri-and-keys"),
        pytest.param("KEYS, audiences: ['']", ["error audiences[0] empty"], id="audience"),
        pytest.param("KEYS, spaceDelimitedClaims: [a, '']",
                     ["error spaceDelimitedClaims[1] empty"], id="space-delimited-claim"),
        pytest.param("KEYS, fromHeaders: [{name: x, prefix: 'P '}, {name: X}], fromParams: [t],"
                     " fromCookies: [c], forwardOriginalToken: true", [], id="places"),
        pytest.param("KEYS, fromHeaders: [{prefix: x}], fromParams: ['']",
                     ["error fromHeaders[0].name required", "error fromParams[0] empty"],
                     id="empty-places"),
        pytest.param("KEYS, fromHeaders: [{name: 'a b'}, {name: ':path'}],"
                     " fromCookies: ['', 'a;b']",
                     ["error fromHeaders[0].name header", "error fromHeaders[1].name header",
                      "error fromCookies[0] cookie", "error fromCookies[1] cookie"],
                     id="places-that-cannot-be"),
        pytest.param("KEYS, fromHeaders: [{name: a, prefix: \"b\\n\"}]",
                     ["error fromHeaders[0].prefix header"], id="prefix"),
        pytest.param("KEYS, fromHeaders: [{name: a, prefix: p}, {name: A, prefix: p}],"
                     " fromParams: [t, t], fromCookies: [c, c]",
                     ["warning fromHeaders[1] duplicate", "warning fromParams[1] duplicate",
                      "warning fromCookies[1] duplicate"], id="places-twice"),
        pytest.param("KEYS, outputPayloadToHeader: x-p,"
                     " outputClaimToHeaders: [{header: x-a, claim: a.b}]", [], id="outputs"),
        pytest.param("KEYS, outputPayloadToHeader: 'a b',"
                     " outputClaimToHeaders: [{header: 'a:b', claim: c}, {header: a}]",
                     ["error outputPayloadToHeader header",
                      "error outputClaimToHeaders[0].header header",
                      "error outputClaimToHeaders[1].claim required"], id="no-headers"),
        pytest.param("KEYS, outputPayloadToHeader: Transfer-Encoding,"
                     " outputClaimToHeaders: [{header: host, claim: c}]",
                     ["error outputPayloadToHeader header",
                      "error outputClaimToHeaders[0].header header"], id="framing"),
        pytest.param("KEYS, outputPayloadToHeader: Authorization",
                     ["error outputPayloadToHeader header"], id="over-the-usual-place"),
        pytest.param("KEYS, fromHeaders: [{name: x}], outputPayloadToHeader: Authorization,"
                     " outputClaimToHeaders: [{header: X, claim: c}]",
                     ["error outputClaimToHeaders[0].header header"], id="over-the-own-place"),
        pytest.param("KEYS, outputPayloadToHeader: x-a,"
                     " outputClaimToHeaders: [{header: X-A, claim: a}]",
                     ["warning outputClaimToHeaders[0].header duplicate"], id="outputs-twice"),
        pytest.param("KEYS, timeout: 0s", ["error timeout duration"], id="timeout"),
    ],
)  # fmt: skip
def test_rule(rule: str, expected: list[str]) -> None:
    assert sorted(judged(rule)) == sorted(
        each.replace(" ", " spec.jwtRules[0].", 1) for each in expected
    )


def test_an_output_over_the_place_of_another_rule() -> None:
    spec = "{jwtRules: [{issuer: a, %s, fromHeaders: [{name: x-t}]}," % jwks(RSA)
    spec += " {issuer: b, %s, outputPayloadToHeader: X-T}]}" % jwks(RSA)
    assert found("RequestAuthentication", spec) == [
        "error spec.jwtRules[1].outputPayloadToHeader header"
    ]


@pytest.mark.parametrize(
    ("given_keys", "expected"),
    [
        pytest.param(jwks(RSA, EC, ED), [], id="good"),
        pytest.param(jwks({**RSA, "use": "sig", "key_ops": ["verify"], "x5t": "?"}), [],
                     id="members-that-do-not-matter"),
        pytest.param("jwks: '{'", ["error jwks"], id="not-json"),
        pytest.param("jwks: '[]'", ["error jwks"], id="not-an-object"),
        pytest.param("jwks: '{\"keys\": [1]}'", ["error jwks"], id="not-keys"),
        pytest.param(jwks(), ["error jwks"], id="no-keys"),
        pytest.param(jwks({"kid": "x"}), ["error jwks"], id="no-type"),
        pytest.param(jwks({"kty": "RSA"}), ["error jwks"], id="nothing-in-it"),
        pytest.param(jwks({**RSA, "n": "+/=="}, {**RSA, "e": "Ag"}, {**EC, "y": "AA"}),
                     ["error jwks"] * 3, id="each-is-told"),
        pytest.param(jwks(RSA, {**RSA, "use": "enc"}), ["warning jwks"], id="for-encryption"),
        pytest.param(jwks({**RSA, "use": "enc"}), ["error jwks", "warning jwks"],
                     id="for-encryption-only"),
        pytest.param(jwks({**RSA, "d": "x"}), ["warning private-key"], id="private-key"),
        pytest.param(jwks(HMAC), ["warning private-key"], id="symmetric"),
    ],
)  # fmt: skip
def test_keys(given_keys: str, expected: list[str]) -> None:
    findings = found("RequestAuthentication", "{jwtRules: [{issuer: a, %s}]}" % given_keys)
    assert sorted(findings) == [
        each.replace(" ", " spec.jwtRules[0].jwks ", 1) for each in expected
    ]


@given(st.text() | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.text() | st.sampled_from(["keys", "kty", "n", "e", "crv", "x", "y", "k", "alg", "kid"]),
        inner | st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "AQAB", "Ed25519"]),
    ),
).map(json.dumps))  # fmt: skip
def test_no_text_is_too_strange(text: str) -> None:
    """Any text is a key set or is told what it lacks; nothing of it is repeated at length."""
    findings = list(keys(text, ("jwks",)))
    assert all(each.path == ("jwks",) and len(each.message) < 200 for each in findings)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{%s, targetRefs: [{kind: Service, name: a}]}" % SELECTOR,
                     ["error spec.targetRefs one-of"], id="selector-and-target"),
        pytest.param("{targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]}",
                     [], id="gateway"),
        pytest.param("{targetRefs: [{kind: Pod, name: a}]}",
                     ["error spec.targetRefs[0].kind target-ref"], id="pod"),
        pytest.param("{targetRefs: [{kind: Service, name: a, namespace: b}]}",
                     ["error spec.targetRefs[0].namespace target-ref"], id="namespace"),
        pytest.param("{targetRef: {name: a}}", ["error spec.targetRef.kind required"],
                     id="no-kind"),
        pytest.param("{targetRef: {kind: Service}}", ["error spec.targetRef.name required"],
                     id="no-name"),
    ],
)  # fmt: skip
def test_attachment(spec: str, expected: list[str]) -> None:
    assert found("RequestAuthentication", spec) == expected
