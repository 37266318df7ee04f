"""Load shedding at the door of every face (mixer.md A1, I1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from mast.mixer.api.errors import Overloaded
from mast.mixer.core.shedding import Mode, Shedder

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Admission:
    """Decides whether a call is taken on; ``clock`` in seconds measures rates and latencies."""

    shedder: Shedder
    clock: Callable[[], float]
    refused: Callable[[float], None]

    def admit(self, cost: float) -> float:
        """Take a call on; when that was. Raises Overloaded (A1)."""
        now = self.clock()
        if self.shedder.too_much(cost, now):
            if self.shedder.mode is Mode.ENFORCE:
                self.refused(cost)
                raise Overloaded
            log.warning("request.would_be_shed", cost=cost)
        return now

    def done(self, since: float) -> None:
        """Tell that a call taken on is finished."""
        now = self.clock()
        self.shedder.by_latency.observe(now - since, now)
