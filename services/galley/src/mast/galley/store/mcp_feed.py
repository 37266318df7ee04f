"""Snapshots of the stored configuration for other consumers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import structlog

from mast.common.etcd import Store
from mast.common.keys import CONFIG, REGISTRY_ENDPOINTS, REGISTRY_SERVICES
from mast.common.latest import Latest
from mast.galley.core.mcp.catalog import SYNTHETIC, Catalog, Collection, Snapshot
from mast.galley.core.mcp.synthetic import Services

log = structlog.get_logger()

QUIET = timedelta(milliseconds=500)
LONGEST = timedelta(seconds=1)
# Endpoints are told at once; those that change meanwhile go together.
PAUSE = timedelta(milliseconds=100)


class McpFeed:
    """A snapshot when nothing has changed for ``QUIET``, at the latest ``LONGEST`` after the first
    change (galley-and-kubernetes.md A4.5). None until everything was read.

    With ``services`` those of the registry are told as well, at once.
    """

    def __init__(self, store: Store, services: Services | None = None) -> None:
        self._store = store
        self._catalog = Catalog()
        self._services = services
        self._newest: Snapshot | None = None
        self._configs: Snapshot | None = None
        self._synthetic: Collection | None = None
        self._dirty = asyncio.Event()
        self.snapshots: Latest[Snapshot | None] = Latest(None)

    async def run(self) -> None:
        """Follow the store for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="mcp follow")
            tasks.create_task(self._rest(), name="mcp rest")
            if self._services is not None:
                tasks.create_task(self._follow_registry(self._services), name="mcp registry")

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

    async def _rest(self) -> None:
        """Take what is newest whenever nothing came for a while, or not for too long."""
        now = asyncio.get_running_loop().time
        while True:
            await self._dirty.wait()
            latest = now() + LONGEST.total_seconds()
            while self._dirty.is_set():
                self._dirty.clear()
                try:
                    async with asyncio.timeout(min(QUIET.total_seconds(), latest - now())):
                        await self._dirty.wait()
                except TimeoutError:
                    break
            self._configs = self._newest
            self._publish()

    async def _follow_registry(self, services: Services) -> None:
        one_at_a_time, unread = asyncio.Lock(), {REGISTRY_SERVICES, REGISTRY_ENDPOINTS}

        async def follow(prefix: str) -> None:
            async with aclosing(self._store.follow(prefix)) as batches:
                async for batch in batches:
                    changes = [(each.key, each.value, each.mod_revision) for each in batch.changes]
                    async with one_at_a_time:
                        found, errors = await asyncio.to_thread(
                            services.apply, changes, batch.revision
                        )
                    for error in errors:
                        log.warning("registry.unreadable", error=str(error))
                    if batch.synced:
                        unread.discard(prefix)
                    if not unread:
                        self._synthetic = found
                        self._publish()
                    await asyncio.sleep(PAUSE.total_seconds())

        async with asyncio.TaskGroup() as tasks:
            for prefix in (REGISTRY_SERVICES, REGISTRY_ENDPOINTS):
                tasks.create_task(follow(prefix), name=f"mcp {prefix}")

    def _publish(self) -> None:
        if self._configs is None:
            return
        if self._services is None:
            self.snapshots.publish(self._configs)
        elif self._synthetic is not None:
            self.snapshots.publish(self._configs.having(SYNTHETIC, self._synthetic))
