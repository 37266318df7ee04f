"""The stored authority under a key that is not in the store."""

from google.protobuf.message import DecodeError

from mast.common import sealing
from mast.common.sealing import NONCE_BYTES, DamagedSeal, Sealed, key_id
from mastapi.citadel.v1 import citadel_pb2

__all__ = ["NONCE_BYTES", "DamagedSeal", "WrongSealingKey", "key_id", "seal", "unseal"]

_PLACE = "ca/authority"


class WrongSealingKey(Exception):
    """The record is sealed with another key than ours; both are named by their ids."""

    def __init__(self, sealed_with: str, ours: str) -> None:
        super().__init__(
            f"the CA key in the store is sealed with key {sealed_with}, but the sealing key file "
            f"holds key {ours}: give every replica the same --ca-key-file"
        )


def seal(authority: citadel_pb2.Authority, key: bytes, nonce: bytes) -> citadel_pb2.SealedAuthority:
    """Encrypt; ``nonce`` is 12 random bytes that no other record was sealed with."""
    sealed = sealing.seal(authority.SerializeToString(), key, nonce, _PLACE)
    return citadel_pb2.SealedAuthority(
        key_id=sealed.key_id, nonce=sealed.nonce, ciphertext=sealed.ciphertext
    )


def unseal(record: citadel_pb2.SealedAuthority, key: bytes) -> citadel_pb2.Authority:
    """Decrypt; WrongSealingKey if another key is needed, DamagedSeal if the data is not intact."""
    sealed = Sealed(record.key_id, record.nonce, record.ciphertext)
    try:
        return citadel_pb2.Authority.FromString(sealing.unseal(sealed, key, _PLACE))
    except sealing.WrongSealingKey as error:
        raise WrongSealingKey(error.sealed_with, error.ours) from error
    except DecodeError as error:
        raise DamagedSeal(f"{_PLACE}, sealed with key {record.key_id}, is damaged") from error
