"""The history of configuration in etcd: reading it, and forgetting what is old."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd import Compacted, Delete, Leadership, Rejected, Store, Unavailable
from mast.common.keys import HISTORY_CHANGES, change_key, replaced_key
from mast.galley.core.history import (
    ABSENT,
    History,
    Past,
    Recorded,
    forgotten,
    past,
    recorded,
    replaced,
)
from mast.galley.core.resources import Unreadable

log = structlog.get_logger()

LEADER = "galley-history"
INTERVAL = timedelta(minutes=1)
# Records of changes are read by so many: one of a hundred objects takes some KiB.
_PAGE = 100
# What changes replaced may be a MiB each.
_REPLACED_AT_ONCE = 8


@dataclass(frozen=True)
class Histories:
    """What ``Configs`` keeps of its transactions, of which at most ``keep`` and none older than
    ``age`` stay. ``transaction_limit`` is how many keys one transaction may delete.

    Calls raise Unavailable if etcd is away.
    """

    store: Store
    now: Callable[[], datetime]
    keep: int
    age: timedelta
    transaction_limit: int

    async def read(self) -> History:
        """Every change, as of one revision of the store; one that cannot be read is left out."""
        found: list[Recorded] = []
        revision = 0
        async with aclosing(self.store.pages(HISTORY_CHANGES, _PAGE)) as pages:
            async for page in pages:
                revision = page.revision
                for entry in page.entries:
                    id = entry.key.removeprefix(HISTORY_CHANGES)
                    try:
                        found.append(recorded(id, entry.value, entry.mod_revision))
                    except Unreadable as error:
                        log.warning("history.unreadable", key=entry.key, error=str(error))
        found.sort(key=lambda each: each.revision)
        return History(found, revision)

    async def states(
        self, history: History, keys: Iterable[str], revision: int
    ) -> Mapping[str, Past]:
        """Objects by key, as they were at a revision that the history covers.

        Raises Unreadable if what is kept cannot be read, Compacted if the history was read too
        long ago.
        """
        later = {key: history.later(key, revision) for key in keys}
        current = await self.store.get_many(
            [key for key, change in later.items() if change is None], history.revision
        )
        found = {
            key: Past(current[key].mod_revision, current[key].value) if key in current else ABSENT
            for key, change in later.items()
            if change is None
        }
        ids = sorted({change[0].id for change in later.values() if change is not None})
        for start in range(0, len(ids), _REPLACED_AT_ONCE):
            part = ids[start : start + _REPLACED_AT_ONCE]
            contents = await self._replaced(part, history.revision)
            for key, change in later.items():
                if change is not None and change[0].id in contents:
                    found[key] = past(key, revision, change, contents[change[0].id])
        return found

    async def _replaced(
        self, ids: Sequence[str], revision: int
    ) -> Mapping[str, Mapping[str, bytes]]:
        entries = await self.store.get_many([replaced_key(id) for id in ids], revision)
        missing = [id for id in ids if replaced_key(id) not in entries]
        if missing:
            raise Unreadable(f"history {', '.join(missing)}: what was replaced is missing")
        return await asyncio.to_thread(
            lambda: {id: replaced(id, entries[replaced_key(id)].value) for id in ids}
        )

    async def run(self, identity: str) -> None:
        """Forget what is old, whenever this process leads; for ever."""
        await self.store.lead(LEADER, identity, self._forget_ever)

    async def _forget_ever(self, leadership: Leadership) -> None:
        backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=10))
        while True:
            try:
                await self.forget()
            except (Unavailable, Rejected, Compacted) as error:
                log.warning("history.waiting", error=str(error))
                await asyncio.sleep(backoff.next(random.random()).total_seconds())  # noqa: S311
                continue
            backoff.reset()
            await asyncio.sleep(INTERVAL.total_seconds())

    async def forget(self) -> int:
        """Forget once; returns how many changes. To forget twice does no harm."""
        history = await self.read()
        old = forgotten(history.changes, self.keep, self.age, self.now())
        at_once = max(1, self.transaction_limit // 2)
        for start in range(0, len(old), at_once):
            deletions = [
                Delete(key)
                for each in old[start : start + at_once]
                for key in (change_key(each.id), replaced_key(each.id))
            ]
            await self.store.txn([], deletions)
        if old:
            log.info("history.forgotten", changes=len(old), oldest=old[-1].revision)
        return len(old)
