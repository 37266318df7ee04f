"""Accepted keys (citadel-and-agent.md A1, A2)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mast.citadel.core.keys import (
    accepted_public_key,
    load_private_key,
    private_key_pem,
    signature_hash,
)
from tests.unit.citadel.examples import private_key

PEM = serialization.Encoding.PEM
PLAIN = serialization.NoEncryption()


@pytest.mark.parametrize("kind", ["RSA2048", "RSA3072", "P256", "P384"])
def test_accepted(kind: str) -> None:
    key = private_key(kind).public_key()
    assert accepted_public_key(key) is key


@pytest.mark.parametrize(
    ("key", "named"),
    [
        pytest.param(private_key("RSA1024").public_key(), "RSA of 1024 bits", id="RSA1024"),
        pytest.param(private_key("P224").public_key(), "secp224r1", id="P224"),
        pytest.param(private_key("P521").public_key(), "secp521r1", id="P521"),
        pytest.param(ed25519.Ed25519PrivateKey.generate().public_key(), "Ed25519", id="Ed25519"),
    ],
)
def test_refused(key: object, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        accepted_public_key(key)


@pytest.mark.parametrize(
    ("kind", "form", "label"),
    [
        ("P256", serialization.PrivateFormat.TraditionalOpenSSL, b"EC PRIVATE KEY"),
        ("RSA2048", serialization.PrivateFormat.TraditionalOpenSSL, b"RSA PRIVATE KEY"),
        ("P384", serialization.PrivateFormat.PKCS8, b"PRIVATE KEY"),
    ],
    ids=["sec1", "pkcs1", "pkcs8"],
)
def test_load_private_key(kind: str, form: serialization.PrivateFormat, label: bytes) -> None:
    key = private_key(kind)
    text = key.private_bytes(PEM, form, PLAIN)
    assert b"-----BEGIN " + label + b"-----" in text
    assert load_private_key(text).private_numbers() == key.private_numbers()


def test_private_key_pem_is_read_again() -> None:
    key = private_key("P256")
    assert load_private_key(private_key_pem(key).encode()).private_numbers() == (
        key.private_numbers()
    )


def encrypted() -> bytes:
    lock = serialization.BestAvailableEncryption(b"secret")
    return private_key("P256").private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock)


def legacy_encrypted() -> bytes:
    lock = serialization.BestAvailableEncryption(b"secret")
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return private_key("P256").private_bytes(PEM, form, lock)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param(b"", "found none", id="empty"),
        pytest.param(2 * private_key_pem(private_key("P256")).encode(), "found PRIV", id="two"),
        pytest.param(encrypted(), "found ENCRYPTED PRIVATE KEY", id="encrypted"),
        pytest.param(legacy_encrypted(), "does not parse", id="legacy-encrypted"),
        pytest.param(
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "does not parse",
            id="damaged",
        ),
        pytest.param(private_key_pem(private_key("P521")).encode(), "secp521r1", id="curve"),
        pytest.param(
            b"-----BEGIN DSA PRIVATE KEY-----\nAAAA\n-----END DSA PRIVATE KEY-----\n",
            "found DSA PRIVATE KEY",
            id="dsa",
        ),
    ],
)
def test_load_private_key_refuses(text: bytes, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        load_private_key(text)


@pytest.mark.parametrize(
    ("kind", "digest"), [("P256", "sha256"), ("RSA3072", "sha256"), ("P384", "sha384")]
)
def test_signature_hash(kind: str, digest: str) -> None:
    assert signature_hash(private_key(kind)).name == digest


def test_curve_of_a_p256_key() -> None:
    key = private_key("P256")
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
