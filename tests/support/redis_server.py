"""A real Redis for tests, on a port of its own."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import redis.asyncio as redis
from redis.exceptions import RedisError

from tests.support.etcd_server import free_port

STARTUP_SECONDS = 30


class RedisServer:
    """``address`` is ``HOST:PORT``, the same over restarts; nothing is kept on disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start and wait until it answers."""
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed: apt-get install redis-server")
        self._process = await asyncio.create_subprocess_exec(
            program,
            *("--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._directory)),
            *("--save", "", "--appendonly", "no"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(STARTUP_SECONDS):
            while not await self._answers():  # noqa: ASYNC110  another process
                await asyncio.sleep(0.02)

    async def _answers(self) -> bool:
        async with redis.Redis.from_url(f"redis://{self.address}") as client:
            with suppress(RedisError, OSError):
                return bool(await client.ping())
        return False

    async def kill(self) -> None:
        """End it; what it held is gone."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None


@asynccontextmanager
async def redis_server(directory: Path) -> AsyncIterator[RedisServer]:
    """A running Redis, killed at the end; skips the test if it is not installed."""
    server = RedisServer(directory)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()
