"""Compares now and then what Pilot holds with what etcd holds, and repairs differences (N6)."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from mast.common.etcd import EtcdError, Store
from mast.pilot.core.world.world import PREFIXES, World
from mast.pilot.core.xds.work import Work
from mast.pilot.store.follow import Mirror

log = structlog.get_logger()

PAGE: Final = 200
"""Entries that are compared at a time: the world's thread is wanted for other work."""


@dataclass(frozen=True)
class Correction:
    """What is under a key of the store, None if nothing is."""

    key: str
    value: bytes | None


@dataclass
class SelfCheck:
    """Followers lose nothing; should that ever be wrong, the loss does not last.

    What differs is looked at again after `grace`, in which a change that was on its way arrives.
    `checked` and `repaired` are told how often a prefix was compared, and what had to be repaired.
    """

    store: Store
    world: World
    work: Work
    mirror: Mirror
    random: Callable[[], float]
    checked: Callable[[], None]
    repaired: Callable[[int], None]
    every: timedelta = timedelta(minutes=5)
    grace: timedelta = timedelta(seconds=5)

    async def run(self) -> None:
        """Check for ever, replicas at different times."""
        while True:
            await asyncio.sleep(self.every.total_seconds() * (0.75 + self.random() / 2))
            if not self.mirror.synced:
                continue
            try:
                await self.check()
            except EtcdError as error:
                log.info("self_check.interrupted", detail=str(error))

    async def check(self) -> int:
        """Compare everything once; returns how much had to be repaired. Raises EtcdError."""
        suspects = {prefix: await self._suspects(prefix) for prefix in PREFIXES}
        if any(suspects.values()):
            await asyncio.sleep(self.grace.total_seconds())
        repairs = 0
        for prefix, keys in suspects.items():
            corrections = await self._corrections(keys)
            if corrections:
                log.warning(
                    "self_check.repaired",
                    prefix=prefix,
                    number=len(corrections),
                    keys=[each.key for each in corrections[:10]],
                )
                await self.mirror.correct(prefix, corrections)
            repairs += len(corrections)
        self.checked()
        self.repaired(repairs)
        return repairs

    async def _suspects(self, prefix: str) -> list[str]:
        """Keys under which the store seems to have something else."""
        found: list[str] = []
        seen: set[str] = set()
        async with aclosing(self.store.pages(prefix, PAGE)) as pages:
            async for page in pages:
                seen.update(each.key for each in page.entries)
                compare = partial(self.world.differing, [(e.key, e.value) for e in page.entries])
                found += await self.work(compare)
        found += await self.work(partial(self.world.besides, prefix, seen))
        return found

    async def _corrections(self, keys: list[str]) -> list[Correction]:
        """What to put right of those keys, as the store is now."""
        entries = await self.store.get_many(keys)
        present = [(key, entries[key].value) for key in keys if key in entries]
        differing = await self.work(partial(self.world.differing, present))
        absent = [key for key in keys if key not in entries]
        held = await self.work(partial(self.world.among, absent))
        corrections = [Correction(key, entries[key].value) for key in differing]
        return corrections + [Correction(key, None) for key in held]
