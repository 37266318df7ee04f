"""Publishes what this replica knows of its proxies under `status/proxies/`, on a lease."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd import Conflict, EtcdError, Lease, Store
from mast.common.keys import proxy_status_key
from mastapi.status.v1.status_pb2 import ProxyStatus

log = structlog.get_logger()

Make = Callable[[], Awaitable[ProxyStatus]]


@dataclass
class StatusPublisher:
    """Conflates: however often a proxy's state changes, it is written once per `every`.

    Statuses disappear with the lease, `ttl` after this replica died.
    """

    store: Store
    random: Callable[[], float]
    every: timedelta = timedelta(seconds=1)
    ttl: timedelta = timedelta(seconds=30)
    _wanted: dict[str, tuple[object, Make]] = field(default_factory=dict)
    _dirty: set[str] = field(default_factory=set)
    _written: dict[str, int] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self, node_id: str, connection: object, make: Make) -> None:
        """The state of a proxy may have changed; `make` tells it when it is written."""
        self._wanted[node_id] = connection, make
        self._dirty.add(node_id)
        self._wake.set()

    def gone(self, node_id: str, connection: object) -> None:
        """That connection is over; the proxy may have made another one since."""
        if node_id in self._wanted and self._wanted[node_id][0] is connection:
            del self._wanted[node_id]
            self._dirty.add(node_id)
            self._wake.set()

    async def run(self) -> None:
        """Publish for ever; etcd may come and go."""
        backoff = Backoff(timedelta(milliseconds=500), timedelta(seconds=15))
        silent = False
        while True:
            try:
                async with self.store.lease(self.ttl) as lease:
                    if silent:
                        log.info("status.resumed")
                    silent = False
                    backoff.reset()
                    await self._publish(lease)
            except EtcdError as error:
                if not silent:
                    log.warning("status.interrupted", detail=str(error))
                silent = True
                await asyncio.sleep(backoff.next(self.random()).total_seconds())

    async def _publish(self, lease: Lease) -> None:
        """Until the lease is lost: everything at first, then what changes."""
        self._written.clear()
        self._dirty.update(self._wanted)
        while not lease.lost.is_set():
            for node_id in tuple(self._dirty):
                self._dirty.discard(node_id)
                try:
                    await self._write(node_id, lease)
                except EtcdError:
                    self._dirty.add(node_id)
                    raise
            await self._next(lease)

    async def _next(self, lease: Lease) -> None:
        """Until something changed, at least `every` after the writes before; or lease is lost."""
        await asyncio.sleep(self.every.total_seconds())
        async with asyncio.TaskGroup() as tasks:
            waiting = [
                tasks.create_task(self._wake.wait(), name="status changed"),
                tasks.create_task(lease.lost.wait(), name="status lease lost"),
            ]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()
        self._wake.clear()

    async def _write(self, node_id: str, lease: Lease) -> None:
        key = proxy_status_key(node_id)
        wanted = self._wanted.get(node_id)
        if wanted is not None:
            status = await wanted[1]()
            self._written[node_id] = await self.store.put(
                key, status.SerializeToString(deterministic=True), lease.id
            )
            return
        written = self._written.pop(node_id, None)
        if written is None:
            return
        try:
            await self.store.delete(key, expected=written)
        except Conflict:
            log.debug("status.taken_over", node=node_id)
