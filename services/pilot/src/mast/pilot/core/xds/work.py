"""How the edges reach the world: its objects live on one thread, and this is the way there."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, TypeVar

from mast.pilot.core.xds.watch import Instant

T = TypeVar("T")


class Work(Protocol):
    """Runs functions of the core, one at a time, without holding up the event loop."""

    async def __call__(self, task: Callable[[], T], /) -> T:
        """The result of `task`."""


class Clock(Protocol):
    """What time it is, for whoever has to tell the core."""

    def now(self) -> datetime:
        """The date, aware."""

    def instant(self) -> Instant:
        """Time on a clock that never goes back."""
