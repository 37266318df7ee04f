"""What one consumer asked for and has acknowledged, whichever protocol it speaks (A4.2).

A state machine without I/O: it is told requests and snapshots, and says what is to be sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from istio.mcp.v1alpha1 import resource_pb2
from mast.galley.core.mcp.catalog import Collection, Snapshot


class Answer(Enum):
    """What a request means."""

    NEW = "new watch"
    ACK = "acknowledged"
    NACK = "rejected"
    STALE = "stale nonce"


@dataclass(frozen=True, slots=True)
class Push:
    """A response: all resources, or if ``incremental`` those that changed and names of the gone.

    ``watch`` is the name that was asked for.
    """

    watch: str
    nonce: str
    version: str
    resources: tuple[resource_pb2.Resource, ...]
    removed: tuple[str, ...] = ()
    incremental: bool = False


PART_BYTES: Final = 1 << 20
"""An incremental response has no more (A4.4), unless a single resource is larger."""


@dataclass(slots=True)
class _Watch:
    """``acked`` has the versions that the consumer has. ``told`` is what was sent last, ``since``
    when that was; ``left`` of it is still to be sent, ``push`` is on its way."""

    incremental: bool
    acked: dict[str, str]
    told: Collection | None = None
    left: deque[resource_pb2.Resource] = field(default_factory=deque)
    push: Push | None = None
    since: int = 0


class Watches:
    """All watches of one stream. Nonces count per stream; of each collection one response is on
    its way at a time, and the next one has the newest state: what came between is never sent.

    ``collection_of`` tells which collection a name means; several names may mean the same one.
    """

    def __init__(self, collection_of: Callable[[str], str] = str) -> None:
        self._collection_of = collection_of
        self._watches: dict[str, _Watch] = {}
        self._nonces = 0

    def __len__(self) -> int:
        return len(self._watches)

    def ask(
        self,
        name: str,
        nonce: str,
        *,
        rejected: bool = False,
        incremental: bool = False,
        versions: Mapping[str, str] | None = None,
    ) -> Answer:
        """A request: a new watch (no nonce; ``versions`` is what the consumer has already) or the
        answer to a response. What was rejected is not sent again until the collection has changed.
        """
        watch = self._watches.get(name)
        if not nonce or watch is None:
            if nonce:
                return Answer.STALE
            acked = dict(versions or {}) if incremental else {}
            self._watches[name] = _Watch(incremental, acked)
            return Answer.NEW
        push = watch.push
        if push is None or nonce != push.nonce:
            return Answer.STALE
        watch.push = None
        if rejected:
            return Answer.NACK
        if push.incremental:
            watch.acked.update((r.metadata.name, r.metadata.version) for r in push.resources)
            for gone in push.removed:
                watch.acked.pop(gone, None)
        return Answer.ACK

    def next(self, snapshot: Snapshot) -> Push | None:
        """What is to be sent now, if anything: of the collections that wait, the one whose turn
        was longest ago."""
        waiting = [
            (watch.since, name)
            for name, watch in self._watches.items()
            if watch.push is None and (watch.left or watch.told is not self._found(snapshot, name))
        ]
        if not waiting:
            return None
        _, name = min(waiting)
        watch, found = self._watches[name], self._found(snapshot, name)
        self._nonces += 1
        watch.since = self._nonces
        watch.push = self._push(watch, name, found)
        watch.told = found
        return watch.push

    def _push(self, watch: _Watch, name: str, found: Collection) -> Push:
        nonce = str(self._nonces)
        if not watch.incremental:
            return Push(name, nonce, found.version, tuple(found.resources.values()))
        removed: tuple[str, ...] = ()
        if watch.told is not found:
            watch.left = deque(
                resource
                for key, resource in found.resources.items()
                if watch.acked.get(key) != resource.metadata.version
            )
            removed = tuple(sorted(watch.acked.keys() - found.resources.keys()))
        part = _part(watch.left)
        return Push(name, nonce, found.version, part, removed, incremental=True)

    def _found(self, snapshot: Snapshot, name: str) -> Collection:
        return snapshot.collection(self._collection_of(name))


def _part(left: deque[resource_pb2.Resource]) -> tuple[resource_pb2.Resource, ...]:
    """Take as much as a response may have, and one at least if there is any."""
    part: list[resource_pb2.Resource] = []
    size = 0
    while left and (not part or size + left[0].ByteSize() <= PART_BYTES):
        part.append(left.popleft())
        size += part[-1].ByteSize()
    return tuple(part)
