"""The sealing key's file."""

from __future__ import annotations

import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mast.citadel.store.sealing_key import sealing_key


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
