"""How often callers may come (galley-and-kubernetes.md A4.4)."""

from __future__ import annotations


class Pace:
    """``burst`` at once, then ``per_second``; whoever comes earlier waits its turn.

    Times are seconds of a clock that only goes forward.
    """

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second
        self._credit = (burst - 1) * self._interval
        self._next: float | None = None

    def delay(self, now: float) -> float:
        """Seconds that who comes now has to wait."""
        earliest = now - self._credit
        turn = earliest if self._next is None else max(self._next, earliest)
        self._next = turn + self._interval
        return max(0.0, turn - now)
