"""The two sealing keys: in a backup under a passphrase, at hand in files, and whether they fit."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mast.citadel.store.authorities import AUTHORITY_KEY
from mast.cli.backup.archive import Backup
from mast.cli.backup.contents import sealed
from mast.cli.errors import CommandError
from mast.common.sealing import (
    KEY_BYTES,
    NONCE_BYTES,
    DamagedSeal,
    WrongSealingKey,
    key_id,
    unseal,
)

SealingKeys = Mapping[str, bytes]
"""32 bytes by name, ``ca`` and ``secrets``."""

SHORTEST: Final = 12
_PLACE: Final = b"mast backup: sealing keys"
_COST: Final = {"n": 2**16, "r": 8, "p": 1}
_MOST: Final = {"n": 2**20, "r": 16, "p": 8}
"""Beyond these a file would have us compute for minutes, or take all the memory."""


def locked(keys: SealingKeys, passphrase: str, entropy: Callable[[int], bytes]) -> dict[str, Any]:
    """The keys as they stand in a file: AES-256-GCM under what scrypt makes of the passphrase."""
    if len(passphrase) < SHORTEST:
        raise CommandError(f"the passphrase is shorter than {SHORTEST} characters", status=2)
    salt, nonce = entropy(16), entropy(NONCE_BYTES)
    content = json.dumps({name: _text(key) for name, key in keys.items()}).encode()
    box = AESGCM(_derived(passphrase, salt, _COST)).encrypt(nonce, content, _PLACE)
    return {"scrypt": _COST, "salt": _text(salt), "nonce": _text(nonce), "sealed": _text(box)}


def unlocked(record: Mapping[str, Any], passphrase: str) -> SealingKeys:
    """The keys of a file; CommandError for another passphrase."""
    try:
        cost = {name: int(record["scrypt"][name]) for name in _COST}
        if any(not 0 < cost[name] <= most for name, most in _MOST.items()):
            raise ValueError(f"scrypt with {cost}")
        salt, nonce, box = (
            base64.b64decode(record[name], validate=True) for name in ("salt", "nonce", "sealed")
        )
        content = AESGCM(_derived(passphrase, salt, cost)).decrypt(nonce, box, _PLACE)
    except InvalidTag as error:
        raise CommandError("the passphrase does not open the keys of the backup") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"the keys of the backup cannot be read: {error}") from error
    return {name: base64.b64decode(key) for name, key in json.loads(content).items()}


def misfits(backup: Backup, keys: SealingKeys) -> list[str]:
    """What of a backup the keys do not open, tried on everything that is sealed; [] is well.

    Nothing is said of what no key is at hand for.
    """
    wrong: dict[str, None] = {}
    for item in backup.items:
        for name, each in sealed(item.key, item.value):
            if name not in keys:
                continue
            try:
                unseal(each, keys[name], "ca/authority" if item.key == AUTHORITY_KEY else item.key)
            except WrongSealingKey as error:
                wrong[f"the {name} key of the backup is {error.sealed_with}, ours {error.ours}"] = (
                    None
                )
            except DamagedSeal as error:
                wrong[str(error)] = None
    return list(wrong)


def read_key(path: Path) -> bytes:
    """A sealing key from its file, which is never made; CommandError if it is none."""
    try:
        found = path.read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read sealing key {path}: {error.strerror}") from error
    if len(found) != KEY_BYTES:
        raise CommandError(f"sealing key {path} is {len(found)} bytes long, not {KEY_BYTES}")
    return found


def write_key(path: Path, key: bytes) -> None:
    """Put a key into a file, mode 0600; one that is there already has to be the same."""
    if path.exists():
        if read_key(path) != key:
            raise CommandError(f"{path} holds another key, {key_id(read_key(path))}")
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(key)


def passphrase(file: Path | None) -> str:
    """From the file, else from $MAST_BACKUP_PASSPHRASE; CommandError if neither has one."""
    try:
        found = file.read_text().strip() if file else os.environ.get(VARIABLE, "")
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from error
    if not found:
        raise CommandError("no passphrase", hint=f"give --passphrase-file, or {VARIABLE}", status=2)
    return found


VARIABLE: Final = "MAST_BACKUP_PASSPHRASE"


def _derived(passphrase: str, salt: bytes, cost: Mapping[str, int]) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, **cost).derive(passphrase.encode())


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
