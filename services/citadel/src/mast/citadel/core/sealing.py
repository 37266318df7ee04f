"""The stored authority under a key that is not in the store: AES-256-GCM."""

from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError

from mastapi.citadel.v1 import citadel_pb2

KEY_BYTES = 32
NONCE_BYTES = 12


class WrongSealingKey(Exception):
    """The record is sealed with another key than ours; both are named by their ids."""

    def __init__(self, sealed_with: str, ours: str) -> None:
        super().__init__(
            f"the CA key in the store is sealed with key {sealed_with}, but the sealing key file "
            f"holds key {ours}: give every replica the same --ca-key-file"
        )


class DamagedSeal(Exception):
    """The record was changed or cut since it was sealed."""


def key_id(key: bytes) -> str:
    """A name of a sealing key that says nothing about it: 16 hexadecimal digits."""
    return blake2b(key, digest_size=8, person=b"mast.ca.key.id").hexdigest()


def seal(authority: citadel_pb2.Authority, key: bytes, nonce: bytes) -> citadel_pb2.SealedAuthority:
    """Encrypt; ``nonce`` is 12 random bytes that no other record was sealed with."""
    name = key_id(key)
    ciphertext = AESGCM(key).encrypt(nonce, authority.SerializeToString(), _bound_to(name))
    return citadel_pb2.SealedAuthority(key_id=name, nonce=nonce, ciphertext=ciphertext)


def unseal(sealed: citadel_pb2.SealedAuthority, key: bytes) -> citadel_pb2.Authority:
    """Decrypt; WrongSealingKey if another key is needed, DamagedSeal if the data is not intact."""
    if sealed.key_id != key_id(key):
        raise WrongSealingKey(sealed.key_id, key_id(key))
    try:
        plain = AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, _bound_to(sealed.key_id))
        return citadel_pb2.Authority.FromString(plain)
    except (InvalidTag, ValueError, DecodeError) as error:
        raise DamagedSeal(
            f"the CA key in the store, sealed with key {sealed.key_id}, is damaged"
        ) from error


def _bound_to(name: str) -> bytes:
    return f"ca/authority {name}".encode()
