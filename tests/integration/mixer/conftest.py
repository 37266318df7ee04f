"""A real etcd, its store, and ways to put configuration there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mast.common.etcd import EtcdConfig, Store, connect
from tests.support.etcd_server import EtcdServer, etcd_server
from tests.support.mixer_config import stored
from tests.support.sample_adapters import SAMPLE

Apply = Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of the samples' messages."""
    directory = tmp_path_factory.mktemp("gen")
    subprocess.run([sys.executable, SAMPLE / "compile.py", directory], check=True, timeout=120)
    return directory


@pytest.fixture
async def etcd(tmp_path: Path) -> AsyncIterator[EtcdServer]:
    async with etcd_server(tmp_path) as running:
        yield running


@pytest.fixture
async def store(etcd: EtcdServer) -> AsyncIterator[Store]:
    async with connect(EtcdConfig(endpoints=(etcd.endpoint,))) as connected:
        yield connected


@pytest.fixture
def apply(store: Store) -> Apply:
    """Stores the objects of YAML texts as Galley does."""

    async def put(*texts: str) -> None:
        for key, value in stored(*texts).items():
            await store.put(key, value)

    return put
