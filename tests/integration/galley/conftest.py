"""A real etcd and a Galley on it for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.etcd_server import EtcdServer, etcd_server
from tests.support.galley_server import RunningGalley, galley_server


@pytest.fixture
async def etcd(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    async with etcd_server(tmp_path, flags=("--max-txn-ops", "300")) as running:
        yield running


@pytest.fixture
async def galley(tmp_path: Path, etcd: EtcdServer) -> AsyncIterator[RunningGalley]:
    async with galley_server(tmp_path, etcd.endpoint, max_txn_ops=300) as running:
        yield running
