"""Publishes what this replica knows of proxies and configuration under `status/`, on a lease."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog
from google.protobuf.message import Message

from mast.common.backoff import Backoff
from mast.common.etcd import Conflict, EtcdError, Lease, Store
from mast.common.keys import STATUS_PROXIES, proxy_status_key
from mastapi.status.v1.status_pb2 import ProxyStatus

log = structlog.get_logger()

Make = Callable[[], Awaitable[Message]]


@dataclass
class StatusPublisher:
    """Conflates: however often something changes, it is written once per `every`.

    Statuses disappear with the lease, `ttl` after this replica died.
    """

    store: Store
    random: Callable[[], float]
    every: timedelta = timedelta(seconds=1)
    ttl: timedelta = timedelta(seconds=30)
    _wanted: dict[str, tuple[object, Make]] = field(default_factory=dict)
    _dirty: set[str] = field(default_factory=set)
    _written: dict[str, int] = field(default_factory=dict)
    _said: dict[object, Mapping[str, Message]] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def changed(self, key: str, owner: object, make: Make) -> None:
        """What is under a key may have changed; `make` tells it when it is written."""
        self._wanted[key] = owner, make
        self._dirty.add(key)
        self._wake.set()

    def gone(self, key: str, owner: object) -> None:
        """The owner of a key, such as a connection, is over; it may have another one since."""
        if key in self._wanted and self._wanted[key][0] is owner:
            del self._wanted[key]
            self._dirty.add(key)
            self._wake.set()

    def replace(self, owner: object, statuses: Mapping[str, Message]) -> None:
        """These are all that an owner has to say, by key."""
        before = self._said.get(owner, {})
        for key in before.keys() - statuses.keys():
            self.gone(key, owner)
        for key, status in statuses.items():
            if before.get(key) != status:
                self.changed(key, owner, partial(_made, status))
        self._said[owner] = statuses

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
            for key in tuple(self._dirty):
                self._dirty.discard(key)
                try:
                    await self._write(key, lease)
                except EtcdError:
                    self._dirty.add(key)
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

    async def _write(self, key: str, lease: Lease) -> None:
        wanted = self._wanted.get(key)
        if wanted is not None:
            status = await wanted[1]()
            self._written[key] = await self.store.put(
                key, status.SerializeToString(deterministic=True), lease.id
            )
            return
        written = self._written.pop(key, None)
        if written is None:
            return
        try:
            await self.store.delete(key, expected=written)
        except Conflict:
            log.debug("status.taken_over", key=key)


async def _made(status: Message) -> Message:
    return status


async def locate(store: Store, wanted: str) -> ProxyStatus | None:
    """The status of a connected proxy, whatever replica holds it; None if none does.

    `wanted` is a node id, or a proxy ID `NAME.NAMESPACE`. Raises EtcdError.
    """
    if "~" in wanted and "/" not in wanted:
        entry = await store.get(proxy_status_key(wanted))
        return None if entry is None else ProxyStatus.FromString(entry.value)
    for entry in (await store.list(STATUS_PROXIES)).entries:
        if entry.key.split("~")[2:3] == [wanted]:
            return ProxyStatus.FromString(entry.value)
    return None
