"""Configuration in etcd: reading, transactional writing, following."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd import Batch, Compare, Delete, Put, Rejected, Store
from mast.galley.core import findings
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


@dataclass(frozen=True)
class Configs:
    """Objects under ``config/``. Writes are one transaction each, guarded by what was read.

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
    ) -> Applied:
        """Write what differs from what is stored, all or nothing.

        Somebody else's concurrent write makes it read and compare again. ``guards`` are more
        conditions of the transaction (a fencing revision). Raises Aborted if an object insists on
        a version that is not stored (any more) or a guard does not hold, TooLarge if etcd does
        not take so much at once.
        """
        backoff = _conflict_backoff()
        for _ in range(CONFLICT_ATTEMPTS):
            plan = await self._plan(objects)
            if dry_run or not plan.writes:
                return Applied(plan.outcomes, 0)
            revision = await self._commit(plan.writes, guards)
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
    ) -> Deleted:
        """Delete objects by key, all or nothing; raises NotFound, Aborted and TooLarge."""
        backoff = _conflict_backoff()
        for _ in range(CONFLICT_ATTEMPTS):
            entries = await self.store.get_many(list(references))
            found = {key: entry.mod_revision for key, entry in entries.items()}
            writes = delete_plan(references, found, ignore_missing)
            if not writes:
                return Deleted((), 0)
            revision = await self._commit(writes, guards)
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
    ) -> tuple[int, int, int]:
        """Write and delete objects, in one transaction if it takes so much, else in several.

        Returns how many were written and deleted, and the revision (0: nothing to do). Raises
        Aborted and TooLarge as ``apply`` does.
        """
        backoff = _conflict_backoff()
        for _ in range(CONFLICT_ATTEMPTS):
            plan = await self._plan(objects)
            entries = await self.store.get_many(list(gone))
            found = {key: entry.mod_revision for key, entry in entries.items()}
            deletions = delete_plan(gone, found, ignore_missing=True)
            writes = [*plan.writes, *deletions]
            if not writes:
                return 0, 0, 0
            revision = 0
            for part in _parts(writes, self.transaction_limit):
                revision = await self._commit(part, guards)
                if not revision:
                    break
            if revision:
                return len(plan.writes), len(deletions), revision
            await _pause(backoff)
        raise Aborted("others keep writing the same objects; try again")

    async def _plan(self, objects: Sequence[ConfigObject]) -> Plan:
        """What writing objects would change of what is stored now; raises NoSealingKey."""
        objects = [sealed(obj, self.sealing_key) for obj in objects]
        entries = await self.store.get_many([obj.key for obj in objects])
        current = {
            obj.key: replaceable(obj, entry.value, entry.mod_revision)
            for obj in objects
            if (entry := entries.get(obj.key)) is not None
        }
        return await asyncio.to_thread(apply_plan, objects, current, self.now())

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

    async def _commit(self, writes: Sequence[Write], guards: Iterable[Compare]) -> int:
        """The revision of the transaction; 0 if something it relies on has changed."""
        if len(writes) > self.transaction_limit:
            raise TooLarge(
                f"{len(writes)} objects change in one request; allowed: {self.transaction_limit}"
            )
        unchanged = [Compare.unchanged(write.key, write.expected) for write in writes]
        success = [
            Delete(write.key) if write.value is None else Put(write.key, write.value)
            for write in writes
        ]
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


def _parts(writes: Sequence[Write], limit: int) -> Iterator[Sequence[Write]]:
    """The writes in their order, cut where a transaction would exceed count or size."""
    part: list[Write] = []
    size = 0
    for write in writes:
        cost = len(write.key) + len(write.value or b"")
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
