"""Follows etcd into the world and puts each quiet moment's configuration in force (D10, D11)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from mast.common.etcd import Store
from mast.mixer.core.adapter import Adapter
from mast.mixer.core.config.handlers import Remote
from mast.mixer.core.config.manifests import Expressions
from mast.mixer.core.config.snapshot import EMPTY, Snapshot, compile_snapshot
from mast.mixer.core.templates import TEMPLATES
from mast.mixer.core.world import PREFIXES, World

log = structlog.get_logger()

QUIET = timedelta(milliseconds=100)
"""Without a change for so long, a change is taken to be the last one for now."""


@dataclass(slots=True)
class Configuration:
    """Keeps the configuration in force equal to what etcd holds.

    Changes are gathered until none has come for a moment, for ``gather`` at most, before they are
    compiled. ``complete`` is set once the first complete configuration is in force (D11).
    ``language`` is that of all expressions, "" leaves it to their objects (D12). ``remote``
    connects to adapters out of process.
    """

    store: Store
    world: World
    adapters: Mapping[str, Adapter]
    swap: Callable[[Snapshot], Awaitable[None]]
    gather: timedelta = timedelta(seconds=1)
    language: str = ""
    remote: Remote | None = None
    complete: asyncio.Event = field(default_factory=asyncio.Event)
    _revision: int = 0
    _synced: set[str] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Follow for ever."""
        async with asyncio.TaskGroup() as tasks:
            for prefix in PREFIXES:
                tasks.create_task(self._follow(prefix), name=f"follow {prefix}")
            tasks.create_task(self._apply(), name="apply")

    async def _follow(self, prefix: str) -> None:
        async with aclosing(self.store.follow(prefix)) as batches:
            async for batch in batches:
                changed = self.world.apply({each.key: each.value for each in batch.changes})
                if changed:
                    # That of the batch may be of a change that is no configuration.
                    revisions = (each.mod_revision for each in batch.changes)
                    self._revision = max(self._revision, *revisions)
                first = batch.synced and prefix not in self._synced
                if first:
                    self._synced.add(prefix)
                if changed or first:
                    self._changed.set()

    async def _apply(self) -> None:
        snapshot = replace(EMPTY, expressions=Expressions({}, language=self.language))
        while True:
            await self._changed.wait()
            if len(self._synced) < len(PREFIXES):
                self._changed.clear()
                continue
            if self.complete.is_set():
                await self._gather()
            self._changed.clear()
            rules = self.world.rules
            revision = self._revision
            snapshot = await asyncio.to_thread(
                compile_snapshot,
                self.world.entries,
                TEMPLATES,
                self.adapters,
                snapshot,
                self.remote,
            )
            broken = self.world.broken
            snapshot = replace(
                snapshot,
                problems=(*broken, *snapshot.problems),
                counts=replace(snapshot.counts, unreadable=len(broken)),
                revision=revision,
            )
            await self.swap(snapshot)
            self.world.put_in_force(rules)
            self.complete.set()

    async def _gather(self) -> None:
        """Differs from Istio: what comes alone is in force at once, not after a second (D10)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self.gather.total_seconds()):
                while self._changed.is_set():
                    self._changed.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(self.gather, QUIET).total_seconds()):
                            await self._changed.wait()
