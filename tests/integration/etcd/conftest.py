"""A real etcd for each test, and a store on it; one for all tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from mast.common.etcd import EtcdConfig, Store, connect
from tests.support.etcd_server import EtcdServer, etcd_server
from tests.support.tcp_proxy import TcpProxy, tcp_proxy


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    async with etcd_server(tmp_path) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EtcdServer]:
    """Nobody ends or restarts it, and every test has a root of its own."""
    async with etcd_server(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture
async def proxy(server: EtcdServer) -> AsyncIterator[TcpProxy]:
    """What ``store`` goes through to reach ``server``."""
    async with tcp_proxy(server.endpoint) as between:
        yield between


@pytest.fixture
async def store(proxy: TcpProxy) -> AsyncIterator[Store]:
    config = EtcdConfig(endpoints=(proxy.endpoint,), timeout=timedelta(seconds=3))
    async with connect(config) as connected:
        yield connected


@pytest.fixture
async def direct(server: EtcdServer) -> AsyncIterator[Store]:
    """A second client, not through the proxy."""
    async with connect(EtcdConfig(endpoints=(server.endpoint,))) as connected:
        yield connected
