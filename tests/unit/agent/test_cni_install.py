"""The plugin's files on the node: put there, kept there, taken away (C6)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from mast.agent.store.cni.install import Installation

LIST = {"name": "net", "cniVersion": "1.0.0", "plugins": [{"type": "bridge"}]}


@pytest.fixture
def node(tmp_path: Path) -> Installation:
    for name in ("bin", "net.d"):
        (tmp_path / name).mkdir()
    entry = {"type": "mast-cni"}
    return Installation(tmp_path / "bin", tmp_path / "net.d", "/usr/bin/env python3", entry)


def types(node: Installation, name: str) -> list[str]:
    found = json.loads((node.configurations / name).read_text())
    return [each["type"] for each in found["plugins"]]


def test_put_there_and_taken_away(node: Installation) -> None:
    assert "no network configuration" in node.install()
    program = node.programs / "mast-cni"
    assert program.read_text().startswith("#!/usr/bin/env python3\n")
    assert program.stat().st_mode & 0o777 == 0o755
    (node.configurations / "10-net.conflist").write_text(json.dumps(LIST))
    assert node.install() == ""
    assert types(node, "10-net.conflist") == ["bridge", "mast-cni"]
    node.remove()
    assert types(node, "10-net.conflist") == ["bridge"]
    assert sorted(each.name for each in node.programs.iterdir()) == []
    assert [each.name for each in node.configurations.iterdir()] == ["10-net.conflist"]


def test_a_single_plugin_becomes_a_list(node: Installation) -> None:
    (node.configurations / "10-net.conf").write_text('{"name": "net", "type": "bridge"}')
    assert node.install() == ""
    assert [each.name for each in node.configurations.iterdir()] == ["10-net.conflist"]
    assert types(node, "10-net.conflist") == ["bridge", "mast-cni"]


def test_what_cannot_be_read_is_told_and_left(node: Installation) -> None:
    path = node.configurations / "10-net.conflist"
    path.write_text("{")
    assert str(path) in node.install()
    node.remove()
    assert path.read_text() == "{"


async def test_kept_there_until_the_end(node: Installation) -> None:
    """Another plugin that starts again writes its configuration anew, without us."""
    path = node.configurations / "10-net.conflist"
    path.write_text(json.dumps(LIST))
    stop, told = asyncio.Event(), asyncio.Queue[str]()
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(node.keep(stop, told.put_nowait))
        assert await told.get() == ""
        (node.programs / "mast-cni").unlink()
        path.write_text(json.dumps(LIST))
        while types(node, path.name) == ["bridge"] or not (node.programs / "mast-cni").exists():
            await told.get()
        path.unlink()
        while not await told.get():
            pass
        stop.set()
        await keeping
    assert not (node.programs / "mast-cni").exists()
