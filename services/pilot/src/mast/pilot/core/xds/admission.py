"""How many new streams a replica takes on, so that a restart does not bring a herd (B20)."""

from dataclasses import dataclass
from datetime import timedelta

from mast.pilot.core.xds.watch import Instant


def default_rate(cpus: int) -> int:
    """New streams a second, and pushes at a time, for that many processors: B20."""
    return min(15 + 5 * cpus, 100)


@dataclass
class TokenBucket:
    """`rate` tokens a second, at most `burst` of them saved up."""

    rate: float
    burst: float
    longest_wait: timedelta = timedelta(seconds=1)
    _tokens: float | None = None
    _filled: Instant = timedelta()

    def take(self, now: Instant) -> timedelta | None:
        """How long to wait before going on; None if that is too long, and nothing is taken."""
        if self._tokens is None:
            self._tokens, self._filled = self.burst, now
        gained = (now - self._filled).total_seconds() * self.rate
        tokens = min(self.burst, self._tokens + gained) - 1
        wait = timedelta(seconds=max(0.0, -tokens / self.rate))
        if wait > self.longest_wait:
            return None
        self._tokens, self._filled = tokens, now
        return wait
