"""The shared state: reading, writing, following, leases and leadership in etcd, for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    aclosing,
    asynccontextmanager,
    contextmanager,
)
from datetime import UTC, datetime, timedelta
from typing import Any

from mast.common.etcd.codec import Codec
from mast.common.etcd.election import Leadership, elect, lead, nobody
from mast.common.etcd.follow import PAGE, Follower
from mast.common.etcd.lease import Lease, grant, keep, revoke
from mast.common.etcd.model import (
    Batch,
    Compacted,
    Compare,
    Conflict,
    Delete,
    Entry,
    EtcdConfig,
    Health,
    Listing,
    Put,
    TxnResult,
    Unavailable,
)
from mast.common.etcd.stubs import rpc_pb2
from mast.common.etcd.transport import Transport

_LIST_ATTEMPTS = 5
# Within etcd's default of 128 operations.
_KEYS_PER_TXN = 100


def _utc_now() -> datetime:
    return datetime.now(tz=UTC)  # noqa: TID251


@asynccontextmanager
async def connect(
    config: EtcdConfig, *, now: Callable[[], datetime] = _utc_now
) -> AsyncIterator[Store]:
    """The store at these endpoints, whether they answer already or not.

    Connections are sought, lost and found again in the background; ``health`` tells. Everything
    begun with the store (followers, keepalives) ends with the block. ``now`` only dates ``health``.
    Raises OSError if a TLS file cannot be read.
    """
    transport = Transport(config, now)
    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(transport.probe(), name="etcd probe")
            store = Store(transport, Codec(config.root), tasks)
            try:
                yield store
            except Exception as error:  # noqa: BLE001 - raised below, not as a group of one
                failure = error
            finally:
                running.cancel()
                store.stop()
    finally:
        await transport.close()
    if failure is not None:
        raise failure


class Store:
    """Keys are relative to the root. Every call ends within the configured timeout.

    Calls raise Unavailable (etcd did not answer; a write may have happened all the same) or
    Rejected (etcd refused; the message says why).
    """

    def __init__(self, transport: Transport, codec: Codec, tasks: asyncio.TaskGroup) -> None:
        self._transport = transport
        self._codec = codec
        self._tasks = tasks
        self._background: set[asyncio.Task[None]] = set()

    @property
    def health(self) -> Health:
        """Whether etcd answers; asked every few seconds."""
        return self._transport.health.value

    async def health_after(self, seen: Health) -> Health:
        """The health as soon as it is another object than ``seen``."""
        return await self._transport.health.after(seen)

    async def get(self, key: str) -> Entry | None:
        """The entry of a key, None if there is none; linearizable."""
        request = rpc_pb2.RangeRequest(key=self._codec.key(key))
        response = await self._transport.call("get", lambda e: e.kv.Range, request, again=True)
        return self._codec.entry(response.kvs[0]) if response.kvs else None

    async def get_many(self, keys: Sequence[str], revision: int = 0) -> dict[str, Entry]:
        """The entries of those keys that exist, a hundred at each revision; linearizable.

        With a ``revision`` all of them as they were then; Compacted if nobody knows any more.
        """
        found: dict[str, Entry] = {}
        for start in range(0, len(keys), _KEYS_PER_TXN):
            request = self._codec.gets(keys[start : start + _KEYS_PER_TXN], revision)
            response = await self._transport.call("get", lambda e: e.kv.Txn, request, again=True)
            for result in response.responses:
                for kv in result.response_range.kvs:
                    entry = self._codec.entry(kv)
                    found[entry.key] = entry
        return found

    async def cluster_id(self) -> int:
        """Which etcd this is: members of one cluster say the same, another cluster something else.

        Every user may ask.
        """
        request = rpc_pb2.RangeRequest(key=self._codec.key(""), keys_only=True)
        response = await self._transport.call("get", lambda e: e.kv.Range, request, again=True)
        return response.header.cluster_id

    async def list(self, prefix: str, page: int = PAGE) -> Listing:
        """Everything under a prefix at one revision, read in pages of at most ``page`` entries."""
        for _ in range(_LIST_ATTEMPTS):
            try:
                return await self._list(prefix, page)
            except Compacted as error:
                compacted = error
        raise Unavailable("list", "all endpoints", f"compacted while reading: {compacted}")

    async def _list(self, prefix: str, page: int) -> Listing:
        entries: list[Entry] = []
        revision = 0
        async with aclosing(self.pages(prefix, page)) as pages:
            async for each in pages:
                entries += each.entries
                revision = each.revision
        return Listing(tuple(entries), revision)

    async def pages(
        self, prefix: str, page: int = PAGE, revision: int = 0
    ) -> AsyncGenerator[Listing, None]:
        """Everything under a prefix at one revision, page by page; use it under ``aclosing``.

        That is the newest one unless it is given, as it is to read several prefixes as they were at
        the same time. There is at least one page. Raises Compacted if the revision is compacted
        meanwhile.
        """
        start, end = self._codec.range(prefix, prefix=True)
        while True:
            request = rpc_pb2.RangeRequest(key=start, range_end=end, limit=page, revision=revision)
            response = await self._transport.call("list", lambda e: e.kv.Range, request, again=True)
            revision = revision or response.header.revision
            yield Listing(tuple(map(self._codec.entry, response.kvs)), revision)
            if not response.more:
                return
            start = response.kvs[-1].key + b"\0"

    async def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """Write a key whatever it holds; returns the revision of the write."""
        request = rpc_pb2.PutRequest(key=self._codec.key(key), value=value, lease=lease)
        response = await self._transport.call("put", lambda e: e.kv.Put, request)
        return response.header.revision

    async def compare_and_swap(self, key: str, value: bytes, expected: int, lease: int = 0) -> int:
        """Write a key if its mod revision is ``expected`` (0: if it is missing), else Conflict.

        Returns the revision of the write.
        """
        result = await self.txn([Compare.unchanged(key, expected)], [Put(key, value, lease)])
        if not result.succeeded:
            raise await self._conflict(key, expected)
        return result.revision

    async def delete(self, key: str, expected: int | None = None) -> bool:
        """Delete a key, with ``expected`` only at that mod revision (else Conflict).

        Returns whether it existed.
        """
        if expected is not None:
            result = await self.txn([Compare.unchanged(key, expected)], [Delete(key)])
            if not result.succeeded:
                raise await self._conflict(key, expected)
            return expected != 0
        request = rpc_pb2.DeleteRangeRequest(key=self._codec.key(key))
        response = await self._transport.call("delete", lambda e: e.kv.DeleteRange, request)
        return response.deleted > 0

    async def txn(
        self,
        compares: Sequence[Compare],
        success: Sequence[Put | Delete],
        failure: Sequence[Put | Delete] = (),
    ) -> TxnResult:
        """Do ``success`` if all comparisons hold, else ``failure``; all of it or nothing.

        Rejected if there are more operations than the server allows (``--max-txn-ops``) or a key
        is written twice.
        """
        request = self._codec.txn(compares, success, failure)
        response = await self._transport.call("txn", lambda e: e.kv.Txn, request)
        return TxnResult(response.succeeded, response.header.revision)

    async def _conflict(self, key: str, expected: int) -> Conflict:
        entry = await self.get(key)
        return Conflict(key, expected, 0 if entry is None else entry.mod_revision)

    def follow(self, prefix: str) -> AsyncGenerator[Batch, None]:
        """Everything under a prefix, then its changes; use it under ``aclosing``.

        The first batches are the listing (the last of them ``synced``, even if it is empty), each
        later one holds what changed since. A slow reader gets fewer, conflated batches: one change
        per key. After a compaction or a lost connection only differences come. Nothing is lost,
        nothing told twice. It never ends by itself: while etcd is away it waits.
        """
        return self._follow(prefix, prefix=True)

    def follow_key(self, key: str) -> AsyncGenerator[Batch, None]:
        """Like ``follow``, for one key."""
        return self._follow(key, prefix=False)

    async def _follow(self, key: str, *, prefix: bool) -> AsyncGenerator[Batch, None]:
        follower = Follower(self._transport, self._codec, key, prefix=prefix)
        with self.background(follower.run(), f"follow {key}"):
            while True:
                yield await follower.next()

    @asynccontextmanager
    async def lease(self, ttl: timedelta, *, revoked: bool = True) -> AsyncIterator[Lease]:
        """A lease renewed within the block and revoked, with its keys, at its end.

        Unless ``revoked``, it is just not renewed any more at the end: its keys stay up to ``ttl``
        so that a successor can adopt them. ``lease.lost`` is set when it may have expired: what
        hung on it must be written again on a new one. Raises Unavailable if it cannot be granted.
        """
        lease, alive_until = await grant(self._transport, ttl)
        try:
            with self.background(keep(self._transport, lease, alive_until), f"lease {lease.id}"):
                yield lease
        finally:
            if revoked:
                await revoke(self._transport, lease)

    async def expiring(self, ttl: timedelta) -> int:
        """The id of a lease that nobody renews: its keys are gone after ``ttl``, rounded up."""
        return (await grant(self._transport, ttl))[0].id

    def elect(
        self,
        what: str,
        identity: str,
        ttl: timedelta = timedelta(seconds=10),
        outranks: Callable[[str], bool] = nobody,
    ) -> AbstractAsyncContextManager[Leadership]:
        """``async with store.elect(…) as leadership``: wait for it, then lead (see ``elect``)."""
        return elect(self, what, identity, ttl, outranks)

    async def lead(
        self,
        what: str,
        identity: str,
        work: Callable[[Leadership], Awaitable[None]],
        ttl: timedelta = timedelta(seconds=10),
        outranks: Callable[[str], bool] = nobody,
    ) -> None:
        """Run ``work`` whenever this process leads, cancel it when it does not (see ``lead``)."""
        await lead(self, what, identity, ttl, work, outranks)

    @contextmanager
    def background(self, work: Coroutine[Any, Any, None], name: str) -> Iterator[None]:
        """Run ``work`` beside the block; its crash ends the whole ``connect`` block."""
        task = self._tasks.create_task(work, name=name)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        try:
            yield
        finally:
            task.cancel()

    def stop(self) -> None:
        """Cancel everything in the background."""
        for task in self._background:
            task.cancel()
