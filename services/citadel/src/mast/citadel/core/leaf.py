"""The leaf certificates that Citadel issues, field by field (citadel-and-agent.md A2)."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mast.citadel.core.keys import PrivateKey, PublicKey, signature_hash
from mast.citadel.core.refusals import TtlTooLong
from mast.common.identity.spiffe import SCHEME

BACKDATED = timedelta(minutes=2)
LONGEST_COMMON_NAME = 64

_NOTHING = x509.Name([])
_EXTENDED_KEY_USAGE = x509.ExtendedKeyUsage(
    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


_KEY_USAGE = _key_usage(ca=False)
_CA_KEY_USAGE = _key_usage(ca=True)


@dataclass(frozen=True)
class TtlPolicy:
    """``DEFAULT_WORKLOAD_CERT_TTL`` and ``MAX_WORKLOAD_CERT_TTL`` (A2).

    ``ca`` is ``--sign-ca-certs`` of 1.4: leaves may sign.
    """

    default: timedelta = timedelta(hours=24)
    maximum: timedelta = timedelta(hours=2160)
    ca: bool = False

    def lifetime(self, requested: timedelta, chain_left: timedelta) -> timedelta:
        """How long a leaf may live from now on.

        A request of nothing (<= 0) gets the default, capped to what the CA's chain has left; one
        above the maximum is refused with TtlTooLong, not clamped.
        """
        if requested <= timedelta():
            return min(self.default, chain_left)
        if requested > self.maximum:
            raise TtlTooLong(f"requested TTL {requested} is above the maximum {self.maximum}")
        return requested


@dataclass(frozen=True)
class Signer:
    """A CA certificate and its key, with what all its leaves have in common."""

    certificate: x509.Certificate
    key: PrivateKey
    authority_key_id: x509.AuthorityKeyIdentifier | None

    @classmethod
    def of(cls, certificate: x509.Certificate, key: PrivateKey) -> "Signer":
        """The authority key id is the signer's subject key id, absent if it has none."""
        try:
            subject_key_id = certificate.extensions.get_extension_for_class(
                x509.SubjectKeyIdentifier
            ).value
        except x509.ExtensionNotFound:
            return cls(certificate, key, None)
        return cls(
            certificate,
            key,
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(subject_key_id),
        )


def serial_number(entropy: bytes) -> int:
    """A positive serial of 128 bits from 16 random bytes."""
    return int.from_bytes(entropy[:16]) or 1


def common_name(names: Sequence[str]) -> str | None:
    """The common name of a dual-use leaf: the first SAN, None if it is too long."""
    return names[0] if len(names[0]) <= LONGEST_COMMON_NAME else None


def general_name(name: str) -> x509.GeneralName:
    """An IP address as iPAddress, a SPIFFE ID as URI, anything else as dNSName."""
    if name.startswith(SCHEME):
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def leaf(
    signer: Signer,
    public_key: PublicKey,
    names: Sequence[str],
    *,
    lifetime: timedelta,
    now: datetime,
    serial: int,
    subject: str | None = None,
    ca: bool = False,
) -> x509.Certificate:
    """A leaf for ``names``, valid from two minutes ago for ``lifetime``, never beyond its signer.

    The subject is empty unless a common name is given; the SAN is critical in either case. With
    ``ca`` it may sign certificates itself (1.4, ``--sign-ca-certs``).
    """
    ends = min(now + lifetime, signer.certificate.not_valid_after_utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(subject))
        .issuer_name(signer.certificate.subject)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(now - BACKDATED)
        .not_valid_after(ends)
        .add_extension(_CA_KEY_USAGE if ca else _KEY_USAGE, critical=True)
        .add_extension(_EXTENDED_KEY_USAGE, critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([general_name(name) for name in names]), critical=True
        )
    )
    if signer.authority_key_id is not None:
        builder = builder.add_extension(signer.authority_key_id, critical=False)
    return builder.sign(signer.key, signature_hash(signer.key))


def _subject(name: str | None) -> x509.Name:
    if name is None:
        return _NOTHING
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
