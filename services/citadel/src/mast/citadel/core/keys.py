"""Which keys are accepted, and how they sign (citadel-and-agent.md A1, A2)."""

import re
from hashlib import sha256
from typing import cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

MIN_RSA_BITS = 2048
KEY_LABELS = ("EC PRIVATE KEY", "RSA PRIVATE KEY", "PRIVATE KEY")

_CURVES = ("secp256r1", "secp384r1")
_LABEL = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----")


def accepted_public_key(key: object) -> PublicKey:
    """The key, if it is RSA of at least 2048 bits, P-256 or P-384 (A2); else ValueError."""
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise ValueError(f"key is RSA of {key.key_size} bits, want at least {MIN_RSA_BITS}")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise ValueError(f"key is on curve {key.curve.name}, want P-256 or P-384")
        return key
    raise ValueError(f"key is {type(key).__name__}, want RSA, P-256 or P-384")


def load_private_key(pem: bytes) -> PrivateKey:
    """An unencrypted key of an accepted kind (A1: SEC 1, PKCS #1 or PKCS #8 PEM).

    Raises ValueError, which never quotes the key.
    """
    found = [label.decode() for label in _LABEL.findall(pem)]
    if len(found) != 1 or found[0] not in KEY_LABELS:
        wanted = ", ".join(KEY_LABELS)
        raise ValueError(f"want one PEM block of {wanted}, found {', '.join(found) or 'none'}")
    try:
        key = serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("private key does not parse, or is encrypted") from error
    accepted_public_key(key.public_key())
    return cast(PrivateKey, key)


def private_key_pem(key: PrivateKey) -> str:
    """A key as PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def key_name(key: PrivateKey) -> str:
    """A name that no other key has: the first digits of the SHA-256 of its public part."""
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return sha256(public).hexdigest()[:16]


def signature_hash(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """SHA-256; SHA-384 for P-384 (A2)."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp384r1":
        return hashes.SHA384()
    return hashes.SHA256()
