"""Certificates of an etcd that only Mast uses: one authority, its members, and a user a service."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER: Final = "server"
"""The common name of members; no user has that name."""

LIFE: Final = timedelta(days=3650)

_CLIENT: Final = (ExtendedKeyUsageOID.CLIENT_AUTH,)
# A member is a client of the others.
_MEMBER: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True)
class KeyPair:
    """PEM of a certificate and of its key."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Authority:
    """What signs; keys are P-256, certificates last for ten years."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls, now: datetime) -> Authority:
        """Another one."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("mast etcd")
        certificate = (
            _builder(name, name, key, now)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def of(cls, pair: KeyPair) -> Authority:
        """One that was kept; ValueError if it cannot be read or is of another kind."""
        key = serialization.load_pem_private_key(pair.key, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the key of the authority is not an EC key")
        return cls(x509.load_pem_x509_certificate(pair.certificate), key)

    @property
    def pair(self) -> KeyPair:
        """To be kept."""
        return KeyPair(_pem(self.certificate), _key_pem(self.key))

    def user(self, name: str, now: datetime) -> KeyPair:
        """A client's: its common name tells etcd who calls."""
        return self._issued(name, now, _CLIENT)

    def member(self, hosts: Sequence[str], now: datetime) -> KeyPair:
        """A member's, at these names and addresses; ``*.`` may stand for one label."""
        return self._issued(SERVER, now, _MEMBER, x509.SubjectAlternativeName(map(_host, hosts)))

    def _issued(
        self,
        name: str,
        now: datetime,
        usages: Sequence[x509.ObjectIdentifier],
        at: x509.SubjectAlternativeName | None = None,
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(name), self.certificate.subject, key, now)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if at is not None:
            builder = builder.add_extension(at, critical=False)
        return KeyPair(_pem(builder.sign(self.key, hashes.SHA256())), _key_pem(key))


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=2))
        .not_valid_after(now + LIFE)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
