"""Takes changes of policies about mutual TLS from step to step (see `core.model.settling`)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from mast.pilot.core.model.settling import Settling
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.xds.watch import Instant
from mast.pilot.core.xds.work import Clock

log = structlog.get_logger()

LONGEST: Final = timedelta(seconds=15)
"""A step is over after this time, whoever does not follow."""

_LOOK: Final = timedelta(milliseconds=100)


@dataclass
class Changeover:
    """Goes on as soon as every proxy of this replica has taken a step over.

    Each step lasts `shortest` at least: the proxies of other replicas are told at about the same
    time. `snapshot` is the one pushed last, `followed` tells whether all connected proxies have
    taken over a generation, `proceed` takes the next step and pushes it.
    """

    snapshot: Callable[[], MeshSnapshot | None]
    followed: Callable[[int], Awaitable[bool]]
    proceed: Callable[[], Awaitable[None]]
    clock: Clock
    shortest: timedelta = timedelta(seconds=2)
    _step: Settling = field(default_factory=dict)
    _generation: int = 0
    _since: Instant = timedelta()
    _done: bool = True

    async def run(self) -> None:
        """Look after changes for ever."""
        while True:
            await asyncio.sleep(_LOOK.total_seconds())
            await self.look()

    async def look(self) -> None:
        """Go on if it is time."""
        snapshot = self.snapshot()
        if snapshot is None:
            return
        settling = snapshot.index.settling
        if settling is not self._step:
            self._step, self._since = settling, self.clock.instant()
            self._generation = snapshot.index.generation
            self._done = not settling
            if settling:
                log.info("mutual_tls.settling", namespaces=sorted(settling))
        waited = self.clock.instant() - self._since
        if self._done or waited < self.shortest:
            return
        if waited >= LONGEST or await self.followed(self._generation):
            self._done = True
            await self.proceed()
