"""Issuers of tokens for tests: keys of each kind, and tokens that say and are signed as asked."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {
    "ES256": ("P-256", ec.SECP256R1()),
    "ES384": ("P-384", ec.SECP384R1()),
    "ES512": ("P-521", ec.SECP521R1()),
}
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | bytes


@cache
def key_of(algorithm: str, name: str = "") -> PrivateKey:
    """A key for an algorithm, one for each name; RSA keys take a while, so all tests share them."""
    if algorithm[:2] in ("RS", "PS"):
        return rsa.generate_private_key(65537, 2048)
    if algorithm in CURVES:
        return ec.generate_private_key(CURVES[algorithm][1])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return hashlib.sha512(name.encode()).digest()


@dataclass(frozen=True)
class Issuer:
    """Who signs tokens, with one key."""

    name: str
    algorithm: str = "RS256"
    kid: str = "k1"
    key: PrivateKey = field(default=b"", repr=False)

    @property
    def private(self) -> PrivateKey:
        """The key: the one given, else one of the issuer's own."""
        return self.key or key_of(self.algorithm, f"{self.name} {self.kid}")

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as JSON Web Key; the key itself if it is symmetric."""
        return {**public_part(self.private), "kid": self.kid, "alg": self.algorithm}

    @property
    def jwks(self) -> str:
        """A set of this one key."""
        return key_set(self)

    def token(
        self, claims: Mapping[str, Any] | None = None, header: Mapping[str, Any] | None = None
    ) -> str:
        """A good token for `user`, an hour long; claims and header members may say otherwise.

        None takes a claim or member out.
        """
        now = int(time.time())  # noqa: TID251 - Envoy looks at its own clock
        said = {"iss": self.name, "sub": "user", "iat": now, "exp": now + 3600, **(claims or {})}
        head = {"alg": self.algorithm, "kid": self.kid, "typ": "JWT", **(header or {})}
        return self.signed(encoded(head), encoded(said))

    def signed(self, header: str, payload: str) -> str:
        """Whatever it says, with a good signature."""
        message = f"{header}.{payload}"
        return f"{message}.{base64url(signature(self.private, self.algorithm, message.encode()))}"


def key_set(*issuers: Issuer) -> str:
    """The keys of some issuers."""
    return json.dumps({"keys": [each.jwk for each in issuers]})


def encoded(content: Mapping[str, Any]) -> str:
    """A part of a token, without what is None."""
    present = {name: value for name, value in content.items() if value is not None}
    return base64url(json.dumps(present).encode())


def base64url(content: bytes) -> str:
    """Base64 of URLs without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def public_pem(key: PrivateKey) -> bytes:
    """The public key as issuers show it to people."""
    assert not isinstance(key, bytes)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def public_part(key: PrivateKey) -> dict[str, str]:
    """The members of a JSON Web Key that make the key (RFC 7518 §6, RFC 8037 §2)."""
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": _number(numbers.n), "e": _number(numbers.e)}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        curve = next(name for name, own in CURVES.values() if own.name == key.curve.name)
        size = (key.curve.key_size + 7) // 8
        x, y = (base64url(each.to_bytes(size)) for each in (point.x, point.y))
        return {"kty": "EC", "crv": curve, "x": x, "y": y}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(key.public_key().public_bytes_raw())}
    return {"kty": "oct", "k": base64url(key)}


def signature(key: PrivateKey, algorithm: str, message: bytes) -> bytes:
    """A signature as tokens have it (RFC 7518 §3)."""
    digest = HASHES.get(algorithm[2:], hashes.SHA256())
    if isinstance(key, bytes):
        return hmac.digest(key, message, f"sha{algorithm[2:]}")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.curve.key_size + 7) // 8
        numbers = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
        return b"".join(each.to_bytes(size) for each in numbers)
    if algorithm.startswith("PS"):
        salted = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
        return key.sign(message, salted, digest)
    return key.sign(message, padding.PKCS1v15(), digest)


def _number(value: int) -> str:
    return base64url(value.to_bytes((value.bit_length() + 7) // 8))
