"""What is read of a directory of configuration."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

from mast.galley.core.documents import TEXT_LIMIT_BYTES
from mast.galley.store.files import FileTree


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
    assert {name: len(content) for name, content in found.items()} == {
        "good.yaml": 5,
        "huge.yaml": TEXT_LIMIT_BYTES + 1,
    }
