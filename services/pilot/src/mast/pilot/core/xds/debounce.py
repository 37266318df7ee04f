"""When to push after changes: soon after they end, and not too late if they do not (B20)."""

from dataclasses import dataclass
from datetime import timedelta

from mast.pilot.core.xds.watch import Instant


@dataclass
class Debounce:
    """Gathers changes until it has been quiet for `quiet`, or for `longest` since the first.

    Changes that shrink something, such as the loss of an endpoint, wait for `urgent` only, for
    until they are pushed requests fail; but a storm of them does not push more often than every
    `quiet` and `urgent`.
    """

    quiet: timedelta = timedelta(milliseconds=100)
    longest: timedelta = timedelta(seconds=10)
    urgent: timedelta = timedelta(milliseconds=10)
    _first: Instant | None = None
    _last: Instant | None = None
    _hurry: Instant | None = None
    _free: Instant | None = None

    def changed(self, now: Instant, *, urgent: bool = False) -> None:
        """Something changed."""
        if urgent and self._hurry is None:
            soon = now + self.urgent if self._free is None else max(now + self.urgent, self._free)
            self._hurry = soon if self.due is None else min(soon, self.due)
        if self._first is None:
            self._first = now
        self._last = now

    @property
    def due(self) -> Instant | None:
        """When to push; None if nothing changed."""
        if self._first is None or self._last is None:
            return None
        regular = min(self._last + self.quiet, self._first + self.longest)
        return regular if self._hurry is None else min(regular, self._hurry)

    def push(self, now: Instant) -> Instant | None:
        """Begin a push: when the first change in it was noticed; None if there is none."""
        first, self._first, self._last, self._hurry = self._first, None, None, None
        self._free = now + self.quiet + self.urgent
        return first
