"""Load shedding: by rate and by latency; time is an argument, in seconds (mixer.md A1, I1)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    """What happens with a request that is too much."""

    DISABLED = "disabled"
    LOGONLY = "logonly"
    ENFORCE = "enforce"


@dataclass(slots=True)
class RateLimiter:
    """A token bucket: ``rate`` a second, up to ``burst`` at once. Rate 0 admits everything."""

    rate: float
    burst: float
    _tokens: float = 0.0
    _at: float | None = None

    def __post_init__(self) -> None:
        self.burst = max(self.burst, self.rate)
        self._tokens = self.burst

    def exceeded(self, cost: float, now: float) -> bool:
        """Whether a request of this cost is too much; if not, it is paid for."""
        if not self.rate:
            return False
        earned = 0.0 if self._at is None else (now - self._at) * self.rate
        self._tokens = min(self._tokens + earned, self.burst)
        self._at = now
        if cost > self._tokens:
            return True
        self._tokens -= cost
        return False


@dataclass(slots=True)
class LatencyLimiter:
    """Sheds while the mean latency, of which ``halflife`` seconds halve the weight, is too long.

    Judged only while more than ``enforcement`` requests a second arrive. Threshold 0 admits
    everything.
    """

    threshold: float
    halflife: float
    enforcement: float
    mean: float = 0.0
    _rate: float = 0.0
    _measured: float | None = None
    _arrived: float | None = None

    def observe(self, latency: float, now: float) -> None:
        """Take the latency of a finished request into the mean."""
        weight = 0.0 if self._measured is None else self._decay(now - self._measured)
        self.mean = latency + (self.mean - latency) * weight
        self._measured = now

    def exceeded(self, now: float) -> bool:
        """Whether a request that arrives now is too much."""
        if not self.threshold:
            return False
        if self._arrived is not None:
            self._rate *= self._decay(now - self._arrived)
        self._rate += _LN2 / self.halflife
        self._arrived = now
        return self._rate > self.enforcement and self.mean > self.threshold

    def _decay(self, seconds: float) -> float:
        return float(0.5 ** (seconds / self.halflife))


_LN2 = 0.6931471805599453


@dataclass(frozen=True, slots=True)
class Shedder:
    """Both limiters: either sheds (I1)."""

    mode: Mode
    by_rate: RateLimiter
    by_latency: LatencyLimiter

    def too_much(self, cost: float, now: float) -> bool:
        """Whether a request is too much; what is done about it depends on the mode."""
        if self.mode is Mode.DISABLED:
            return False
        return self.by_latency.exceeded(now) or self.by_rate.exceeded(cost, now)
