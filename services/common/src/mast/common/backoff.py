"""Exponential, jittered, capped delays between attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(slots=True)
class Backoff:
    """A growing delay; randomness is an argument, so that the sequence can be tested.

    The n-th delay is ``initial * factor**n``, at most ``maximum``, moved by up to ``jitter`` of
    itself either way.
    """

    initial: timedelta
    maximum: timedelta
    factor: float = 2.0
    jitter: float = 0.2
    _attempts: int = field(default=0, init=False)

    def next(self, random: float) -> timedelta:
        """The delay before the next attempt; ``random`` is uniform in [0, 1)."""
        ratio = self.maximum / self.initial
        base = self.initial * min(self.factor ** min(self._attempts, 64), ratio)
        self._attempts += 1
        return base * (1 + self.jitter * (2 * random - 1))

    def reset(self) -> None:
        """Begin again with the initial delay: call it after a success."""
        self._attempts = 0
