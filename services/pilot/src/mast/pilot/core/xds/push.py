"""A push: a numbered snapshot on its way to every connection, the newest replacing the others."""

from dataclasses import dataclass, replace

from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.no_view import NO_VIEW
from mast.pilot.core.xds.resources import Snapshot, View
from mast.pilot.core.xds.watch import Instant


@dataclass(frozen=True)
class Push:
    """`started` is when the first change in it was noticed; `resend` sends what did not change.

    Numbers rise, and requests are answered under numbers of the same counter (design 4).
    `registered` is the revision of the store up to which workloads are in the snapshot.
    """

    number: int
    snapshot: Snapshot
    started: Instant
    resend: bool = False
    registered: int = 0

    def view(self, proxy: Proxy) -> View:
        """What a client sees: that of its class, or what its generator is for (pilot.md B27)."""
        match proxy.generator:
            case "api":
                return self.snapshot.configuration()
            case "event":
                return NO_VIEW
        return self.snapshot.view(proxy)


class Pending:
    """The push that a connection has yet to make: later ones coalesce with it (pilot.md B18)."""

    def __init__(self) -> None:
        self._push: Push | None = None

    def __bool__(self) -> bool:
        return self._push is not None

    def offer(self, push: Push) -> None:
        """The newest snapshot counts, the earliest start, and any wish to send all again."""
        before = self._push
        if before is not None:
            push = replace(
                push,
                started=min(before.started, push.started),
                resend=before.resend or push.resend,
            )
        self._push = push

    def take(self) -> Push | None:
        """The push to make now."""
        push, self._push = self._push, None
        return push
