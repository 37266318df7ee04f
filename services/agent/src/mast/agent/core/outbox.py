"""Requests on their way to Pilot: Envoy's in order, the agent's own conflated."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(slots=True)
class Outbox:
    """A queue of serialised requests. ``limit`` bounds Envoy's; the agent's own replace their
    predecessor of the same kind, at its place in the queue, so they need no bound.
    """

    limit: int = 64
    _waiting: deque[tuple[str, bytes]] = field(default_factory=deque)
    _of_envoy: int = 0

    @property
    def full(self) -> bool:
        """Envoy must wait before its next request is taken."""
        return self._of_envoy >= self.limit

    def add(self, data: bytes) -> None:
        """Queue a request of Envoy; the caller minds :attr:`full`."""
        self._waiting.append(("", data))
        self._of_envoy += 1

    def add_own(self, kind: str, data: bytes) -> None:
        """Queue a request of the agent, instead of one of the same kind that still waits."""
        for index, (waiting, _) in enumerate(self._waiting):
            if waiting == kind:
                self._waiting[index] = (kind, data)
                return
        self._waiting.append((kind, data))

    def next(self) -> bytes | None:
        """Take the oldest request; None if there is none."""
        if not self._waiting:
            return None
        kind, data = self._waiting.popleft()
        if not kind:
            self._of_envoy -= 1
        return data
