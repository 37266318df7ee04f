"""What goes wrong with a fake API server when a test wants it to.

cluster.chaos.plan("GET /api/v1/pods", BUSY, times=3)
cluster.chaos.plan("PATCH ", Dropped())
cluster.chaos.repeats = 1  # every event of a watch comes twice
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from tests.fakes.kubernetes.status import Status


@dataclass(frozen=True)
class Refused:
    """The request is answered with a status, and nothing happens."""

    status: Status


@dataclass(frozen=True)
class Delayed:
    """The request is answered later."""

    by: timedelta


@dataclass(frozen=True)
class Dropped:
    """The connection ends without an answer; ``after`` the request was carried out."""

    after: bool = False


@dataclass(frozen=True)
class Halved:
    """The connection ends in the middle of the answer."""


Fault = Refused | Delayed | Dropped | Halved

# API Priority and Fairness; a server that is broken, or starting; one whose etcd is away.
BUSY = Refused(
    Status(429, "TooManyRequests", "Too many requests, please try again later.", retry_after=1)
)
BROKEN = Refused(Status(500, "InternalError", "Internal error occurred: context canceled"))
UNAVAILABLE = Refused(
    Status(503, "ServiceUnavailable", "the server is currently unable to handle the request")
)
TIMED_OUT = Refused(Status(504, "Timeout", "Timeout: request did not complete", retry_after=1))
# A page of a listing, or the version of a watch, that the server forgot.
EXPIRED = Refused(
    Status(
        410, "Expired", "The provided continue parameter is too old to display a consistent list"
    )
)
# A token that is good no longer.
UNKNOWN_TOKEN = Refused(Status(401, "Unauthorized", "Unauthorized"))


@dataclass
class Chaos:
    """Faults by the requests that they befall, and what is wrong with watches.

    ``repeats`` is how often every event comes again at once, ``replays`` how many old ones a watch
    begins with; both break the promise that versions only grow, as caches behind a load balancer
    have. ``cache`` is the revision at which the watch cache stopped, None while it follows.
    """

    planned: list[tuple[str, Fault]] = field(default_factory=list)
    repeats: int = 0
    replays: int = 0
    cache: int | None = None

    def plan(self, start: str, fault: Fault, *, times: int = 1) -> None:
        """What becomes of the next requests that begin like this, as in ``GET /api/v1/pods``."""
        self.planned += [(start, fault)] * times

    def next(self, request: str) -> Fault | None:
        """The fault of a request ``VERB path``, which it uses up."""
        for index, (start, fault) in enumerate(self.planned):
            if request.startswith(start):
                del self.planned[index]
                return fault
        return None
