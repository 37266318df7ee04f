"""Snapshots of the stored configuration for other consumers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import structlog

from mast.common.etcd import Store
from mast.common.keys import CONFIG
from mast.common.latest import Latest
from mast.galley.core.mcp.catalog import Catalog, Snapshot

log = structlog.get_logger()

QUIET = timedelta(milliseconds=500)
LONGEST = timedelta(seconds=1)


class McpFeed:
    """A snapshot when nothing has changed for ``QUIET``, at the latest ``LONGEST`` after the first
    change (galley-and-kubernetes.md A4.5). None until the store was read.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._catalog = Catalog()
        self._newest: Snapshot | None = None
        self._dirty = asyncio.Event()
        self.snapshots: Latest[Snapshot | None] = Latest(None)

    async def run(self) -> None:
        """Follow the store for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="mcp follow")
            tasks.create_task(self._publish(), name="mcp publish")

    async def _follow(self) -> None:
        async with aclosing(self._store.follow(CONFIG)) as batches:
            async for batch in batches:
                changes = [(each.key, each.value, each.mod_revision) for each in batch.changes]
                errors = await asyncio.to_thread(self._catalog.apply, changes, batch.revision)
                for error in errors:
                    log.warning("config.unreadable", error=str(error))
                if batch.synced:
                    self._newest = self._catalog.snapshot()
                    self._dirty.set()

    async def _publish(self) -> None:
        while True:
            await self._dirty.wait()
            await self._rested()
            self.snapshots.publish(self._newest)

    async def _rested(self) -> None:
        """Return when nothing came for a while, or too long after the first change."""
        now = asyncio.get_running_loop().time
        latest = now() + LONGEST.total_seconds()
        while True:
            self._dirty.clear()
            try:
                async with asyncio.timeout(min(QUIET.total_seconds(), latest - now())):
                    await self._dirty.wait()
            except TimeoutError:
                return
