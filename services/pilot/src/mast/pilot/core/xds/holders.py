"""Who confirmed which bundle of the mesh's roots, counted as it changes (A8.5).

Agents of ours subscribe to the bundles themselves and confirm one when everything that follows from
it is done; others only get the roots with their ProxyConfig, and some get neither. Section numbers
are those of citadel-and-agent.md.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice

from mast.pilot.core.xds.resources import PCDS, TBDS
from mast.pilot.core.xds.session import Session
from mastapi.status.v1.status_pb2 import TrustStatus

SHOWN = 10
"""Names of those that lag behind; there may be thousands."""


class Channel(Enum):
    """How a proxy learns of roots."""

    BUNDLES = "bundles"
    ROOTS = "roots"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Held:
    """What a proxy confirmed last; sequence 0 is nothing yet."""

    channel: Channel
    sequence: int = 0


def channel(session: Session) -> Channel:
    """How this client learns of roots."""
    if TBDS in session.watches:
        return Channel.BUNDLES
    return Channel.ROOTS if PCDS in session.watches else Channel.NONE


def confirmed(session: Session, generation: int, sequence: int) -> Held:
    """What a client has confirmed of the bundle in the state of the mesh with this generation."""
    by = channel(session)
    if by is Channel.NONE or session.view.generation != generation:
        return Held(by)
    watch = session.watches[TBDS if by is Channel.BUNDLES else PCDS]
    return Held(by, sequence if watch.quiet else 0)


@dataclass
class Holders:
    """What every connected proxy holds, and how many hold what."""

    _held: dict[Hashable, Held] = field(default_factory=dict)
    _counts: Counter[Held] = field(default_factory=Counter)

    def observe(self, proxy: Hashable, held: Held) -> bool:
        """Note what a proxy holds, or still holds; whether any count changed by that."""
        before = self._held.get(proxy)
        if before is not None and before.channel is held.channel:
            held = held if held.sequence >= before.sequence else before
        if held == before:
            return False
        self._held[proxy] = held
        self._counts[held] += 1
        if before is not None:
            self._forget(before)
        return True

    def gone(self, proxy: Hashable) -> bool:
        """The proxy is not connected any more; whether it was known."""
        before = self._held.pop(proxy, None)
        if before is not None:
            self._forget(before)
        return before is not None

    def _forget(self, held: Held) -> None:
        self._counts[held] -= 1
        if not self._counts[held]:
            del self._counts[held]

    def fill(
        self, status: TrustStatus, sequence: int, name: Callable[[Hashable], str]
    ) -> TrustStatus:
        """The status with what is counted; ``name`` names those that do not hold a sequence."""
        for held, count in sorted(self._counts.items(), key=lambda item: item[0].sequence):
            if held.channel is Channel.NONE:
                status.silent += count
            elif held.channel is Channel.BUNDLES:
                status.holders.add(sequence=held.sequence, count=count)
            else:
                status.roots_only.add(sequence=held.sequence, count=count)
        if any(each.sequence < sequence for each in (*status.holders, *status.roots_only)):
            lagging = (proxy for proxy, held in self._held.items() if _lags(held, sequence))
            status.lagging.extend(sorted(map(name, islice(lagging, SHOWN))))
        return status


def _lags(held: Held, sequence: int) -> bool:
    return held.channel is not Channel.NONE and held.sequence < sequence
