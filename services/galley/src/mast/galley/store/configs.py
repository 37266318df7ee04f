"""Configuration in etcd: reading, transactional writing with its history, following."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd import Batch, Compare, Delete, Entry, Put, Rejected, Store
from mast.common.keys import change_key, replaced_key
from mast.galley.core import findings
from mast.galley.core.history import GALLEY, Origin, record
from mast.galley.core.objects import ConfigObject
from mast.galley.core.plan import (
    Aborted,
    Applied,
    Deleted,
    Plan,
    TooLarge,
    Write,
    apply_plan,
    delete_plan,
)
from mast.galley.core.resources import Stored, Unreadable, replaceable, stored
from mast.galley.core.sealed import sealed
from mast.galley.core.selection import Selection
from mastapi.galley.v1 import config_pb2

log = structlog.get_logger()

CONFLICT_ATTEMPTS = 20
# Below etcd's limit of a request (1.5 MiB by default).
PART_BYTES = 1 << 20
# What a transaction writes besides objects: the change, and what it replaced.
RECORDS = 2


@dataclass(frozen=True)
class Configs:
    """Objects under ``config/``. Writes are one transaction each, guarded by what was read.

    Each transaction also writes what it changed, by whom (``origin``) and what that replaced.
    ``transaction_limit`` is how many keys a transaction may write: at most what etcd was started
    with (``--max-txn-ops``); ``sealing_key`` seals Secrets. Calls raise Unavailable if etcd is
    away.
    """

    store: Store
    now: Callable[[], datetime]
    transaction_limit: int
    sealing_key: bytes | None = field(default=None, repr=False)

    @property
    def keeps_secrets(self) -> bool:
        """There is a key to seal Secrets with."""
        return self.sealing_key is not None

    async def apply(
        self,
        objects: Sequence[ConfigObject],
        *,
        dry_run: bool = False,
        guards: Sequence[Compare] = (),
        origin: Origin = GALLEY,
    ) -> Applied:
        """Write what differs from what is stored, all or nothing.

        Somebody else's concurrent write makes it read and compare again. ``guards`` are more
        conditions of the transaction (a fencing revision). Raises Aborted if an object insists on
        a version that is not stored (any more) or a guard does not hold, TooLarge if etcd does
        not take so much at once.
        """
        backoff = _conflict_backoff()
        for _ in range(CONFLICT_ATTEMPTS):
            plan, before = await self._plan(objects)
            if dry_run or not plan.writes:
                return Applied(plan.outcomes, 0)
            revision = await self._commit(plan.writes, before, origin, guards)
            if revision:
                return Applied(plan.outcomes, revision)
            await _pause(backoff)
        raise Aborted("others keep writing the same objects; try again")

    async def delete(
        self,
        references: Mapping[str, config_pb2.ObjectRef],
        *,
        ignore_missing: bool = False,
        guards: Sequence[Compare] = (),
        origin: Origin = GALLEY,
    ) -> Deleted:
        """Delete objects by key, all or nothing; raises NotFound, Aborted and TooLarge."""
        backoff = _conflict_backoff()
        for _ in range(CONFLICT_ATTEMPTS):
            before = await self.store.get_many(list(references))
            writes = delete_plan(references, _revisions(before), ignore_missing)
            if not writes:
                return Deleted((), 0)
            revision = await self._commit(writes, before, origin, guards)
            if revision:
                return Deleted(tuple(references[write.key] for write in writes), revision)
            await _pause(backoff)
        raise Aborted("others keep writing the same objects; try again")

    async def replace(
        self,
        objects: Sequence[ConfigObject],
        gone: Mapping[str, config_pb2.ObjectRef],
        *,
        guards: Sequence[Compare] = (),
        origin: Origin = GALLEY,
    ) -> tuple[int, int, int]:
        """Write and delete objects, in one transaction if it takes so much, else in several.

        Returns how many were written and deleted, and the revision (0: nothing to do). Raises
        Aborted and TooLarge as ``apply`` does.
        """
        backoff = _conflict_backoff()
        for _ in range(CONFLICT_ATTEMPTS):
            plan, before = await self._plan(objects)
            before |= await self.store.get_many(list(gone))
            deletions = delete_plan(gone, _revisions(before), ignore_missing=True)
            writes = [*plan.writes, *deletions]
            if not writes:
                return 0, 0, 0
            revision = 0
            for part in _parts(writes, before, self.transaction_limit - RECORDS):
                revision = await self._commit(part, before, origin, guards)
                if not revision:
                    break
            if revision:
                return len(plan.writes), len(deletions), revision
            await _pause(backoff)
        raise Aborted("others keep writing the same objects; try again")

    async def restore(
        self,
        objects: Sequence[ConfigObject],
        gone: Mapping[str, config_pb2.ObjectRef],
        expected: Mapping[str, int],
        *,
        dry_run: bool = False,
        origin: Origin = GALLEY,
    ) -> tuple[Applied, Sequence[config_pb2.ObjectRef]]:
        """Write and delete objects in one transaction, if they are what they are expected to be.

        ``expected`` has their revisions by key, 0 for one that is absent. Returns what is written
        and what is deleted. Raises Aborted if somebody was faster, and TooLarge.
        """
        plan, before = await self._plan(objects)
        before |= await self.store.get_many(list(gone))
        found = _revisions(before)
        keys = (*(obj.key for obj in objects), *gone)
        moved = sorted(key for key in keys if found.get(key, 0) != expected[key])
        if moved:
            raise Aborted(f"changed at this moment: {', '.join(moved)}; look again")
        deletions = delete_plan(gone, found, ignore_missing=True)
        deleted = tuple(gone[write.key] for write in deletions)
        writes = [*plan.writes, *deletions]
        if dry_run or not writes:
            return Applied(plan.outcomes, 0), deleted
        revision = await self._commit(writes, before, origin, ())
        if not revision:
            raise Aborted("somebody changed the same objects at this moment; look again")
        return Applied(plan.outcomes, revision), deleted

    async def _plan(self, objects: Sequence[ConfigObject]) -> tuple[Plan, dict[str, Entry]]:
        """What writing objects would change, and what is stored now; raises NoSealingKey."""
        entries = await self.store.get_many([obj.key for obj in objects])
        now = self.now()

        def planned() -> Plan:
            own = [sealed(obj, self.sealing_key) for obj in objects]
            current = {
                obj.key: replaceable(obj, entry.value, entry.mod_revision)
                for obj in own
                if (entry := entries.get(obj.key)) is not None
            }
            return apply_plan(own, current, now)

        return await asyncio.to_thread(planned), entries

    async def get(self, key: str) -> Stored | None:
        """One object."""
        entry = await self.store.get(key)
        return None if entry is None else stored(key, entry.value, entry.mod_revision)

    async def list(self, selection: Selection) -> tuple[list[Stored], int]:
        """Selected objects at one revision, by key."""
        listing = await self.store.list(selection.prefix)
        found = []
        for entry in listing.entries:
            try:
                item = stored(entry.key, entry.value, entry.mod_revision)
            except Unreadable as error:
                log.warning("config.unreadable", key=entry.key, error=str(error))
                continue
            if selection.matches_key(item.key, item.kind) and selection.matches_labels(item.labels):
                found.append(item)
        return found, listing.revision

    async def statuses(self) -> Mapping[str, bytes]:
        """What services publish of objects, by key."""
        return {
            entry.key: entry.value
            for prefix in findings.PREFIXES
            for entry in (await self.store.list(prefix)).entries
        }

    async def follow(self, prefix: str) -> AsyncGenerator[Batch, None]:
        """Everything under a prefix of config keys, then its changes."""
        async with aclosing(self.store.follow(prefix)) as batches:
            async for batch in batches:
                yield batch

    async def _commit(
        self,
        writes: Sequence[Write],
        before: Mapping[str, Entry],
        origin: Origin,
        guards: Iterable[Compare],
    ) -> int:
        """The revision of the transaction; 0 if something it relies on has changed."""
        limit = self.transaction_limit - RECORDS
        if len(writes) > limit:
            raise TooLarge(f"{len(writes)} objects change in one request; allowed: {limit}")
        unchanged = [Compare.unchanged(write.key, write.expected) for write in writes]
        success = [
            Delete(write.key) if write.value is None else Put(write.key, write.value)
            for write in writes
        ]
        success += await self._records(writes, before, origin)
        held = list(guards)
        try:
            result = await self.store.txn([*unchanged, *held], success)
        except Rejected as error:
            if error.code in {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}:
                raise TooLarge(f"etcd does not take the request: {error.detail}") from error
            raise
        if not result.succeeded and held and not (await self.store.txn(held, [])).succeeded:
            raise Aborted("this process does not lead any more")
        return result.revision if result.succeeded else 0

    async def _records(
        self, writes: Sequence[Write], before: Mapping[str, Entry], origin: Origin
    ) -> tuple[Put, Put]:
        """What history keeps of a transaction; in a thread, because it is compressed."""
        now = self.now()
        values = {key: entry.value for key, entry in before.items()}
        change, replaced = await asyncio.to_thread(record, writes, values, origin, now)
        id = f"{now:%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(8)}"
        return Put(change_key(id), change), Put(replaced_key(id), replaced)


def _revisions(entries: Mapping[str, Entry]) -> Mapping[str, int]:
    return {key: entry.mod_revision for key, entry in entries.items()}


def _parts(
    writes: Sequence[Write], before: Mapping[str, Entry], limit: int
) -> Iterator[Sequence[Write]]:
    """The writes in their order, cut where a transaction would exceed count or size.

    What they replace is part of the size.
    """
    part: list[Write] = []
    size = 0
    for write in writes:
        replaced = len(before[write.key].value) if write.expected else 0
        cost = len(write.key) + len(write.value or b"") + replaced
        if part and (len(part) >= limit or size + cost > PART_BYTES):
            yield part
            part, size = [], 0
        part.append(write)
        size += cost
    if part:
        yield part


def _conflict_backoff() -> Backoff:
    return Backoff(timedelta(milliseconds=2), timedelta(milliseconds=100), jitter=1.0)


async def _pause(backoff: Backoff) -> None:
    await asyncio.sleep(backoff.next(random.random()).total_seconds())  # noqa: S311
