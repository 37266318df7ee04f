"""Sealing records, and the file with the key."""

from __future__ import annotations

import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mast.common.sealing import (
    NONCE_BYTES,
    DamagedSeal,
    Sealed,
    WrongSealingKey,
    key_id,
    seal,
    sealing_key,
    synthetic_nonce,
    unseal,
)

KEY, OTHER = bytes(range(32)), bytes(32)
NONCE = b"n" * NONCE_BYTES


def test_what_is_sealed_is_opened() -> None:
    sealed = seal(b"content", KEY, NONCE, "here")
    assert unseal(sealed, KEY, "here") == b"content"
    assert (sealed.key_id, sealed.nonce) == (key_id(KEY), NONCE)
    assert b"content" not in sealed.ciphertext


def test_a_record_counts_in_its_place_only() -> None:
    with pytest.raises(DamagedSeal, match=r"there, sealed with key .* is damaged"):
        unseal(seal(b"content", KEY, NONCE, "here"), KEY, "there")


def test_a_wrong_key_names_both() -> None:
    with pytest.raises(WrongSealingKey) as caught:
        unseal(seal(b"content", KEY, NONCE, "here"), OTHER, "here")
    assert (caught.value.sealed_with, caught.value.ours) == (key_id(KEY), key_id(OTHER))
    assert "here" in str(caught.value)


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param(Sealed(key_id(KEY), NONCE, b""), id="empty"),
        pytest.param(Sealed(key_id(KEY), b"", b"x" * 32), id="no-nonce"),
        pytest.param(Sealed(key_id(KEY), NONCE, b"x" * 32), id="other-content"),
    ],
)
def test_damage_is_told(sealed: Sealed) -> None:
    with pytest.raises(DamagedSeal):
        unseal(sealed, KEY, "here")


def test_only_equal_content_in_one_place_shares_a_nonce() -> None:
    nonces = [
        synthetic_nonce(content, key, place)
        for content in (b"a", b"b")
        for key in (KEY, OTHER)
        for place in ("here", "there")
    ]
    assert len(set(nonces)) == 8
    assert {len(each) for each in nonces} == {NONCE_BYTES}
    assert synthetic_nonce(b"a", KEY, "here") == nonces[0]


def test_made_if_absent_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "ca.key"
    key = sealing_key(path, secrets.token_bytes)
    assert len(key) == 32
    assert path.read_bytes() == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sealing_key(path, secrets.token_bytes) == key
    assert [p.name for p in path.parent.iterdir()] == ["ca.key"]


def test_of_many_that_make_it_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "ca.key"
    with ThreadPoolExecutor(8) as threads:
        keys = set(threads.map(lambda _: sealing_key(path, secrets.token_bytes), range(32)))
    assert keys == {path.read_bytes()}


@pytest.mark.parametrize(
    ("content", "mode", "named"),
    [
        pytest.param(b"k" * 31, 0o600, "not 32 bytes", id="short"),
        pytest.param(b"k" * 33, 0o600, "not 32 bytes", id="long"),
        pytest.param(b"k" * 32, 0o640, "mode 0640, want 0600", id="group-readable"),
        pytest.param(b"k" * 32, 0o604, "mode 0604, want 0600", id="world-readable"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, content: bytes, mode: int, named: str) -> None:
    path = tmp_path / "ca.key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(OSError, match=named) as caught:
        sealing_key(path, secrets.token_bytes)
    assert str(path) in str(caught.value)
    assert "kkk" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_private_files_are_accepted(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "ca.key"
    path.write_bytes(b"k" * 32)
    path.chmod(mode)
    assert sealing_key(path, secrets.token_bytes) == b"k" * 32


@pytest.mark.parametrize(
    ("mode", "fits"),
    [
        pytest.param(0o440, True, id="by-its-group"),
        pytest.param(0o460, False, id="group-writable"),
        pytest.param(0o444, False, id="world-readable"),
    ],
)
def test_files_of_another_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, fits: bool
) -> None:
    """The kubelet mounts Secrets as root's, for the group of the pod."""
    path = tmp_path / "ca.key"
    path.write_bytes(b"k" * 32)
    path.chmod(mode)
    owner = path.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    if fits:
        assert sealing_key(path, secrets.token_bytes) == b"k" * 32
    else:
        with pytest.raises(OSError, match=f"mode {mode:04o}, want 0440"):
            sealing_key(path, secrets.token_bytes)
