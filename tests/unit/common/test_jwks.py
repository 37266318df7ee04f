"""Key sets: which keys Envoy can use, what is wrong with the others (RFC 7517, pilot.md J3)."""

import json
from contextlib import suppress
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mast.common.jwks import MAX_BYTES, MAX_KEYS, NotAKeySet, key_set
from tests.support.pki import DAY, Ca, pem, wall_clock
from tests.support.tokens import Issuer, base64url, public_part

RSA, EC, EC_384, EC_521, ED, HMAC = (
    Issuer("a", each).jwk for each in ("RS256", "ES256", "ES384", "ES512", "EdDSA", "HS256")
)


def text(*keys: Any) -> str:
    return json.dumps({"keys": keys})


def number(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8))


def without(key: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in key.items() if name not in names}


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(RSA, id="rsa"),
        pytest.param({**RSA, "alg": "PS384"}, id="rsa-pss"),
        pytest.param(without(RSA, "alg", "kid"), id="rsa-bare"),
        pytest.param({**RSA, "e": "Aw"}, id="rsa-3"),
        pytest.param(EC, id="p-256"),
        pytest.param(EC_384, id="p-384"),
        pytest.param(EC_521, id="p-521"),
        pytest.param(ED, id="ed25519"),
        pytest.param(HMAC, id="symmetric"),
        pytest.param({**RSA, "kid": "Schlüssel 1"}, id="kid-with-letters"),
        pytest.param({**RSA, "kid": ""}, id="kid-empty"),
    ],
)
def test_usable_keys_are_kept_as_they_are(key: dict[str, str]) -> None:
    found = key_set(text(key), published=False)
    assert (json.loads(found.text)["keys"], found.number) == ([key], 1)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        pytest.param({**RSA, "use": "sig", "x5c": ["?"], "d": "secret"}, RSA, id="nothing-else"),
        pytest.param({**RSA, "n": RSA["n"] + "=="}, RSA, id="padding"),
        pytest.param({**RSA, "kid": 7}, without(RSA, "kid"), id="number-as-kid"),
        pytest.param(without(EC, "crv"), EC, id="curve-by-algorithm"),
        pytest.param(without(EC, "crv", "alg"), without(EC, "alg"), id="curve-by-default"),
        pytest.param(
            {**RSA, "key_ops": ["verify"], "n": number(int.from_bytes(b"\x80" + b"\x01" * 255))},
            {**RSA, "n": number(int.from_bytes(b"\x80" + b"\x01" * 255))},
            id="operations",
        ),
    ],
)  # fmt: skip
def test_keys_are_written_in_one_way(key: dict[str, Any], written: dict[str, str]) -> None:
    assert json.loads(key_set(text(key), published=False).text)["keys"] == [written]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        pytest.param({}, "has no 'kty'; allowed: RSA, EC, OKP, oct", id="nothing"),
        pytest.param({"kty": 1}, "has no 'kty'; allowed: RSA, EC, OKP, oct", id="kty-number"),
        pytest.param(without(RSA, "n"), "has no 'n'", id="no-n"),
        pytest.param({**RSA, "n": 5}, "'n' is not base64url", id="n-number"),
        pytest.param({**RSA, "n": "a+/b"}, "'n' is not base64url", id="n-other-base64"),
        pytest.param({**RSA, "n": "a"}, "'n' is not base64url", id="n-one-letter"),
        pytest.param({**RSA, "n": "AQAB"}, "'n' has 17 bits; allowed: 1024 to 8192", id="n-small"),
        pytest.param(
            {**RSA, "n": number((1 << 8193) - 1)},
            "'n' has 8193 bits; allowed: 1024 to 8192",
            id="n-large",
        ),
        pytest.param(
            {**RSA, "n": number(1 << 2047)}, "'n' is even, and so of no RSA key", id="n-even"
        ),
        pytest.param(
            {**RSA, "e": "EQ"}, "'e' is not allowed; allowed: 3 (Aw), 65537 (AQAB)", id="e-17"
        ),
        pytest.param(
            {**RSA, "alg": "RS265"},
            "has 'alg' 'RS265'; allowed: RS256, RS384, RS512, PS256, PS384, PS512",
            id="alg-typo",
        ),
        pytest.param(
            {**RSA, "alg": ["RS256"]},
            "'alg' is no text; allowed: RS256, RS384, RS512, PS256, PS384, PS512",
            id="alg-list",
        ),
        pytest.param({**EC, "y": EC["x"]}, "'x' and 'y' are no point of P-256", id="no-point"),
        pytest.param(without(EC, "y"), "has no 'y'", id="no-y"),
        pytest.param(
            {**EC, "alg": "ES384"}, "'alg' ES384 is not for 'crv' P-256; allowed: ES256",
            id="alg-of-another-curve",
        ),
        pytest.param(
            {**EC, "crv": ["P-256"]}, "'crv' is not allowed; allowed: P-256, P-384, P-521",
            id="curve-list",
        ),
        pytest.param({**ED, "x": "AA"}, "'x' has 1 bytes; allowed: 32", id="short-ed25519"),
        pytest.param(without(ED, "crv"), "'crv' is not allowed; allowed: Ed25519", id="no-curve"),
        pytest.param({**HMAC, "k": ""}, "'k' is not base64url", id="empty-secret"),
        pytest.param({**RSA, "kid": "a\x00"}, "'kid' has control characters", id="kid-control"),
        pytest.param(
            {**RSA, "kid": "k" * 1025}, "'kid' has 1025 characters; allowed: 1024", id="kid-long"
        ),
        pytest.param({**RSA, "kid": "\ud800"}, "'kid' is not Unicode", id="kid-half-a-letter"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_key(key: dict[str, Any], message: str) -> None:
    """It is told, and the other keys of the set count."""
    found = key_set(text(EC_384, key), published=False)
    assert found.number == 1
    assert [(each.where, each.message, each.fatal) for each in found.defects] == [
        ("keys[1]", message, True)
    ]


@pytest.mark.parametrize(
    "key",
    [
        pytest.param({**RSA, "use": "enc"}, id="use"),
        pytest.param({**RSA, "key_ops": ["wrapKey"]}, id="operations"),
        pytest.param({**RSA, "alg": "RSA-OAEP-256"}, id="algorithm"),
        pytest.param({**EC, "alg": "ECDH-ES+A128KW"}, id="agreement"),
        pytest.param({"kty": "EC", "crv": "secp256k1", "alg": "ES256K"}, id="algorithm-of-coins"),
        pytest.param({"kty": "EC", "crv": "secp256k1"}, id="curve-of-coins"),
        pytest.param({"kty": "OKP", "crv": "X25519", "x": ED["x"]}, id="x25519"),
        pytest.param({"kty": "LATTICE"}, id="kind-of-the-future"),
    ],
)
def test_keys_for_something_else_are_left_out(key: dict[str, Any]) -> None:
    found = key_set(text(key, RSA), published=True)
    assert json.loads(found.text)["keys"] == [RSA]
    assert [each.fatal for each in found.defects] == [False]


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth"])
def test_private_parts_are_told_and_left_out(member: str) -> None:
    found = key_set(text({**RSA, member: "xyzzy"}), published=False)
    assert [each.message for each in found.defects] == ["holds its private part; leave it out"]
    assert "xyzzy" not in found.text


def test_secrets_are_no_keys_once_published() -> None:
    assert key_set(text(HMAC), published=False).number == 1
    found = key_set(text(HMAC), published=True)
    assert (found.number, found.defects[0].fatal) == (0, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("", "not JSON", id="empty"),
        pytest.param("{", "not JSON", id="half"),
        pytest.param(b"\xff", "not JSON", id="no-text"),
        pytest.param("[" * 100_000, "not JSON", id="deep"),
        pytest.param("[]", "needs 'keys'", id="list"),
        pytest.param("{}", "needs 'keys'", id="no-keys"),
        pytest.param('{"keys": {}}', "needs 'keys'", id="keys-object"),
        pytest.param('{"keys": ["a"]}', "needs 'keys'", id="keys-texts"),
        pytest.param('{"a": "b"}', "needs 'keys'", id="no-certificates"),
        pytest.param(" " * (MAX_BYTES + 1), f"allowed: {MAX_BYTES}", id="too-long"),
    ],
)
def test_no_key_set(content: str | bytes, message: str) -> None:
    with pytest.raises(NotAKeySet, match=message):
        key_set(content, published=True)


