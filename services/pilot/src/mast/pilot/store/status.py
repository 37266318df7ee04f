"""Publishes what this replica knows of proxies and configuration under `status/`, on a lease."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

import structlog
from google.protobuf.message import Message

from mast.common.etcd import Conflict, EtcdError, Lease, Put, Store
from mast.common.etcd.on_lease import lost_or, on_lease
from mast.common.keys import STATUS_PROXIES, proxy_status_key
from mastapi.status.v1.status_pb2 import ProxyStatus

log = structlog.get_logger()

Make = Callable[[], Awaitable[Message]]

_BATCH: Final = 100
"""Statuses in one transaction; etcd allows 128 operations."""


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
        await on_lease(self.store, self.ttl, self._publish, random=self.random, what="status")

    async def _publish(self, lease: Lease) -> None:
        """Until the lease is lost: everything at first, then what changes."""
        self._written.clear()
        self._dirty.update(self._wanted)
        while not lease.lost.is_set():
            keys = sorted(self._dirty)
            for at in range(0, len(keys), _BATCH):
                part = keys[at : at + _BATCH]
                self._dirty.difference_update(part)
                try:
                    await self._write(part, lease)
                except EtcdError:
                    self._dirty.update(part)
                    raise
            await self._next(lease)

    async def _next(self, lease: Lease) -> None:
        """Until something changed and `every` has passed since, or the lease is lost.

        A push changes the status of every proxy: it should be over when they are written.
        """
        await lost_or(lease, self._wake.wait())
        await asyncio.sleep(self.every.total_seconds())
        self._wake.clear()

    async def _write(self, keys: Sequence[str], lease: Lease) -> None:
        """Write what is wanted under some keys in one transaction; delete the others."""
        wanted = {key: self._wanted[key][1] for key in keys if key in self._wanted}
        async with asyncio.TaskGroup() as tasks:
            making = {
                key: tasks.create_task(_serialised(make), name=f"status {key}")
                for key, make in wanted.items()
            }
        if making:
            puts = [Put(key, each.result(), lease.id) for key, each in making.items()]
            revision = (await self.store.txn([], puts)).revision
            self._written.update(dict.fromkeys(making, revision))
        for key in keys:
            if key not in wanted:
                await self._delete(key)

    async def _delete(self, key: str) -> None:
        written = self._written.pop(key, None)
        if written is None:
            return
        try:
            await self.store.delete(key, expected=written)
        except Conflict:
            log.debug("status.taken_over", key=key)


async def _serialised(make: Make) -> bytes:
    return (await make()).SerializeToString(deterministic=True)


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
