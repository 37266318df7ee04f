"""Sealing keys: in a backup under a passphrase, and tried on what it holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mast.cli.backup.sealing_keys import (
    locked,
    misfits,
    passphrase,
    read_key,
    unlocked,
    write_key,
)
from mast.cli.errors import CommandError
from mast.common.sealing import key_id
from tests.support.backups import authority, secret, written
from tests.support.pki import wall_clock

CA, SECRETS, OTHER = b"c" * 32, b"s" * 32, b"o" * 32
KEYS = {"ca": CA, "secrets": SECRETS}
PHRASE = "correct horse battery"


def entropy(count: int) -> bytes:
    return b"e" * count


def test_a_passphrase_opens_what_it_locked() -> None:
    record = locked(KEYS, PHRASE, entropy)
    assert unlocked(record, PHRASE) == KEYS
    text = json.dumps(record)
    assert PHRASE not in text
    assert "Y2Nj" not in text  # the CA's in base64
    with pytest.raises(CommandError, match="does not open"):
        unlocked(record, f"{PHRASE}!")
    with pytest.raises(CommandError, match="cannot be read"):
        unlocked(record | {"scrypt": {"n": 2**30, "r": 8, "p": 1}}, PHRASE)


def test_short_passphrases_are_refused() -> None:
    with pytest.raises(CommandError, match="shorter than 12"):
        locked(KEYS, "short", entropy)


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        pytest.param(KEYS, [], id="right"),
        pytest.param({}, [], id="none-at-hand"),
        pytest.param(
            KEYS | {"ca": OTHER},
            [f"the ca key of the backup is {key_id(CA)}, ours {key_id(OTHER)}"],
            id="ca",
        ),
        pytest.param(
            {"secrets": OTHER},
            [f"the secrets key of the backup is {key_id(SECRETS)}, ours {key_id(OTHER)}"],
            id="secrets",
        ),
    ],
)
def test_keys_are_tried(keys: dict[str, bytes], wrong: list[str], tmp_path: Path) -> None:
    backup = written(tmp_path / "b", [authority(CA, wall_clock())[0], secret(SECRETS)])
    assert misfits(backup, keys) == wrong


def test_what_a_right_key_does_not_open_is_told(tmp_path: Path) -> None:
    whole = secret(SECRETS)
    sealed = whole.value[:-1] + bytes([whole.value[-1] ^ 1])
    backup = written(tmp_path / "b", [type(whole)(whole.key, sealed, 4)])
    assert [each for each in misfits(backup, KEYS) if "is damaged" in each]


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "data" / "ca.key"
    write_key(path, CA)
    write_key(path, CA)
    assert (read_key(path), path.stat().st_mode & 0o777) == (CA, 0o600)
    with pytest.raises(CommandError, match=f"holds another key, {key_id(CA)}"):
        write_key(path, OTHER)
    path.write_bytes(b"short")
    with pytest.raises(CommandError, match="5 bytes long"):
        read_key(path)
    with pytest.raises(CommandError, match="cannot read sealing key"):
        read_key(tmp_path / "none")


def test_a_passphrase_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phrase").write_text(f"{PHRASE}\n")
    assert passphrase(tmp_path / "phrase") == PHRASE
    monkeypatch.setenv("MAST_BACKUP_PASSPHRASE", "from the environment")
    assert passphrase(None) == "from the environment"
    monkeypatch.delenv("MAST_BACKUP_PASSPHRASE")
    with pytest.raises(CommandError, match="no passphrase"):
        passphrase(None)
