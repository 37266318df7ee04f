"""Tokens of issuers: what is verified and what is refused (citadel-and-agent.md A5, D6)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mast.citadel.core.jwt import (
    JwtRule,
    VerifyingKey,
    parse_keys,
    parse_rule,
    service_account,
    unverified,
    verified,
)
from mast.citadel.core.refusals import Unauthenticated
from tests.unit.citadel.examples import NOW, private_key

ISSUER = "https://issuer.example"
RULE = JwtRule(ISSUER, ("istio-ca", "other"))
SUBJECT = "system:serviceaccount:shop:reviews"
RSA = private_key("RSA2048")
P256 = private_key("P256")


def jwk(key: Any, **fields: str) -> dict[str, Any]:
    public = key.public_key() if hasattr(key, "public_key") else key
    kinds = {rsa.RSAPublicKey: "RS256", ec.EllipticCurvePublicKey: "ES256"}
    name = next((n for kind, n in kinds.items() if isinstance(public, kind)), "EdDSA")
    return {**json.loads(jwt.get_algorithm_by_name(name).to_jwk(public)), **fields}


def keys(*entries: dict[str, Any]) -> tuple[VerifyingKey, ...]:
    return parse_keys(json.dumps({"keys": list(entries)}))


def claims(**changes: Any) -> dict[str, Any]:
    whole = {
        "iss": ISSUER,
        "sub": SUBJECT,
        "aud": ["istio-ca"],
        "exp": int((NOW + timedelta(hours=1)).timestamp()),
        "nbf": int(NOW.timestamp()),
        "iat": int(NOW.timestamp()),
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def token(key: Any = RSA, algorithm: str = "RS256", kid: str = "", **changes: Any) -> str:
    headers = {"kid": kid} if kid else {}
    return jwt.encode(claims(**changes), key, algorithm, headers=headers)


def encoded(part: dict[str, Any] | bytes) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (RSA, "RS256"),
        (RSA, "RS512"),
        (RSA, "PS256"),
        (P256, "ES256"),
        (private_key("P384"), "ES384"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
    ids=["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"],
)
def test_signatures_that_count(key: Any, algorithm: str) -> None:
    found = verified(token(key, algorithm), keys(jwk(key)), RULE, NOW)
    assert found["sub"] == SUBJECT


@pytest.mark.parametrize(
    ("changes", "moved"),
    [
        pytest.param({"aud": "other"}, timedelta(), id="audience-as-text"),
        pytest.param({"aud": ["x", "other"]}, timedelta(), id="one-of-several-audiences"),
        pytest.param({"nbf": None, "iat": None}, timedelta(), id="without-beginning"),
        pytest.param({}, timedelta(minutes=59), id="just-before-the-end"),
        pytest.param({}, -timedelta(seconds=30), id="clock-behind-the-issuers"),
        pytest.param({"exp": 99999999999.5, "nbf": 1.5}, timedelta(), id="fractions"),
    ],
)
def test_accepted(changes: dict[str, Any], moved: timedelta) -> None:
    verified(token(**changes), keys(jwk(RSA)), RULE, NOW + moved)


@pytest.mark.parametrize(
    ("changes", "moved", "reason"),
    [
        pytest.param({"iss": "https://other"}, timedelta(), "another issuer", id="issuer"),
        pytest.param({"iss": None}, timedelta(), "another issuer", id="no-issuer"),
        pytest.param({"aud": "elsewhere"}, timedelta(), "another audience", id="audience"),
        pytest.param({"aud": []}, timedelta(), "another audience", id="empty-audience"),
        pytest.param({"aud": None}, timedelta(), "another audience", id="no-audience"),
        pytest.param({"aud": [1]}, timedelta(), "another audience", id="audience-of-numbers"),
        pytest.param({}, timedelta(hours=1), "expired", id="expired"),
        pytest.param({"exp": None}, timedelta(), "exp: want a number", id="without-end"),
        pytest.param({"exp": "soon"}, timedelta(), "exp: want a number", id="end-as-text"),
        pytest.param({"exp": True}, timedelta(), "exp: want a number", id="end-as-boolean"),
        pytest.param({"exp": 1e300}, timedelta(), "exp: no time", id="end-beyond-time"),
        pytest.param({}, -timedelta(minutes=2), "in the future", id="not-yet"),
    ],
)
def test_refused(changes: dict[str, Any], moved: timedelta, reason: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        verified(token(**changes), keys(jwk(RSA)), RULE, NOW + moved)
    assert reason in caught.value.reason


def forged_with_public_key() -> str:
    """HS256 whose "secret" is the RSA key that everybody knows (key confusion)."""
    public = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    body = f"{encoded({'alg': 'HS256', 'typ': 'JWT'})}.{encoded(claims())}"
    mac = hmac.new(public, body.encode(), hashlib.sha256).digest()
    return f"{body}.{encoded(mac)}"


def cut(text: str) -> str:
    header, body, signature = text.split(".")
    return f"{header}.{body}.{signature[:-4]}AAAA"


def other_claims(text: str) -> str:
    header, _, signature = text.split(".")
    return f"{header}.{encoded(claims(sub='system:serviceaccount:istio-system:root'))}.{signature}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(f"{encoded({'alg': 'none'})}.{encoded(claims())}.", "'none'", id="alg-none"),
        pytest.param(f"{encoded({'alg': 'NoNe'})}.{encoded(claims())}.", "'NoNe'", id="alg-NoNe"),
        pytest.param(f"{encoded({})}.{encoded(claims())}.x", "not readable", id="no-alg"),
        pytest.param(forged_with_public_key(), "'HS256'", id="key-confusion"),
        pytest.param(cut(token()), "no key of the issuer", id="signature-changed"),
        pytest.param(other_claims(token()), "no key of the issuer", id="claims-changed"),
        pytest.param(token(private_key("RSA3072")), "no key of the issuer", id="other-key"),
        pytest.param(token(P256, "ES256"), "no key of the issuer", id="other-kind-of-key"),
        pytest.param("a.b.c", "not readable", id="nonsense"),
        pytest.param("a", "not readable", id="no-token"),
        pytest.param("", "not readable", id="empty"),
        pytest.param("a." + "b" * 20_000 + ".c", "want at most", id="long"),
        pytest.param(
            f"{encoded({'alg': 'RS256'})}.{encoded(b'[1]')}.x", "not readable", id="no-object"
        ),
    ],
)
def test_forged(text: str, reason: str) -> None:
    with pytest.raises(Unauthenticated) as caught:
        verified(text, keys(jwk(RSA)), RULE, NOW)
    assert reason in caught.value.reason


def test_a_key_in_the_token_itself_is_not_used() -> None:
    attacker = private_key("RSA3072")
    text = jwt.encode(claims(), attacker, "RS256", headers={"jwk": jwk(attacker)})
    with pytest.raises(Unauthenticated):
        verified(text, keys(jwk(RSA)), RULE, NOW)


def test_a_token_is_verified_by_the_key_that_it_names() -> None:
    both = keys(jwk(P256, kid="one"), jwk(RSA, kid="two"))
    verified(token(kid="two"), both, RULE, NOW)
    verified(token(), both, RULE, NOW)
    with pytest.raises(Unauthenticated):
        verified(token(kid="one"), both, RULE, NOW)


def test_a_key_that_names_an_algorithm_verifies_no_other() -> None:
    only = keys(jwk(RSA, alg="RS256"))
    verified(token(), only, RULE, NOW)
    with pytest.raises(Unauthenticated):
        verified(token(algorithm="PS256"), only, RULE, NOW)


def test_what_is_read_before_anything_is_believed() -> None:
    found = unverified(token(kid="two"))
    assert (found.issuer, found.key_id, found.algorithm) == (ISSUER, "two", "RS256")


@pytest.mark.parametrize(
    ("subject", "account"),
    [(SUBJECT, ("shop", "reviews")), ("system:serviceaccount:a:b", ("a", "b"))],
)
def test_service_account(subject: str, account: tuple[str, str]) -> None:
    assert service_account(subject) == account


@pytest.mark.parametrize(
    "subject",
    [None, 7, "", "admin", "system:serviceaccount:a", "system:serviceaccount:a:b:c", "x:y:a:b"],
)
def test_no_service_account(subject: Any) -> None:
    with pytest.raises(Unauthenticated):
        service_account(subject)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param(
            '{"issuer": "i", "jwks_uri": "https://k", "audiences": ["a"]}',
            JwtRule("i", ("a",), "https://k"),
            id="snake",
        ),
        pytest.param(
            '{"issuer": "i", "jwksUri": "https://k"}',
            JwtRule("i", ("istio-ca",), "https://k"),
            id="camel-and-our-audience",
        ),
        pytest.param('{"issuer": "i"}', JwtRule("i", ("istio-ca",)), id="by-discovery"),
    ],
)
def test_rules(text: str, rule: JwtRule) -> None:
    assert parse_rule(text, ("istio-ca",)) == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ("[]", "no object"),
        ("{}", "issuer None"),
        ('{"issuer": "i", "audience": "a"}', "unknown audience; allowed: audiences, issuer"),
        ('{"issuer": "i", "audiences": "a"}', "audiences 'a'"),
        ('{"issuer": "i", "jwksUri": 7}', "want texts"),
        ('{"issuer": "i", "jwks": "{}"}', "keys"),
    ],
)
def test_rules_that_cannot_work(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_rule(text, ("istio-ca",))


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({"kty": "oct", "k": "AAAA", "alg": "HS256"}, id="symmetric"),
        pytest.param(jwk(RSA, use="enc"), id="for-encryption"),
        pytest.param(jwk(RSA, alg="RSA-OAEP"), id="algorithm-of-encryption"),
        pytest.param({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, id="tiny"),
        pytest.param(jwk(rsa.generate_private_key(65537, 1024)), id="short"),  # noqa: S505
        pytest.param({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, id="not-on-the-curve"),
    ],
)
def test_keys_that_verify_nothing(entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no key"):
        keys(entry)
    assert len(keys(entry, jwk(RSA))) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"keys": 1}', '{"keys": []}', "\x00"])
def test_no_key_sets(text: str) -> None:
    with pytest.raises(ValueError, match=r"[Kk]ey|JSON"):
        parse_keys(text)
