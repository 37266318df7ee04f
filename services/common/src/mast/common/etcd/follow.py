"""Following a prefix: list, then watch, and recover from everything that can happen meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc.aio
import structlog

from mast.common.backoff import Backoff
from mast.common.etcd.codec import Codec
from mast.common.etcd.fold import Fold
from mast.common.etcd.model import Batch, Compacted, EtcdError, Rejected
from mast.common.etcd.stubs import kv_pb2, rpc_pb2
from mast.common.etcd.transport import Endpoint, Transport

log = structlog.get_logger()

PAGE = 500
# End the stream if the member has lost its leader, so that another member is asked.
_REQUIRE_LEADER = ("hasleader", "true")

WatchCall = grpc.aio.StreamStreamCall[rpc_pb2.WatchRequest, rpc_pb2.WatchResponse]


class Follower:
    """Keeps a Fold equal to what etcd holds in a range of keys, as long as ``run`` runs."""

    def __init__(self, transport: Transport, codec: Codec, key: str, *, prefix: bool) -> None:
        self._transport = transport
        self._codec = codec
        self._name = key
        self._start, self._end = codec.range(key, prefix=prefix)
        self._fold = Fold()
        self._cluster = 0
        self._news = asyncio.Event()

    async def next(self) -> Batch:
        """What changed since the batch before, as soon as there is something."""
        while not self._fold.ready:
            self._news.clear()
            await self._news.wait()
        return self._fold.take()

    async def run(self) -> None:
        """Feed the fold; never returns, whatever etcd does."""
        backoff = Backoff(timedelta(milliseconds=50), timedelta(seconds=3))
        broken = False
        while True:
            try:
                if not self._fold.complete_listing:
                    await self._list()
                async with self._watching() as (endpoint, call):
                    if broken:
                        log.info("watch.resumed", prefix=self._name, revision=self._fold.revision)
                    broken = False
                    backoff.reset()
                    await self._read(endpoint, call)
            except EtcdError as error:
                if isinstance(error, Compacted):
                    log.warning("watch.compacted", prefix=self._name, detail=str(error))
                    self._fold.begin()
                elif not broken:
                    log.warning("watch.broken", prefix=self._name, detail=str(error))
                    broken = True
                pause = backoff.next(random.random())  # noqa: S311
                await asyncio.sleep(pause.total_seconds())

    async def _list(self) -> None:
        """Read all pages at one revision into the fold."""
        self._fold.begin()
        start, revision = self._start, 0
        while True:
            request = rpc_pb2.RangeRequest(
                key=start, range_end=self._end, limit=PAGE, revision=revision
            )
            page = await self._transport.call("list", lambda e: e.kv.Range, request, again=True)
            revision = revision or page.header.revision
            self._cluster = page.header.cluster_id
            self._fold.page(map(self._codec.entry, page.kvs), revision)
            if not page.more:
                break
            self._news.set()
            start = page.kvs[-1].key + b"\0"
        self._fold.complete(revision)
        self._news.set()

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[tuple[Endpoint, WatchCall]]:
        """An accepted watch that continues after the fold's revision."""
        transport = self._transport
        endpoint = await transport.connected("watch")
        create = rpc_pb2.WatchCreateRequest(
            key=self._start,
            range_end=self._end,
            start_revision=self._fold.revision + 1,
            progress_notify=True,
            fragment=True,
        )
        call: WatchCall | None = None
        try:
            with transport.streaming("watch", endpoint):
                async with asyncio.timeout(transport.timeout.total_seconds()):
                    metadata = await transport.metadata(endpoint)
                    call = endpoint.watch.Watch(metadata=(*metadata, _REQUIRE_LEADER))
                    await call.write(rpc_pb2.WatchRequest(create_request=create))
                    created = await self._next(endpoint, call)
                self._check(created.header)
                transport.succeeded(endpoint)
                yield endpoint, call
        finally:
            if call is not None:
                call.cancel()

    def _check(self, header: rpc_pb2.ResponseHeader) -> None:
        """What is known must come from this store; one restored from a backup is another."""
        if header.revision < self._fold.revision or header.cluster_id != self._cluster:
            raise Compacted("watch", "the store was restored or replaced")

    async def _read(self, endpoint: Endpoint, call: WatchCall) -> None:
        """Fold events until the stream ends with an exception."""
        events: list[kv_pb2.Event] = []
        while True:
            response = await self._next(endpoint, call)
            events += response.events
            if response.fragment:
                continue
            if events:
                self._fold.changed(map(self._codec.event, events))
                events = []
                if self._fold.ready:
                    self._news.set()
            else:
                self._fold.advanced(response.header.revision)

    async def _next(self, endpoint: Endpoint, call: WatchCall) -> rpc_pb2.WatchResponse:
        response = await call.read()
        if not isinstance(response, rpc_pb2.WatchResponse):
            raise asyncio.InvalidStateError
        if response.compact_revision:
            raise Compacted("watch", f"compacted up to revision {response.compact_revision}")
        if response.canceled:
            reason = response.cancel_reason
            self._transport.forget_stale_token(reason)
            if "no leader" in reason:
                self._transport.avoid(endpoint, reason)
            raise Rejected("watch", endpoint.address, "CANCELLED", reason)
        return response
