"""Files that are watched, replaced and read in pairs (citadel-and-agent.md B3.5, B3.6)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from mast.agent.store.files import FileWatch, read_if_there, text_if_there, write_atomically
from mast.agent.store.key_pairs import BadKeyPair, Mounted, read_pair, write_pair
from mast.agent.store.sockets import is_live, place_for
from tests.support.pki import Ca

QUICK = timedelta(milliseconds=20)


def watch(*paths: Path) -> FileWatch:
    return FileWatch([str(path) for path in paths], debounce=QUICK, poll=QUICK)


async def test_change_appearance_and_removal_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    watched = watch(path, tmp_path / "never")
    async with asyncio.timeout(30):
        path.write_text("one")
        await watched.changed()
        path.write_text("two, longer")
        await watched.changed()
        path.unlink()
        await watched.changed()


async def test_a_swapped_directory_link_is_noticed(tmp_path: Path) -> None:
    """The kubelet replaces ``..data``; the file's own path stays (B3.5)."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    data, path = tmp_path / "..data", tmp_path / "file"
    data.symlink_to("first")
    path.symlink_to("..data/file")
    watched = watch(path)
    fresh = tmp_path / "..data_tmp"
    fresh.symlink_to("second")
    fresh.rename(data)
    async with asyncio.timeout(30):
        await watched.changed()
    assert path.read_text() == "second"


async def test_changes_before_the_wait_count(tmp_path: Path) -> None:
    """Between a look at the file and the wait nothing is lost."""
    path = tmp_path / "file"
    path.write_text("one")
    watched = watch(path)
    path.write_text("changed")
    async with asyncio.timeout(30):
        await watched.changed()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await watched.changed()


def test_absent_files_are_empty(tmp_path: Path) -> None:
    assert read_if_there(tmp_path / "no") is None
    assert read_if_there(tmp_path / "no" / "deeper") is None
    assert text_if_there(tmp_path / "no") == ""
    (tmp_path / "file").write_text("x")
    assert text_if_there(tmp_path / "file") == "x"
    assert read_if_there(tmp_path / "file" / "deeper") is None
    with pytest.raises(IsADirectoryError):
        read_if_there(tmp_path)


def test_written_at_once_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["file"], "no temporary file stays"


def test_pairs(tmp_path: Path) -> None:
    ca = Ca.root()
    pair, other = ca.leaf(dns=["a"]), ca.leaf(dns=["b"])
    mounted = Mounted(str(tmp_path))
    assert not mounted.complete()
    write_pair(tmp_path, pair.chain, pair.key, ca.pem, 0o600)
    chain, key, roots = mounted.files
    assert mounted.complete()
    assert read_pair(chain, key) == (pair.chain, pair.key)
    assert Path(roots).read_bytes() == ca.pem
    Path(key).write_bytes(other.key)
    with pytest.raises(BadKeyPair, match=r"key.pem: not the key of the certificate"):
        read_pair(chain, key)
    Path(key).write_bytes(b"nonsense")
    with pytest.raises(BadKeyPair, match=r"cert-chain.pem, .*key.pem"):
        read_pair(chain, key)
    Path(key).unlink()
    with pytest.raises(BadKeyPair, match=r"key.pem: no such file"):
        read_pair(chain, key)


async def test_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = "deep/er/socket"
    assert not is_live(path)
    with place_for(path) as address:
        assert address == "unix:deep/er/socket"
        server = await asyncio.start_unix_server(lambda _, writer: writer.close(), path)
        assert is_live(path)
        server.close()
    assert not Path(path).exists()
    Path(path).touch()
    with place_for(path):
        assert not Path(path).exists(), "a stale socket is taken away"


async def test_files_that_cannot_be_looked_at_are_counted(tmp_path: Path) -> None:
    """Once each until they can: the watch goes on with the others (B3, metrics)."""
    loop, other, failures = tmp_path / "loop", tmp_path / "other", []
    loop.symlink_to(loop)
    watched = FileWatch(
        [str(loop), str(other)], debounce=QUICK, poll=QUICK, failed=lambda: failures.append(1)
    )
    async with asyncio.timeout(30):
        other.write_text("new")
        await watched.changed()
        assert len(failures) == 1
        loop.unlink()
        loop.write_text("a file")
        await watched.changed()
    assert len(failures) == 1
