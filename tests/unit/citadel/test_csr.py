"""What counts of a CSR (citadel-and-agent.md A2, A4)."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from mast.citadel.core.csr import MAX_BYTES, read_csr
from mast.citadel.core.refusals import BadCsr
from tests.unit.citadel.examples import csr_pem, private_key


@pytest.mark.parametrize("kind", ["RSA2048", "P256", "P384"])
def test_the_key_is_read(kind: str) -> None:
    csr = read_csr(csr_pem(private_key(kind)))
    assert csr.public_key == private_key(kind).public_key()
    assert (csr.has_common_name, csr.has_san) == (False, True)


def test_common_name_and_missing_san_are_noticed() -> None:
    csr = read_csr(csr_pem(subject="reviews", uris=()))
    assert (csr.has_common_name, csr.has_san) == (True, False)


def test_text_around_the_block_does_not_matter() -> None:
    assert read_csr(b"Certificate Request:\n" + csr_pem() + b"\n").has_san


def der_with(change: int) -> bytes:
    """A CSR of which one byte of the signature, at the end, is changed."""
    der = bytearray(x509.load_pem_x509_csr(csr_pem()).public_bytes(serialization.Encoding.DER))
    der[change] ^= 0x01
    return armoured(bytes(der))


def armoured(der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"


def key_only() -> bytes:
    return private_key("P256").public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pem", "named"),
    [
        pytest.param(b"", "0 PEM blocks, want one", id="empty"),
        pytest.param(b"not a CSR", "0 PEM blocks, want one", id="no-pem"),
        pytest.param(csr_pem() + csr_pem(), "2 PEM blocks, want one", id="two"),
        pytest.param(key_only(), "does not parse", id="other-pem"),
        pytest.param(armoured(b""), "does not parse", id="nothing-inside"),
        pytest.param(armoured(b"\x30\x82"), "does not parse", id="cut"),
        pytest.param(csr_pem()[:-100], "does not parse", id="cut-armour"),
        pytest.param(der_with(-1), "not signed by its own key", id="signature"),
        pytest.param(csr_pem(private_key("RSA1024")), "RSA of 1024 bits", id="RSA1024"),
        pytest.param(csr_pem(private_key("P521")), "secp521r1", id="P521"),
        pytest.param(csr_pem(ed25519.Ed25519PrivateKey.generate()), "Ed25519", id="Ed25519"),
        pytest.param(b"x" * (MAX_BYTES + 1), f"{MAX_BYTES + 1} bytes", id="huge"),
    ],
)
def test_refused(pem: bytes, named: str) -> None:
    with pytest.raises(BadCsr, match=named) as caught:
        read_csr(pem)
    assert str(caught.value) == f"CSR signing error ({caught.value.reason})"


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    with pytest.raises(BadCsr):
        read_csr(armoured(body))


@given(st.integers(0, 240), st.integers(1, 255))
def test_a_changed_byte_never_gives_another_key(position: int, flip: int) -> None:
    der = bytearray(x509.load_pem_x509_csr(csr_pem()).public_bytes(serialization.Encoding.DER))
    der[position % len(der)] ^= flip
    with pytest.raises(BadCsr):
        read_csr(armoured(bytes(der)))
