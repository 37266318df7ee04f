"""Keeps the published keys of issuers in the store: one replica fetches, all follow (J3, N15)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from google.protobuf.message import DecodeError

from mast.common import keys
from mast.common.backoff import Backoff
from mast.common.etcd import Compare, Delete, EtcdError, Leadership, Put, Store
from mast.common.jwks import KeySet
from mast.common.latest import Latest
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.public_keys import KeySource, source_of
from mast.pilot.core.security.authentication.keys import FETCH_TIMEOUT
from mast.pilot.core.security.authentication.schedule import REFRESH, Schedule, failed, fetched
from mast.pilot.core.security.authentication.sources import COLLECTIONS, wanted_sources
from mast.pilot.core.xds.work import Clock
from mast.pilot.store.key_fetch import FetchFailed
from mastapi.jwks.v1.jwks_pb2 import PublishedKeys

log = structlog.get_logger()

LEADER: Final = "pilot-jwks"

_LEADER_TTL: Final = timedelta(seconds=15)
_AT_ONCE: Final = 8
"""Fetches at a time: a few issuers that do not answer hold up no others."""

Fetch = Callable[[KeySource, timedelta], Awaitable[KeySet]]


@dataclass
class PublicKeyKeeper:
    """Fetches what policies need while this replica leads, and writes it where all replicas read.

    `index` is the mesh as it is now. `told` hears of every fetch, whether it succeeded. Nothing
    waits for keys: without them proxies refuse tokens, and take them as soon as the keys are there.
    """

    store: Store
    fetch: Fetch
    index: Latest[Index]
    clock: Clock
    random: Callable[[], float]
    told: Callable[[bool], None]
    identity: str
    refresh: timedelta = REFRESH
    _records: dict[KeySource, PublishedKeys] = field(default_factory=dict)
    _timeouts: Mapping[KeySource, timedelta] = field(default_factory=dict)

    async def run(self) -> None:
        """Take part for ever; etcd may come and go."""
        backoff = Backoff(timedelta(milliseconds=500), timedelta(seconds=15))
        while True:
            try:
                await self.store.lead(LEADER, self.identity, self._lead, _LEADER_TTL)
            except EtcdError as error:
                log.info("jwks.interrupted", detail=str(error))
            await asyncio.sleep(backoff.next(self.random()).total_seconds())

    async def _lead(self, leadership: Leadership) -> None:
        """Go on where the last leader was, until this leadership ends. Raises EtcdError."""
        self._records = {}
        for entry in (await self.store.list(keys.JWKS)).entries:
            record = _decoded(entry.value)
            if record is not None:
                self._records[source_of(record)] = record
        schedule = Schedule(self.refresh)
        ended = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._keep(schedule, leadership.guard, tasks, ended)
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _keep(
        self, schedule: Schedule, guard: Compare, tasks: asyncio.TaskGroup, ended: asyncio.Event
    ) -> None:
        """Fetch what is due, for ever."""
        slots = asyncio.Semaphore(_AT_ONCE)
        seen: Index | None = None
        while True:
            ended.clear()
            if _differ(seen, self.index.value):
                seen = self.index.value
                self._timeouts = wanted_sources(seen)
            now = self.clock.now()
            schedule.want(self._timeouts, self._records, now)
            for source in schedule.due(now):
                schedule.begun(source)
                fetching = self._fetch(source, schedule, guard, slots, ended)
                tasks.create_task(fetching, name=f"fetch {source}")
            for source in schedule.outdated(now):
                await self._delete(source, guard)
                schedule.deleted(source)
            await self._until(schedule.next(), seen, ended)

    async def _until(self, at: datetime | None, seen: Index | None, ended: asyncio.Event) -> None:
        """Until that time, the end of a fetch, or a change of the mesh."""
        left = None if at is None else max(0.0, (at - self.clock.now()).total_seconds())
        async with asyncio.TaskGroup() as tasks:
            waiting = [
                tasks.create_task(self._changed(seen), name="policies changed"),
                tasks.create_task(ended.wait(), name="fetch ended"),
            ]
            await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()

    async def _changed(self, seen: Index | None) -> None:
        index = self.index.value
        while not _differ(seen, index):
            index = await self.index.after(index)

    async def _fetch(
        self,
        source: KeySource,
        schedule: Schedule,
        guard: Compare,
        slots: asyncio.Semaphore,
        ended: asyncio.Event,
    ) -> None:
        async with slots:
            before = self._records.get(source)
            try:
                found = await self.fetch(source, self._timeouts.get(source, FETCH_TIMEOUT))
            except FetchFailed as error:
                after = failed(source, before, str(error), self.clock.now())
            except Exception as error:  # noqa: BLE001 - no issuer may end Pilot; it is tried again
                reason = f"{source}: {type(error).__name__}"
                after = failed(source, before, reason, self.clock.now())
            else:
                after = fetched(source, found, self.clock.now())
        self.told(not after.failure)
        _log(source, before, after)
        if after != before:
            self._records[source] = after
            await self._write(source, after, guard)
        now = self.clock.now()
        schedule.ended(source, now, self.random(), success=not after.failure)
        ended.set()

    async def _write(self, source: KeySource, record: PublishedKeys, guard: Compare) -> None:
        """Put a record where replicas see it. Raises EtcdError."""
        value = record.SerializeToString(deterministic=True)
        await self.store.txn([guard], [Put(keys.jwks_key(*source), value)])

    async def _delete(self, source: KeySource, guard: Compare) -> None:
        self._records.pop(source, None)
        await self.store.txn([guard], [Delete(keys.jwks_key(*source))])


def _differ(seen: Index | None, index: Index) -> bool:
    """Whether policies about tokens, or what decides who fetches, may be others."""
    if seen is None or seen.mesh is not index.mesh or seen.services is not index.services:
        return seen is not index
    return any(
        seen.collections.get(each) is not index.collections.get(each) for each in COLLECTIONS
    )


def _decoded(value: bytes) -> PublishedKeys | None:
    """A record, None for one that nobody can read: it is written anew."""
    try:
        return PublishedKeys.FromString(value)
    except DecodeError:
        return None


def _log(source: KeySource, before: PublishedKeys | None, after: PublishedKeys) -> None:
    """Say it when something is not as it was."""
    old = None if before is None else before.failure
    if after.failure and after.failure != old:
        log.warning("jwks.unavailable", source=str(source), reason=after.failure)
    elif not after.failure and (before is None or old or before.keys != after.keys):
        log.info("jwks.fetched", source=str(source), defects=list(after.defects))
