"""Private keys that stay where they are: devices and services sign digests with them (A12).

They are private keys for everything that signs, and have nothing to show to what would store them.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final, NoReturn, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding

from mast.citadel.core.keys import PrivateKey, PublicKey, accepted_public_key


class KeyUnavailable(Exception):
    """A key cannot be reached now, or there is none of that name; says where it was sought."""


SignDigest = Callable[[bytes, str], bytes]
"""Signs a digest, made by a hash of that name (sha256, sha384). ECDSA: DER; RSA: PKCS #1 v1.5."""

DIGEST_INFO: Final = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
}
"""What stands before a digest in PKCS #1 v1.5 (RFC 8017 §9.2)."""


def _digest(data: bytes, algorithm: object) -> tuple[bytes, str]:
    if isinstance(algorithm, hashes.SHA256 | hashes.SHA384):
        return hashlib.new(algorithm.name, data).digest(), algorithm.name
    raise UnsupportedAlgorithm(f"hash {algorithm!r}: want SHA-256 or SHA-384")


def _stays(what: str) -> NoReturn:
    raise UnsupportedAlgorithm(f"the key stays where it is: {what} is not possible")


class _Held:
    """What nobody can do with a key that stays where it is."""

    def private_numbers(self) -> NoReturn:
        _stays("reading it")

    def private_bytes(
        self,
        encoding: serialization.Encoding,
        format: serialization.PrivateFormat,
        encryption_algorithm: serialization.KeySerializationEncryption,
    ) -> NoReturn:
        _stays("writing it")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[Any, Any]) -> Self:
        return self


class RemoteEcKey(_Held, ec.EllipticCurvePrivateKey):
    """A key for ECDSA that somebody else holds."""

    def __init__(self, public: ec.EllipticCurvePublicKey, sign: SignDigest) -> None:
        self._public = public
        self._sign = sign

    def sign(
        self,
        data: Any,
        signature_algorithm: ec.EllipticCurveSignatureAlgorithm,
    ) -> bytes:
        if isinstance(signature_algorithm.algorithm, utils.Prehashed):
            raise UnsupportedAlgorithm("data that is hashed already: want the data")
        return self._sign(*_digest(bytes(data), signature_algorithm.algorithm))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._public.curve

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        _stays("a key exchange")


class RemoteRsaKey(_Held, rsa.RSAPrivateKey):
    """A key for RSA, with PKCS #1 v1.5, that somebody else holds."""

    def __init__(self, public: rsa.RSAPublicKey, sign: SignDigest) -> None:
        self._public = public
        self._sign = sign

    def sign(
        self,
        data: Any,
        padding: AsymmetricPadding,
        algorithm: Any,
    ) -> bytes:
        if not isinstance(padding, _PKCS1):
            raise UnsupportedAlgorithm(f"padding {padding.name}: want PKCS #1 v1.5")
        return self._sign(*_digest(bytes(data), algorithm))

    def public_key(self) -> rsa.RSAPublicKey:
        return self._public

    @property
    def key_size(self) -> int:
        return self._public.key_size

    def decrypt(self, ciphertext: Any, padding: AsymmetricPadding) -> NoReturn:
        _stays("decryption")


_PKCS1 = padding.PKCS1v15


def remote_key(public: object, sign: SignDigest) -> PrivateKey:
    """The private key for a public one; ValueError if that is of no accepted kind."""
    found: PublicKey = accepted_public_key(public)
    if isinstance(found, ec.EllipticCurvePublicKey):
        return RemoteEcKey(found, sign)
    return RemoteRsaKey(found, sign)


def is_remote(key: PrivateKey | None) -> bool:
    """Whether signing takes as long as a call of somebody else."""
    return isinstance(key, RemoteEcKey | RemoteRsaKey)
