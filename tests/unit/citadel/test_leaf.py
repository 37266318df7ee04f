"""The leaf profile, row by row (citadel-and-agent.md A2)."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from mast.citadel.core.leaf import (
    Signer,
    TtlPolicy,
    common_name,
    general_name,
    leaf,
    serial_number,
)
from mast.citadel.core.refusals import TtlTooLong
from tests.support.pki import Ca
from tests.unit.citadel.examples import DAY, HOUR, ME, NOW, authority, private_key


def issued(kind: str = "P256", *, subject: str | None = None) -> x509.Certificate:
    return leaf(
        authority(kind).active.signer,
        private_key("P256").public_key(),
        (ME, "reviews.shop.svc", "10.0.0.7", "fd00::7"),
        lifetime=24 * HOUR,
        now=NOW,
        serial=2**127 + 1,
        subject=subject,
    )


@pytest.mark.parametrize(
    ("kind", "digest"), [("P256", "sha256"), ("P384", "sha384"), ("RSA2048", "sha256")]
)
def test_signature(kind: str, digest: str) -> None:
    certificate = issued(kind)
    certificate.verify_directly_issued_by(authority(kind).active.certificate)
    assert certificate.signature_hash_algorithm is not None
    assert certificate.signature_hash_algorithm.name == digest


def test_fields() -> None:
    certificate = issued()
    assert certificate.version is x509.Version.v3
    assert certificate.serial_number == 2**127 + 1
    assert list(certificate.subject) == []
    assert certificate.public_key() == private_key("P256").public_key()
    assert certificate.not_valid_before_utc == NOW - timedelta(minutes=2)
    assert certificate.not_valid_after_utc == NOW + 24 * HOUR


def test_extensions_are_these_and_no_others() -> None:
    ca = authority().active.certificate
    certificate = issued()
    found = {e.oid: (e.critical, e.value) for e in certificate.extensions}
    ski = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert found == {
        x509.KeyUsage.oid: (
            True,
            x509.KeyUsage(True, False, True, False, False, False, False, False, False),
        ),
        x509.ExtendedKeyUsage.oid: (
            False,
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
        ),
        x509.BasicConstraints.oid: (True, x509.BasicConstraints(ca=False, path_length=None)),
        x509.SubjectAlternativeName.oid: (
            True,
            x509.SubjectAlternativeName(
                [
                    x509.UniformResourceIdentifier(ME),
                    x509.DNSName("reviews.shop.svc"),
                    x509.IPAddress(ipaddress.ip_address("10.0.0.7")),
                    x509.IPAddress(ipaddress.ip_address("fd00::7")),
                ]
            ),
        ),
        x509.AuthorityKeyIdentifier.oid: (
            False,
            x509.AuthorityKeyIdentifier(ski.digest, None, None),
        ),
    }


def test_signer_without_subject_key_id_leaves_the_authority_key_id_out() -> None:
    ca = Ca.root()  # made without the extension
    key = private_key("P256")
    certificate = leaf(
        Signer.of(ca.certificate, key), key.public_key(), (ME,), lifetime=HOUR, now=NOW, serial=1
    )
    assert x509.AuthorityKeyIdentifier.oid not in {e.oid for e in certificate.extensions}


def test_dual_use_leaf_has_a_common_name_and_still_a_critical_san() -> None:
    certificate = issued(subject=ME)
    (attribute,) = certificate.subject
    assert (attribute.oid, attribute.value) == (NameOID.COMMON_NAME, ME)
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


@pytest.mark.parametrize(("length", "kept"), [(64, True), (65, False)], ids=["fits", "too-long"])
def test_common_name(length: int, kept: bool) -> None:
    name = "x" * length
    assert common_name((name, "second")) == (name if kept else None)


def test_validity_ends_with_the_signer() -> None:
    certificate = leaf(
        authority(ttl=HOUR).active.signer,
        private_key("P256").public_key(),
        (ME,),
        lifetime=24 * HOUR,
        now=NOW,
        serial=1,
    )
    assert certificate.not_valid_after_utc == NOW + HOUR


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (ME, x509.UniformResourceIdentifier(ME)),
        ("192.0.2.1", x509.IPAddress(ipaddress.ip_address("192.0.2.1"))),
        ("::1", x509.IPAddress(ipaddress.ip_address("::1"))),
        ("istiod.istio-system.svc", x509.DNSName("istiod.istio-system.svc")),
        ("1.2.3", x509.DNSName("1.2.3")),
    ],
)
def test_general_name(name: str, expected: x509.GeneralName) -> None:
    assert general_name(name) == expected


@given(st.binary(min_size=16, max_size=16))
def test_serial_numbers_are_positive_and_of_128_bits(entropy: bytes) -> None:
    number = serial_number(entropy)
    assert 0 < number < 2**128
    assert number == (int.from_bytes(entropy) or 1)


def test_serial_number_is_never_zero() -> None:
    assert serial_number(bytes(16)) == 1


@pytest.mark.parametrize(
    ("requested", "left", "granted"),
    [
        pytest.param(0 * HOUR, 3650 * DAY, 24 * HOUR, id="none-asked-default"),
        pytest.param(-HOUR, 3650 * DAY, 24 * HOUR, id="negative-default"),
        pytest.param(0 * HOUR, 3 * HOUR, 3 * HOUR, id="default-capped-to-chain"),
        pytest.param(HOUR, 3650 * DAY, HOUR, id="as-asked"),
        pytest.param(2160 * HOUR, 3650 * DAY, 2160 * HOUR, id="maximum"),
        pytest.param(48 * HOUR, HOUR, 48 * HOUR, id="asked-is-left-to-the-signer's-end"),
    ],
)
def test_lifetime(requested: timedelta, left: timedelta, granted: timedelta) -> None:
    assert TtlPolicy().lifetime(requested, left) == granted


def test_lifetime_above_the_maximum_is_refused_not_clamped() -> None:
    with pytest.raises(TtlTooLong, match="above the maximum 90 days"):
        TtlPolicy().lifetime(2160 * HOUR + timedelta(seconds=1), 3650 * DAY)


def test_a_leaf_that_signs() -> None:
    """1.4's --sign-ca-certs."""
    made = leaf(
        authority().active.signer,
        private_key("P256").public_key(),
        (ME,),
        lifetime=HOUR,
        now=NOW,
        serial=1,
        ca=True,
    )
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = made.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.key_cert_sign, usage.digital_signature, usage.crl_sign) == (True, True, False)
