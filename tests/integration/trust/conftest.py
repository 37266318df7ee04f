"""An etcd, and a directory with a short name for sockets."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.etcd_server import EtcdServer, etcd_server


@pytest.fixture
def directory() -> Iterator[Path]:
    """Unix socket paths are short, pytest's directories are not."""
    with tempfile.TemporaryDirectory(prefix="tr-") as name:
        yield Path(name)


@pytest.fixture
async def etcd(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    async with etcd_server(tmp_path) as running:
        yield running
