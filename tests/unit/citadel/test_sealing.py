"""Sealing the stored authority."""

from __future__ import annotations

import pytest

from mast.citadel.core.keys import private_key_pem
from mast.citadel.core.records import record
from mast.citadel.core.sealing import DamagedSeal, WrongSealingKey, key_id, seal, unseal
from mastapi.citadel.v1 import citadel_pb2
from tests.unit.citadel.examples import authority

KEY, OTHER = bytes(range(32)), bytes(32)
NONCE = b"n" * 12
STORED = record(authority())


def test_what_is_sealed_is_opened() -> None:
    sealed = seal(STORED, KEY, NONCE)
    assert unseal(sealed, KEY) == STORED
    assert (sealed.key_id, sealed.nonce) == (key_id(KEY), NONCE)


def test_nothing_readable_is_left() -> None:
    sealed = seal(STORED, KEY, NONCE).SerializeToString()
    secret = private_key_pem(authority().active.key).encode()
    assert b"PRIVATE KEY" not in sealed
    assert secret[40:60] not in sealed
    assert KEY not in sealed


def test_key_ids_tell_keys_apart_and_say_nothing() -> None:
    assert key_id(KEY) != key_id(OTHER)
    assert key_id(KEY) == key_id(bytes(KEY))
    assert KEY.hex()[:8] not in key_id(KEY)


def test_wrong_key_names_both() -> None:
    with pytest.raises(WrongSealingKey) as caught:
        unseal(seal(STORED, KEY, NONCE), OTHER)
    assert key_id(KEY) in str(caught.value)
    assert key_id(OTHER) in str(caught.value)


@pytest.mark.parametrize("what", ["ciphertext", "nonce", "short-nonce", "other-key-named"])
def test_damage_is_told_apart_from_a_wrong_key(what: str) -> None:
    sealed = seal(STORED, KEY, NONCE)
    if what == "ciphertext":
        sealed.ciphertext = sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1])
    elif what == "nonce":
        sealed.nonce = b"m" * 12
    elif what == "short-nonce":
        sealed.nonce = b""
    else:
        sealed = citadel_pb2.SealedAuthority(
            key_id=key_id(KEY), nonce=NONCE, ciphertext=seal(STORED, OTHER, NONCE).ciphertext
        )
    with pytest.raises(DamagedSeal, match="is damaged"):
        unseal(sealed, KEY)


def test_a_key_id_that_was_swapped_is_noticed() -> None:
    """The id is bound to the ciphertext."""
    sealed = seal(STORED, KEY, NONCE)
    sealed.key_id = key_id(OTHER)
    with pytest.raises(WrongSealingKey):
        unseal(sealed, KEY)
    with pytest.raises(DamagedSeal):
        unseal(sealed, OTHER)
