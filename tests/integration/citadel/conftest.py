"""A real etcd, a short directory for sockets, and a Citadel on them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mast.common.etcd import EtcdConfig, Store, connect
from tests.integration.citadel.process import Citadel, citadel
from tests.support.etcd_server import EtcdServer, etcd_server


@pytest.fixture
def directory() -> Iterator[Path]:
    """Unix socket paths are short, pytest's directories are not."""
    with tempfile.TemporaryDirectory(prefix="ca-") as name:
        yield Path(name)


@pytest.fixture
async def etcd(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    async with etcd_server(tmp_path) as running:
        yield running


@pytest.fixture
async def store(etcd: EtcdServer) -> AsyncIterator[Store]:
    async with connect(EtcdConfig(endpoints=(etcd.endpoint,))) as connected:
        yield connected


@pytest.fixture
async def ca(etcd: EtcdServer, directory: Path) -> AsyncIterator[Citadel]:
    async with citadel(etcd.endpoint, directory) as running:
        yield running
