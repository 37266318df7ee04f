"""Follows etcd into the world, and the world into pushes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence, Set
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from mast.common import keys
from mast.common.etcd import Batch, Change, Store
from mast.pilot.core.world import world as worlds
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.world.world import PREFIXES, World
from mast.pilot.core.xds.debounce import Debounce
from mast.pilot.core.xds.watch import Instant
from mast.pilot.core.xds.work import Clock, Work
from mastapi.registry.v1.registry_pb2 import (
    HEALTH_HEALTHY,
    HEALTH_UNSPECIFIED,
    EndpointShard,
    Workload,
)

log = structlog.get_logger()

_KINDS: Final = {
    keys.CONFIG: "config",
    keys.REGISTRY_SERVICES: "svc",
    keys.REGISTRY_WORKLOADS: "workload",
    keys.REGISTRY_ENDPOINTS: "eds",
    keys.TRUST: "trust",
    keys.SECRETS: "secret",
    keys.JWKS: "jwks",
}
_TRIGGERS: Final = {
    keys.CONFIG: "config",
    keys.REGISTRY_SERVICES: "service",
    keys.REGISTRY_WORKLOADS: "endpoint",
    keys.REGISTRY_ENDPOINTS: "endpoint",
    keys.TRUST: "global",
    keys.SECRETS: "secret",
    keys.JWKS: "jwks",
}
_URGENT: Final = (keys.REGISTRY_WORKLOADS, keys.REGISTRY_ENDPOINTS)
_TAKING: Final = (HEALTH_UNSPECIFIED, HEALTH_HEALTHY)


@dataclass(frozen=True)
class News:
    """A new snapshot, when the first change in it was noticed, and how far it goes.

    `workloads` is the revision of the store up to which it knows workloads, `kinds` what changed,
    `seconds` how long it took to make.
    """

    snapshot: MeshSnapshot
    started: Instant
    workloads: int
    kinds: frozenset[str]
    seconds: float


@dataclass
class Mirror:
    """Keeps the world equal to what etcd holds and publishes a snapshot after each gust of changes.

    Nothing is published before everything was read once (pilot.md N5). While etcd is away the last
    snapshot stays.
    """

    store: Store
    world: World
    work: Work
    clock: Clock
    publish: Callable[[News], Awaitable[None]]
    received: Callable[[str, Sequence[Change]], None]
    debounce: Debounce = field(default_factory=Debounce)
    _revisions: dict[str, int] = field(default_factory=dict)
    _kinds: set[str] = field(default_factory=set)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def synced(self) -> bool:
        """Everything was read once."""
        return len(self._revisions) == len(PREFIXES)

    async def run(self) -> None:
        """Follow and publish for ever."""
        async with asyncio.TaskGroup() as tasks:
            for prefix in PREFIXES:
                tasks.create_task(self._follow(prefix), name=f"follow {prefix}")
            tasks.create_task(self._publish(), name="push")

    async def _follow(self, prefix: str) -> None:
        async with aclosing(self.store.follow(prefix)) as batches:
            async for batch in batches:
                await self._take_over(prefix, batch)

    async def correct(self, prefix: str, corrections: Sequence[worlds.Change]) -> None:
        """Take over what following should have told, and push it."""
        await self._apply(prefix, corrections)
        self.debounce.changed(self.clock.instant())
        self._wake.set()

    async def proceed(self) -> None:
        """Push the next step of changes that go on in steps."""
        await self.work(self.world.proceed)
        self._kinds.add(_TRIGGERS[keys.CONFIG])
        self.debounce.changed(self.clock.instant())
        self._wake.set()

    async def _apply(self, prefix: str, changes: Sequence[worlds.Change]) -> None:
        for rejection in await self.work(partial(self.world.apply, changes)):
            log.warning("object.kept_out", key=rejection.key, reason=rejection.reason)
        self._kinds.add(_TRIGGERS[prefix])

    async def _take_over(self, prefix: str, batch: Batch) -> None:
        if batch.changes:
            self.received(_KINDS[prefix], batch.changes)
            await self._apply(prefix, batch.changes)
        first = batch.synced and prefix not in self._revisions
        if batch.synced:
            self._revisions[prefix] = batch.revision
        if batch.changes or first:
            urgent = prefix in _URGENT and any(map(loses, batch.changes))
            self.debounce.changed(self.clock.instant(), urgent=urgent)
            self._wake.set()

    async def _publish(self) -> None:
        while True:
            await self._until_due()
            now = self.clock.instant()
            started = self.debounce.push(now)
            kinds, self._kinds = frozenset(self._kinds), set()
            workloads = self._revisions[keys.REGISTRY_WORKLOADS]
            revision = max(self._revisions.values())
            snapshot = await self.work(partial(self.world.snapshot, revision))
            seconds = (self.clock.instant() - now).total_seconds()
            await self.publish(
                News(snapshot, now if started is None else started, workloads, kinds, seconds)
            )

    async def _until_due(self) -> None:
        """Until everything was read, something changed and it is time to push."""
        while True:
            self._wake.clear()
            due = self.debounce.due if self.synced else None
            left = None if due is None else (due - self.clock.instant()).total_seconds()
            if left is not None and left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                continue


def loses(change: Change) -> bool:
    """Whether there is an endpoint less to send requests to, or something may be gone (B20)."""
    if change.previous is None:
        return change.value is None
    if change.value is None or len(change.value) < len(change.previous):
        return True
    return not _healthy(change.key, change.previous) <= _healthy(change.key, change.value)


def _healthy(key: str, value: bytes) -> Set[str]:
    """Addresses that are healthy; of what cannot be read nothing is known."""
    try:
        if key.startswith(keys.REGISTRY_ENDPOINTS):
            endpoints = EndpointShard.FromString(value).endpoints
            return {each.address for each in endpoints if each.health in _TAKING}
        workload = Workload.FromString(value)
    except DecodeError:
        return frozenset()
    return frozenset(workload.addresses if workload.health in _TAKING else ())
