"""Load shedding at the door of every face (mixer.md A1, I1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from mast.mixer.api.errors import Overloaded
from mast.mixer.core.shedding import Mode, Shedder

log = structlog.get_logger()

TOLD_EVERY = 1.0
"""Seconds between lines about calls that would be shed: they are told of when there are many."""


@dataclass(slots=True)
class Admission:
    """Decides whether a call is taken on; ``clock`` in seconds measures rates and latencies."""

    shedder: Shedder
    clock: Callable[[], float]
    refused: Callable[[float], None]
    _told: float | None = None
    _calls: int = 0
    _cost: float = 0.0

    def admit(self, cost: float) -> float:
        """Take a call on; when that was. Raises Overloaded (A1)."""
        now = self.clock()
        if self.shedder.too_much(cost, now):
            if self.shedder.mode is Mode.ENFORCE:
                self.refused(cost)
                raise Overloaded
            self._would_shed(cost, now)
        return now

    def _would_shed(self, cost: float, now: float) -> None:
        self._calls += 1
        self._cost += cost
        if self._told is None or now - self._told >= TOLD_EVERY:
            log.warning("request.would_be_shed", calls=self._calls, cost=self._cost)
            self._told, self._calls, self._cost = now, 0, 0.0

    def done(self, since: float) -> None:
        """Tell that a call taken on is finished."""
        now = self.clock()
        self.shedder.by_latency.observe(now - since, now)
