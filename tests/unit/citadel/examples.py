"""What Citadel's unit tests start from: a time, keys, CSRs and authorities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mast.citadel.core.authority import Authority, self_signed
from mast.citadel.core.keys import PrivateKey

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DOMAIN = "cluster.local"
ME = f"spiffe://{DOMAIN}/ns/shop/sa/reviews"


@cache
def private_key(kind: str) -> PrivateKey:
    """One key per kind for the whole run: making RSA keys takes long."""
    if kind.startswith("RSA"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("RSA")))
    curves: dict[str, ec.EllipticCurve] = {
        "P224": ec.SECP224R1(),
        "P256": ec.SECP256R1(),
        "P384": ec.SECP384R1(),
        "P521": ec.SECP521R1(),
    }
    return ec.generate_private_key(curves[kind])


def authority(kind: str = "P256", *, ttl: timedelta = 3650 * DAY) -> Authority:
    """A self-signed authority that began at NOW."""
    slot = self_signed(DOMAIN, private_key(kind), now=NOW, ttl=ttl, serial=7)
    return Authority(DOMAIN, (slot,))


def csr_pem(
    key: PrivateKey | ed25519.Ed25519PrivateKey | None = None,
    *,
    uris: tuple[str, ...] = (ME,),
    subject: str = "",
) -> bytes:
    """A CSR, by default for the P-256 key, as agents send it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if uris:
        san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(u) for u in uris])
        builder = builder.add_extension(san, critical=True)
    signing = key or private_key("P256")
    digest = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signing, digest).public_bytes(Encoding.PEM)
