"""How often a peer may call: token buckets with the clock as an argument (A12)."""

from collections import OrderedDict
from dataclasses import dataclass, field


@dataclass
class TokenBucket:
    """Allows ``rate`` takes a second in the long run and ``burst`` at once; starts full."""

    rate: float
    burst: float
    _level: float = field(init=False)
    _at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._level = self.burst

    def take(self, now: float) -> bool:
        """Whether one more is allowed at ``now``, in seconds of any clock that never goes back."""
        self._level = min(self.burst, self._level + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
        if self._level < 1:
            return False
        self._level -= 1
        return True


@dataclass
class PeerLimits:
    """A bucket per peer; of more than ``peers`` the ones that called longest ago are forgotten."""

    rate: float = 500
    burst: float = 500
    peers: int = 10_000
    _buckets: OrderedDict[str, TokenBucket] = field(default_factory=OrderedDict, init=False)

    def allow(self, peer: str, now: float) -> bool:
        """Whether this peer may call now."""
        bucket = self._buckets.get(peer)
        if bucket is None:
            bucket = self._buckets[peer] = TokenBucket(self.rate, self.burst)
            if len(self._buckets) > self.peers:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(peer)
        return bucket.take(now)
