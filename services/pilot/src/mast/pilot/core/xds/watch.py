"""One subscription of a stream: what is asked for, what was sent and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from mast.pilot.core.xds.resources import Resource
from mast.pilot.core.xds.responses import NO_RESOURCES, Response
from mast.pilot.core.xds.selection import (
    DOUBTFUL,
    EMPTY_VERSIONS,
    NOTHING,
    Difference,
    Selection,
)
from mast.pilot.core.xds.trial import Trial

Instant = timedelta
"""A point in time: what has passed since an arbitrary start, on a clock that never goes back."""


MOST_OUTSTANDING = 32
"""Of a client that accepts nothing for a long time (pilot.md B4) older responses are forgotten."""


class SyncState(Enum):
    """How a client stands with a type (pilot.md B28)."""

    NOT_SENT = "NOT SENT"
    SYNCED = "SYNCED"
    STALE = "STALE"
    ERROR = "ERROR"


@dataclass(eq=False)
class Watch:
    """State of one type on one stream.

    - `names`, `wildcard`: the subscription. `requested` is false while the client has not asked for
      what it was told unasked (pilot.md B15).
    - `held`: versions by name that the client has if it accepts all it was sent. `full`: the full
      set sent last, `accepted`: the one acknowledged last (state of the world only).
    - `settled`: the selection of which nothing is left to send.
    - `forced`: names to send whatever their version. `must_answer`: a message is due even if it
      says nothing new. `urgent`: an answer, which need not wait for an acknowledgement.
    - `outstanding`: responses without answer by nonce. `nonce`: that of the last response.
    - `removals_held`: removals were left out of the last response (pilot.md B17).
    """

    type_url: str
    names: frozenset[str] = NOTHING
    wildcard: bool = False
    requested: bool = True
    held: Mapping[str, str] = field(default_factory=lambda: EMPTY_VERSIONS)
    full: Mapping[str, Resource] = field(default_factory=lambda: NO_RESOURCES)
    accepted: Mapping[str, Resource] = field(default_factory=lambda: NO_RESOURCES)
    settled: Selection | None = None
    forced: frozenset[str] = NOTHING
    must_answer: bool = False
    urgent: bool = False
    outstanding: dict[str, Response] = field(default_factory=dict)
    nonce: str = ""
    removals_held: bool = False
    trial: Trial = field(default_factory=Trial)

    sent_version: str = ""
    acked_version: str = ""
    acked_nonce: str = ""
    sent_at: Instant | None = None
    acked_at: Instant | None = None
    resources: int = 0
    error: str = ""
    rejections: int = 0

    @property
    def state(self) -> SyncState:
        """What an operator should know of it."""
        if self.error:
            return SyncState.ERROR
        if self.sent_at is None:
            return SyncState.NOT_SENT
        return SyncState.STALE if self.outstanding else SyncState.SYNCED

    @property
    def quiet(self) -> bool:
        """The client has, and has accepted, all that it should have."""
        return self.settled is not None and not self.outstanding and not self.error

    def sent(self, response: Response, nonce: str, now: Instant) -> None:
        """A response goes out."""
        self.outstanding[nonce] = response
        if len(self.outstanding) > MOST_OUTSTANDING:
            del self.outstanding[next(iter(self.outstanding))]
        self.nonce = nonce
        self.sent_version = response.version
        self.sent_at = now
        self.resources = response.count
        self.full = response.full

    def settle(self, wanted: Selection, change: Difference, changed: tuple[Resource, ...]) -> None:
        """Of a change, `changed` was sent, and the removals unless they are held."""
        if changed is change.changed:
            self.forced = NOTHING
            self.held = change.kept if self.removals_held else wanted.versions
            self.settled = None if self.removals_held else wanted
            return
        sent = {each.name: each.version for each in changed}
        self.forced -= sent.keys()
        known = change.kept if self.removals_held else wanted.versions
        self.held = {name: version for name, version in self.held.items() if name in known} | sent
        self.settled = None

    def acknowledge(self, nonce: str, now: Instant) -> Response | None:
        """The client accepted the response with that nonce, which is returned if it was open."""
        response = self.outstanding.pop(nonce, None)
        if response is None:
            return None
        self.acked_version = response.version
        self.acked_nonce = nonce
        self.acked_at = now
        self.accepted = response.full
        self.trial.accepted()
        if not self.trial.refused:
            self.error = ""
        return response

    def reject(self, nonce: str, reason: str) -> Response | None:
        """The client rejected the response with that nonce, which is returned if it was open.

        The last good state stays; what the client may lack now is sent again by and by, but never
        in the same company (pilot.md B19).
        """
        self.rejections += 1
        self.error = reason or "rejected without a reason"
        response = self.outstanding.pop(nonce, None)
        if response is None:
            return None
        suspects = response.changed
        if response.full:
            suspects = tuple(
                each
                for name, each in response.full.items()
                if name not in self.accepted or self.accepted[name].version != each.version
            )
        lacking = self.trial.rejected(suspects, response.version, reason)
        doubtful = {
            each.name: DOUBTFUL for each in lacking if self.held.get(each.name) == each.version
        }
        doubtful.update((name, DOUBTFUL) for name in response.removed if name not in self.held)
        self.held = {**self.held, **doubtful}
        self.settled = None
        return response
