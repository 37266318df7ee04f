"""SPIFFE bundles as JSON (citadel-and-agent.md A8.4)."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from mast.citadel.core.spiffe_bundle import (
    MAX_BYTES,
    InvalidBundle,
    SpiffeBundle,
    certificate_authorities,
    document,
    parsed,
)
from tests.support.pki import Ca
from tests.unit.citadel.examples import authority

ROOT, OTHER = Ca.root("one"), Ca.root("two", rsa_bits=2048)
LEAF = x509.load_pem_x509_certificate(ROOT.leaf(uris=["spiffe://a/b"]).chain)


def key(root: x509.Certificate, **changes: Any) -> dict[str, Any]:
    """A key of a document; None removes a member."""
    (made,) = json.loads(document(SpiffeBundle((root,))))["keys"]
    return {name: value for name, value in {**made, **changes}.items() if value is not None}


def text(*keys: Any, **more: Any) -> bytes:
    return json.dumps({"keys": list(keys), **more}).encode()


def test_what_we_tell_is_read_again() -> None:
    roots = (ROOT.certificate, OTHER.certificate, authority("P384").active.certificate)
    bundle = SpiffeBundle(roots, 7, timedelta(minutes=5))
    assert parsed(document(bundle).encode()) == bundle


def test_keys_say_their_public_key_too() -> None:
    """RFC 7518, so that readers that look at numbers only find them."""
    told = json.loads(document(SpiffeBundle((ROOT.certificate, OTHER.certificate))))
    curve, modulus = told["keys"]

    def number(text: str) -> int:
        return int.from_bytes(base64.urlsafe_b64decode(text + "=="))

    public = ROOT.certificate.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert (curve["kty"], curve["crv"], curve["use"]) == ("EC", "P-256", "x509-svid")
    assert (number(curve["x"]), number(curve["y"])) == (
        public.public_numbers().x,
        public.public_numbers().y,
    )
    other = OTHER.certificate.public_key()
    assert isinstance(other, rsa.RSAPublicKey)
    assert (modulus["kty"], number(modulus["n"]), number(modulus["e"])) == (
        "RSA",
        other.public_numbers().n,
        65537,
    )
    assert "spiffe_sequence" not in told


def test_keys_for_other_uses_are_left_out() -> None:
    found = parsed(text({"use": "jwt-svid", "kty": "EC"}, {"kty": "RSA"}, key(ROOT.certificate)))
    assert found == SpiffeBundle((ROOT.certificate,))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param(b"{", "no JSON", id="no-json"),
        pytest.param(b"[" * 100_000, "no JSON", id="too-deep"),
        pytest.param(b"[]", "no list 'keys'", id="no-object"),
        pytest.param(b'{"keys": {}}', "no list 'keys'", id="no-list"),
        pytest.param(text(), "no key has the use 'x509-svid'", id="empty"),
        pytest.param(
            text(key(ROOT.certificate, x5c=None)), r"keys\[0\]: want exactly", id="no-x5c"
        ),
        pytest.param(
            text(key(ROOT.certificate), key(ROOT.certificate, x5c=["a", "b"])),
            r"keys\[1\]: want exactly one certificate in 'x5c'",
            id="two-certificates",
        ),
        pytest.param(text(key(ROOT.certificate, x5c=[7])), "want exactly", id="no-text"),
        pytest.param(text(key(ROOT.certificate, x5c=["!"])), "holds no cert", id="no-base64"),
        pytest.param(text(key(ROOT.certificate, x5c=["aGVsbG8="])), "holds no", id="no-der"),
        pytest.param(text(key(LEAF)), "is no CA", id="a-leaf"),
        pytest.param(text(key(ROOT.certificate), spiffe_sequence="x"), "want a number", id="text"),
        pytest.param(
            text(key(ROOT.certificate), spiffe_sequence=-1), "want a number", id="below-0"
        ),
        pytest.param(
            text(key(ROOT.certificate), spiffe_refresh_hint=True), "refresh_hint: want", id="hint"
        ),
        pytest.param(b" " * (MAX_BYTES + 1), "want at most", id="too-long"),
    ],
)
def test_what_is_no_bundle(given: bytes, problem: str) -> None:
    with pytest.raises(InvalidBundle, match=problem):
        parsed(given)


@pytest.mark.parametrize(
    ("seconds", "hint"),
    [(0, timedelta(seconds=1)), (300, timedelta(minutes=5)), (10**12, timedelta(days=1))],
    ids=["at-once", "as-told", "too-rare"],
)
def test_hints_have_bounds(seconds: int, hint: timedelta) -> None:
    assert parsed(text(key(ROOT.certificate), spiffe_refresh_hint=seconds)).refresh_hint == hint


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_comes_there_is_a_clear_answer(given: bytes) -> None:
    with pytest.raises(InvalidBundle):
        parsed(given)


def test_certificate_authorities() -> None:
    assert certificate_authorities(ROOT.pem + OTHER.pem) == [ROOT.certificate, OTHER.certificate]
    with pytest.raises(ValueError, match="is no CA"):
        certificate_authorities(ROOT.leaf(uris=["spiffe://a/b"]).chain)
    with pytest.raises(ValueError, match="PEM"):
        certificate_authorities(b"nothing")
