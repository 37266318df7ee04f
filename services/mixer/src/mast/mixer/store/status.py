"""Publishes what this replica has in force under `status/mixer/`, on a lease."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd import EtcdError, Lease, Store
from mast.common.keys import mixer_status_key
from mast.common.latest import Latest
from mastapi.status.v1.status_pb2 import MixerStatus

log = structlog.get_logger()


@dataclass(frozen=True)
class StatusPublisher:
    """The newest status only: what comes while etcd is away or slow is skipped.

    It disappears with the lease, ``ttl`` after this replica died.
    """

    store: Store
    status: Latest[MixerStatus | None]
    random: Callable[[], float]
    ttl: timedelta = timedelta(seconds=30)

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
        """Write each change until the lease is lost."""
        while not lease.lost.is_set():
            told = self.status.value
            if told is not None:
                content = told.SerializeToString(deterministic=True)
                await self.store.put(mixer_status_key(told.replica), content, lease.id)
            async with asyncio.TaskGroup() as tasks:
                waiting = [
                    tasks.create_task(self.status.after(told), name="status changed"),
                    tasks.create_task(lease.lost.wait(), name="status lease lost"),
                ]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for each in waiting:
                    each.cancel()
