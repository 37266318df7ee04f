"""Leadership: one of several processes at a time, proven by a fencing revision."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd.model import Change, Compare, Delete, EtcdError, Put
from mast.common.keys import leader_key

if TYPE_CHECKING:
    from mast.common.etcd.store import Store

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Leadership:
    """The right to be the only one doing ``what``, until ``lost`` is set.

    ``fence`` rises from leader to leader. A process may learn late that it leads no more, so
    writes that must not come from a former leader carry ``guard`` among their comparisons.
    """

    what: str
    identity: str
    fence: int
    lost: asyncio.Event

    @property
    def guard(self) -> Compare:
        """Holds in a transaction as long as this leadership lasts."""
        return Compare.created(leader_key(self.what), self.fence)


def nobody(_: str) -> bool:
    """Whom most candidates depose."""
    return False


@asynccontextmanager
async def elect(
    store: Store,
    what: str,
    identity: str,
    ttl: timedelta,
    outranks: Callable[[str], bool] = nobody,
) -> AsyncIterator[Leadership]:
    """Wait until nobody else leads, then lead within the block; stepping down at its end.

    The key ``leader/<what>`` holds the leader's ``identity`` and hangs on a lease of ``ttl``: that
    long after a leader's death another one takes over. A leader whose identity this one
    ``outranks`` is deposed at once. Waits while etcd is away. The block is not interrupted when
    leadership is lost: watch ``lost``, or use ``lead``.
    """
    key = leader_key(what)
    async with _won(store, key, identity, ttl, outranks) as (fence, lost):
        log.info("leader.elected", what=what, identity=identity, fence=fence)
        try:
            yield Leadership(what, identity, fence, lost)
        finally:
            log.info("leader.resigned", what=what, identity=identity, fence=fence)


async def lead(
    store: Store,
    what: str,
    identity: str,
    ttl: timedelta,
    work: Callable[[Leadership], Awaitable[None]],
    outranks: Callable[[str], bool] = nobody,
) -> None:
    """Run ``work`` whenever this process leads; it is cancelled when leadership is lost.

    Returns when ``work`` returns; its exceptions are raised.
    """
    while True:
        async with elect(store, what, identity, ttl, outranks) as leadership:
            if await _until_lost(leadership, work):
                return


async def _until_lost(
    leadership: Leadership, work: Callable[[Leadership], Awaitable[None]]
) -> bool:
    """Whether ``work`` came to its end before leadership was lost."""
    finished = False

    async def run() -> None:
        nonlocal finished
        await work(leadership)
        finished = True
        watching.cancel()

    async def watch() -> None:
        await leadership.lost.wait()
        running.cancel()

    try:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch(), name="leadership lost")
            running = tasks.create_task(run(), name=f"leader of {leadership.what}")
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return finished


@asynccontextmanager
async def _won(
    store: Store, key: str, identity: str, ttl: timedelta, outranks: Callable[[str], bool]
) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """The create revision of our leader key and the event of its loss, once we have it."""
    backoff = Backoff(timedelta(milliseconds=100), timedelta(seconds=3))
    while True:
        async with AsyncExitStack() as candidacy:
            try:
                await _vacant(store, key, outranks)
                lease = await candidacy.enter_async_context(store.lease(ttl))
                claim = Put(key, identity.encode(), lease.id)
                result = await store.txn([Compare.absent(key)], [claim])
            except EtcdError as error:
                log.debug("leader.waiting", key=key, detail=str(error))
                await asyncio.sleep(backoff.next(random.random()).total_seconds())  # noqa: S311
                continue
            if not result.succeeded:
                continue
            guard = _guard(store, key, result.revision, lease.lost)
            with store.background(guard, f"guard {key}"):
                yield result.revision, lease.lost
            return


async def _vacant(store: Store, key: str, outranks: Callable[[str], bool]) -> None:
    """Return when the leader key does not exist; one that is outranked is deleted."""
    held: Change | None = None
    async with aclosing(store.follow_key(key)) as batches:
        async for batch in batches:
            for change in batch.changes:
                held = None if change.value is None else change
            if not batch.synced:
                continue
            if held is None:
                return
            if outranks((held.value or b"").decode(errors="replace")):
                log.info("leader.outranked", key=key, fence=held.create_revision)
                await store.txn([Compare.created(key, held.create_revision)], [Delete(key)])


async def _guard(store: Store, key: str, fence: int, lost: asyncio.Event) -> None:
    """Set ``lost`` when the leader key is no longer the one created at ``fence``."""
    created = 0
    async with aclosing(store.follow_key(key)) as batches:
        async for batch in batches:
            for change in batch.changes:
                created = change.create_revision
            if batch.synced and created != fence:
                log.warning("leader.deposed", key=key, fence=fence)
                lost.set()
                return
