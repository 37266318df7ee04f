"""Streams on which nobody asks for clusters: when they are told what, unasked (pilot.md B15)."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from mast.pilot.core.xds.watch import Instant

STEPS: Final = (timedelta(seconds=1), timedelta(seconds=5))
"""After so long a client is told endpoints, later clusters."""


class Warming:
    """How long a client that has clusters of an older stream has not asked for them on this one.

    It waits for endpoints of one of them: any EDS answer ends that, an unchanged one too (B6).
    """

    def __init__(self) -> None:
        self._since: Instant | None = None
        self._step = 0

    def begin(self, now: Instant) -> None:
        """It asks for something else; the first time counts."""
        self._since = now if self._since is None else self._since

    def end(self) -> None:
        """It asks for clusters."""
        self._since = None

    @property
    def deadline(self) -> Instant | None:
        """When it is to be told something."""
        if self._since is None or self._step == len(STEPS):
            return None
        return self._since + STEPS[self._step]

    def due(self, now: Instant) -> Iterator[bool]:
        """Once for each step that is due; true for the last, with which it is told its clusters."""
        while (deadline := self.deadline) is not None and now >= deadline:
            self._step += 1
            yield self._step == len(STEPS)
