"""One etcd for all tests of this directory that run in a process; each has a root of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.etcd_server import EtcdServer, etcd_server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def etcd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EtcdServer]:
    async with etcd_server(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture
def root() -> str:
    """A root of its own in the store."""
    return f"/{secrets.token_hex(8)}"
