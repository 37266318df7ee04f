"""What a replica publishes of its configuration, while etcd comes and goes (mixer.md D7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from mast.common.etcd import Lease, Unavailable
from mast.common.latest import Latest
from mast.mixer.store.status import StatusPublisher
from mastapi.status.v1.status_pb2 import MixerStatus


class FakeStore:
    """Grants no lease the first time, then as many as are asked for."""

    def __init__(self) -> None:
        self.leases: list[Lease] = []
        self.puts: asyncio.Queue[tuple[str, int, int]] = asyncio.Queue()
        self.granted = asyncio.Event()
        self._asked = 0

    @asynccontextmanager
    async def lease(self, ttl: timedelta) -> AsyncIterator[Lease]:
        self._asked += 1
        if self._asked == 1:
            raise Unavailable("lease grant", "nowhere", "away")
        self.leases.append(Lease(self._asked, ttl))
        self.granted.set()
        yield self.leases[-1]

    async def put(self, key: str, value: bytes, lease: int) -> None:
        self.puts.put_nowait((key, MixerStatus.FromString(value).snapshot, lease))

    async def written(self) -> tuple[str, int, int]:
        """Key, snapshot and lease of the next write."""
        async with asyncio.timeout(30):
            return await self.puts.get()


async def test_the_newest_status_is_there_on_a_lease() -> None:
    """Nothing before there is something, each change, and all again on the next lease."""
    found: Latest[MixerStatus | None] = Latest(None)
    store = FakeStore()
    given: Any = store
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(StatusPublisher(given, found, lambda: 0.0).run())
        async with asyncio.timeout(30):
            await store.granted.wait()
        assert store.puts.empty()
        found.publish(MixerStatus(replica="m-1", snapshot=1))
        assert await store.written() == ("status/mixer/m-1", 1, 2)
        found.publish(MixerStatus(replica="m-1", snapshot=2))
        assert await store.written() == ("status/mixer/m-1", 2, 2)
        store.leases[0].lost.set()
        assert await store.written() == ("status/mixer/m-1", 2, 3)
        running.cancel()
