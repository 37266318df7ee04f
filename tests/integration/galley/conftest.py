"""A Galley for each test: on an etcd of its own, or with a root of its own on one for all."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.etcd_server import EtcdServer, etcd_server
from tests.support.galley_server import RunningGalley, galley_server

FLAGS = ("--max-txn-ops", "300")


@pytest.fixture
async def etcd(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    """One that the test may break."""
    async with etcd_server(tmp_path, flags=FLAGS) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EtcdServer]:
    async with etcd_server(tmp_path_factory.mktemp("etcd"), flags=FLAGS) as running:
        yield running


@pytest.fixture
async def galley(tmp_path: Path, shared_etcd: EtcdServer) -> AsyncIterator[RunningGalley]:
    """Alone below its root."""
    root = f"/{secrets.token_hex(8)}"
    async with galley_server(
        tmp_path, shared_etcd.endpoint, etcd_root=root, max_txn_ops=300
    ) as running:
        yield running


@pytest.fixture
async def lone_galley(tmp_path: Path, etcd: EtcdServer) -> AsyncIterator[RunningGalley]:
    """The only user of ``etcd``."""
    async with galley_server(tmp_path, etcd.endpoint, max_txn_ops=300) as running:
        yield running
