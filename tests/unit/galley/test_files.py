"""What is read of a directory of configuration."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

from mast.galley.core.documents import TEXT_LIMIT_BYTES
from mast.galley.store.files import FileTree, Found


async def test_nothing_endless_is_read(tmp_path: Path) -> None:
    """Of a pipe nothing, of a huge file as much as tells that it is huge."""
    (tmp_path / "good.yaml").write_text("a: 1\n")
    with (tmp_path / "huge.yaml").open("wb") as huge:
        huge.truncate(1 << 32)
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "link.yaml").symlink_to("/dev/zero")
    (tmp_path / "dangling.yaml").symlink_to("nowhere")
    async with asyncio.timeout(30):
        found = await FileTree(tmp_path, quiet=timedelta(0)).next()
    assert {name: len(content) for name, content in found.contents.items()} == {
        "good.yaml": 5,
        "huge.yaml": TEXT_LIMIT_BYTES + 1,
    }


async def test_what_is_read_is_of_one_commit(tmp_path: Path) -> None:
    """git-sync puts a work tree beside the last one and swaps the link; a link that is swapped
    while it is read leads to the new one at once."""
    for commit in ("a" * 40, "b" * 40):
        tree = tmp_path / commit / "mesh"
        tree.mkdir(parents=True)
        (tree / "x.yaml").write_text(commit)
    link = tmp_path / "current"
    link.symlink_to("a" * 40)
    files = FileTree(link / "mesh", quiet=timedelta(0), poll=timedelta(milliseconds=1))
    async with asyncio.timeout(30):
        assert await files.next() == Found({"x.yaml": b"a" * 40}, "a" * 40)
        (tmp_path / "new").symlink_to("b" * 40)
        (tmp_path / "new").rename(link)
        assert await files.next() == Found({"x.yaml": b"b" * 40}, "b" * 40)
