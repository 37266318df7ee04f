"""Sealing what the store must not tell: AES-256-GCM under a key that is not in the store."""

from __future__ import annotations

import hmac
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12


class WrongSealingKey(Exception):
    """A record is sealed with another key than ours; both are named by their ids."""

    def __init__(self, place: str, sealed_with: str, ours: str) -> None:
        super().__init__(f"{place} is sealed with key {sealed_with}, but ours is key {ours}")
        self.sealed_with = sealed_with
        self.ours = ours


class DamagedSeal(Exception):
    """A record was changed, moved or cut since it was sealed."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted record; ``key_id`` names the key."""

    key_id: str
    nonce: bytes
    ciphertext: bytes


def key_id(key: bytes) -> str:
    """A name of a sealing key that says nothing about it: 16 hexadecimal digits."""
    # The name is older than this module; a stored CA key is known by it.
    return blake2b(key, digest_size=8, person=b"mast.ca.key.id").hexdigest()


def seal(content: bytes, key: bytes, nonce: bytes, place: str) -> Sealed:
    """Encrypt for one place; ``nonce`` is 12 bytes that no other content was sealed with."""
    name = key_id(key)
    return Sealed(name, nonce, AESGCM(key).encrypt(nonce, content, _bound_to(place, name)))


def unseal(sealed: Sealed, key: bytes, place: str) -> bytes:
    """Decrypt; WrongSealingKey if another key is needed, DamagedSeal if the data is not intact."""
    if sealed.key_id != key_id(key):
        raise WrongSealingKey(place, sealed.key_id, key_id(key))
    try:
        bound = _bound_to(place, sealed.key_id)
        return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, bound)
    except (InvalidTag, ValueError) as error:
        message = f"{place}, sealed with key {sealed.key_id}, is damaged"
        raise DamagedSeal(message) from error


def synthetic_nonce(content: bytes, key: bytes, place: str) -> bytes:
    """A nonce that only equal content in the same place shares.

    So equal content has equal sealed forms, and nobody has to remember which nonces were used. It
    tells nothing but that two forms are of equal content.
    """
    digest = hmac.new(key, digestmod="sha256")
    digest.update(b"mast.sealing.nonce\0" + place.encode() + b"\0" + content)
    return digest.digest()[:NONCE_BYTES]


def sealing_key(path: Path, entropy: Callable[[int], bytes]) -> bytes:
    """The 32 bytes in the file, which is made (mode 0600) if it is absent.

    Of several processes that make it at once one wins and all return the winner's key. A file of
    another owner, such as one of a Kubernetes Secret, may be read through its group: there is no
    other way to it. Raises OSError if the file cannot be read, is readable by others or is not 32
    bytes long.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        _create(path, entropy(KEY_BYTES))
        return _read(path)


def _bound_to(place: str, name: str) -> bytes:
    return f"{place} {name}".encode()


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        key = file.read(KEY_BYTES + 1)
    mode, ours = status.st_mode & 0o777, status.st_uid == os.geteuid()
    if mode & (0o077 if ours else 0o037):
        wanted = "0600" if ours else "0440"
        raise OSError(f"sealing key file {path}: mode {mode:04o}, want {wanted}")
    if len(key) != KEY_BYTES:
        raise OSError(f"sealing key file {path}: not {KEY_BYTES} bytes long")
    return key


def _create(path: Path, key: bytes) -> None:
    """Write beside and link into place: nobody ever reads half a key."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster
            os.link(draft, path)
    finally:
        os.unlink(draft)
