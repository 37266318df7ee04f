"""What a process says of itself: keys on a lease, gone when it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd.lease import Lease
from mast.common.etcd.model import EtcdError
from mast.common.etcd.store import Store
from mast.common.latest import Latest

log = structlog.get_logger()

T = TypeVar("T")


async def on_lease(
    store: Store,
    ttl: timedelta,
    write: Callable[[Lease], Awaitable[None]],
    *,
    random: Callable[[], float],
    what: str,
) -> None:
    """Run ``write`` on a lease, and again on the next when it returns, for ever.

    ``write`` returns when the lease is lost. etcd may come and go: that is logged once, as
    ``what``, and tried again after 0.5 to 15 seconds.
    """
    backoff = Backoff(timedelta(milliseconds=500), timedelta(seconds=15))
    silent = False
    while True:
        try:
            async with store.lease(ttl) as lease:
                if silent:
                    log.info("lease.resumed", what=what)
                silent = False
                backoff.reset()
                await write(lease)
        except EtcdError as error:
            if not silent:
                log.warning("lease.interrupted", what=what, detail=str(error))
            silent = True
            await asyncio.sleep(backoff.next(random()).total_seconds())


async def publish_latest(
    store: Store,
    ttl: timedelta,
    latest: Latest[T],
    entry: Callable[[T], tuple[str, bytes] | None],
    *,
    random: Callable[[], float],
    what: str,
) -> None:
    """Keep key and value that ``entry`` makes of the newest value in etcd, for ever.

    None is not written. Values that come while etcd is away or slow are skipped.
    """

    async def write(lease: Lease) -> None:
        while not lease.lost.is_set():
            told = latest.value
            if (found := entry(told)) is not None:
                await store.put(*found, lease.id)
            await lost_or(lease, latest.after(told))

    await on_lease(store, ttl, write, random=random, what=what)


async def lost_or(
    lease: Lease, change: Coroutine[Any, Any, object], timeout: float | None = None
) -> None:
    """Wait until the lease is lost, ``change`` came or ``timeout`` seconds have passed."""
    async with asyncio.TaskGroup() as tasks:
        waiting = [
            tasks.create_task(change, name="changed"),
            tasks.create_task(lease.lost.wait(), name="lease lost"),
        ]
        await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