def test_a_set_has_a_limit() -> None:
    found = key_set(text(*[EC] * (MAX_KEYS + 1)), published=True)
    assert found.number == MAX_KEYS
    assert [each.message for each in found.defects] == [f"{MAX_KEYS + 1} keys; allowed: {MAX_KEYS}"]


def test_certificates_by_key_id() -> None:
    """As Google publishes keys of service accounts."""
    small = Ca.root("small", rsa_bits=2048)
    curved = Ca.root("curved")
    content = {
        "a": pem(small.certificate).decode(),
        "b": pem(curved.certificate).decode(),
        "c": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    }
    found = key_set(json.dumps(content), published=True)
    assert isinstance(small.key, rsa.RSAPrivateKey)
    assert isinstance(curved.key, ec.EllipticCurvePrivateKey)
    assert json.loads(found.text)["keys"] == [
        {**public_part(small.key), "kid": "a"},
        {**public_part(curved.key), "kid": "b"},
    ]
    assert [(each.where, each.message) for each in found.defects] == [
        ("c", "is no certificate in PEM")
    ]


def test_a_certificate_of_another_kind_of_key() -> None:
    key, name = Ed25519PrivateKey.generate(), x509.Name([])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(wall_clock())
        .not_valid_after(wall_clock() + DAY)
        .sign(key, None)
    )
    found = key_set(json.dumps({"a": pem(made).decode()}), published=True)
    assert [each.message for each in found.defects] == [
        "is a certificate with a key that is neither RSA nor ECDSA"
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
)
MEMBER = st.sampled_from([*RSA.values(), *EC.values(), *ED.values(), *HMAC.values(), "ES384"])
KEY = st.dictionaries(
    st.sampled_from(["kty", "n", "e", "crv", "x", "y", "k", "kid", "alg", "use", "key_ops", "d"]),
    MEMBER | JSON,
)


@given(st.lists(KEY | JSON, max_size=4), st.booleans())
def test_every_set_is_understood_or_refused(keys: list[Any], published: bool) -> None:
    """Whatever keys hold: no other error, a second reading changes nothing, nothing is lost."""
    content = text(*keys)
    try:
        found = key_set(content, published=published)
    except NotAKeySet:
        assert not all(isinstance(each, dict) for each in keys)
        return
    again = key_set(found.text, published=published)
    assert (again.text, again.number) == (found.text, found.number)
    assert found.number + len({each.where for each in found.defects}) >= len(keys)


@given(st.text() | st.binary())
def test_every_text_is_understood_or_refused(content: str | bytes) -> None:
    with suppress(NotAKeySet):
        key_set(content, published=True)


def test_defects_repeat_no_secrets() -> None:
    private = "c2VjcmV0"
    keys = [{"kty": "oct", "k": f"{private}!"}, {**RSA, "d": private}, {"kty": "EC", "d": private}]
    found = key_set(text(*keys), published=False)
    assert not any(private in each.message for each in found.defects)
