"""Certificates for tests, made without the code under test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)

_LEAF_USAGE = x509.KeyUsage(
    digital_signature=True,
    key_encipherment=True,
    content_commitment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def wall_clock() -> datetime:
    """The real time: certificates that real TLS peers check must be valid now."""
    return datetime.now(tz=UTC)  # noqa: TID251


def pem(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """A private key as PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@dataclass(frozen=True)
class Pair:
    """A certificate chain (leaf first) and the leaf's key, as PEM."""

    chain: bytes
    key: bytes

    @property
    def leaf(self) -> x509.Certificate:
        """The first certificate of the chain."""
        return x509.load_pem_x509_certificate(self.chain)


@dataclass(frozen=True)
class Ca:
    """A certificate authority; a root unless it was made by ``intermediate``."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes
    issuers: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(
        cls,
        name: str = "test root",
        *,
        rsa_bits: int = 0,
        valid: tuple[timedelta, timedelta] = (-DAY, 365 * DAY),
        is_ca: bool = True,
    ) -> Ca:
        """A self-signed root, valid from and to the given distances from now."""
        key = _key(rsa_bits)
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
        builder = _builder(subject, subject, key, valid).add_extension(
            x509.BasicConstraints(ca=is_ca, path_length=None), critical=True
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    def intermediate(
        self, name: str = "test intermediate", *, valid: tuple[timedelta, timedelta] = (-DAY, DAY)
    ) -> Ca:
        """A CA under this one."""
        key = _key(0)
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
        builder = _builder(subject, self.certificate.subject, key, valid).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        return Ca(builder.sign(self.key, hashes.SHA256()), key, (self.certificate, *self.issuers))

    @property
    def pem(self) -> bytes:
        """The CA's certificate."""
        return pem(self.certificate)

    def leaf(
        self,
        *,
        uris: Sequence[str] = (),
        dns: Sequence[str] = (),
        valid: tuple[timedelta, timedelta] = (-timedelta(minutes=2), DAY),
    ) -> Pair:
        """A leaf for client and server use; its chain stops before the root."""
        key = _key(0)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names += [x509.DNSName(name) for name in dns]
        builder = _builder(x509.Name([]), self.certificate.subject, key, valid).add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        builder = builder.add_extension(_LEAF_USAGE, critical=True)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        leaf = builder.sign(self.key, hashes.SHA256())
        above = (self.certificate, *self.issuers)[:-1]
        return Pair(b"".join(map(pem, (leaf, *above))), key_pem(key))


def _key(rsa_bits: int) -> CertificateIssuerPrivateKeyTypes:
    if rsa_bits:
        return rsa.generate_private_key(65537, rsa_bits)
    return ec.generate_private_key(ec.SECP256R1())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificateIssuerPrivateKeyTypes,
    valid: tuple[timedelta, timedelta],
) -> x509.CertificateBuilder:
    now = wall_clock()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + valid[0])
        .not_valid_after(now + valid[1])
    )
