"""What one consumer asked for and has acknowledged, whichever protocol it speaks (A4.2).

A state machine without I/O: it is told requests and snapshots, and says what is to be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

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


@dataclass(slots=True)
class _Watch:
    """``acked`` has the versions that the consumer has, ``sent`` those of what is on its way;
    ``told`` is what was sent last, and ``since`` when that was."""

    incremental: bool
    acked: Mapping[str, str]
    sent: Mapping[str, str] = field(default_factory=dict)
    nonce: str = ""
    in_flight: bool = False
    told: Collection | None = None
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
        answer to a response. What was rejected is not sent again until it has changed.
        """
        watch = self._watches.get(name)
        if not nonce or watch is None:
            if nonce:
                return Answer.STALE
            acked = dict(versions or {}) if incremental else {}
            self._watches[name] = _Watch(incremental, acked)
            return Answer.NEW
        if not watch.in_flight or nonce != watch.nonce:
            return Answer.STALE
        watch.in_flight = False
        if rejected:
            return Answer.NACK
        watch.acked = watch.sent
        return Answer.ACK

    def next(self, snapshot: Snapshot) -> Push | None:
        """What is to be sent now, if anything: of the collections that wait, the one whose turn
        was longest ago."""
        waiting = [
            (watch.since, name)
            for name, watch in self._watches.items()
            if not watch.in_flight and watch.told is not self._found(snapshot, name)
        ]
        if not waiting:
            return None
        _, name = min(waiting)
        watch, found = self._watches[name], self._found(snapshot, name)
        self._nonces += 1
        watch.nonce, watch.since = str(self._nonces), self._nonces
        watch.in_flight, watch.told = True, found
        if not watch.incremental:
            return Push(name, watch.nonce, found.version, tuple(found.resources.values()))
        watch.sent = found.versions
        changed = tuple(
            resource
            for key, resource in found.resources.items()
            if watch.acked.get(key) != resource.metadata.version
        )
        removed = tuple(sorted(watch.acked.keys() - found.resources.keys()))
        return Push(name, watch.nonce, found.version, changed, removed, incremental=True)

    def _found(self, snapshot: Snapshot, name: str) -> Collection:
        return snapshot.collection(self._collection_of(name))
