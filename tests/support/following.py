"""What tests of followers share: folding batches, waiting, compaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc.aio
from etcd.api.etcdserverpb import rpc_pb2, rpc_pb2_grpc

from mast.common.etcd import Batch, Store

SECONDS = 30


class Folded:
    """A consumer: the state that batches add up to, and checks of what they promise."""

    def __init__(self) -> None:
        self.state: dict[str, bytes] = {}
        self.batches: list[Batch] = []
        self._last: dict[str, int] = {}

    def add(self, batch: Batch) -> None:
        self.batches.append(batch)
        keys = [change.key for change in batch.changes]
        assert len(keys) == len(set(keys)), "one change per key in a batch"
        for change in batch.changes:
            assert change.mod_revision > self._last.get(change.key, 0), "told twice or out of order"
            assert change.mod_revision <= batch.revision
            assert change.previous == self.state.get(change.key)
            self._last[change.key] = change.mod_revision
            if change.value is None:
                del self.state[change.key]
            else:
                self.state[change.key] = change.value

    async def until(self, batches: AsyncIterator[Batch], reached: Callable[[Folded], bool]) -> None:
        """Fold until the condition holds on a synced state."""
        async with asyncio.timeout(SECONDS):
            while not (self.batches and self.batches[-1].synced and reached(self)):
                self.add(await anext(batches))


async def contents(store: Store, prefix: str) -> dict[str, bytes]:
    listing = await store.list(prefix)
    return {entry.key: entry.value for entry in listing.entries}


async def compact(endpoint: str, revision: int) -> None:
    """Throw away the history before a revision."""
    async with grpc.aio.insecure_channel(endpoint) as channel:
        request = rpc_pb2.CompactionRequest(revision=revision, physical=True)
        await rpc_pb2_grpc.KVStub(channel).Compact(request, timeout=10)
