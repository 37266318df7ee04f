"""Automatic addresses of services without any (pilot.md D2): stable, equal on all replicas."""

from collections.abc import Hashable, Iterator
from hashlib import blake2b
from typing import Final, Generic, NamedTuple, TypeVar

from mast.pilot.core.model.model import Age

Holder = TypeVar("Holder", bound=Hashable)

_SLOTS: Final = 1 << 16
_RESERVED: Final = frozenset({0, _SLOTS - 1})


class Claim(NamedTuple):
    """Wish for an address: `text` is hashed, the older of two wishes for one address wins."""

    age: Age
    text: str


class AutoAddresses(Generic[Holder]):
    """Addresses in 240.240.0.0/16 and 2001:2::/48, one of each per holder.

    An address is the first free one of a sequence that only depends on the claim; older claims
    come first. So it does not depend on the order of arrival, and a newer claim never moves an
    older one. When an old claim goes, a newer one that had to give way to it may move.
    """

    def __init__(self) -> None:
        self._claims: dict[Holder, Claim] = {}
        self._holders: dict[int, Holder] = {}
        self._slots: dict[Holder, int] = {}

    def addresses(self, holder: Holder) -> tuple[str, ...]:
        """IPv4 and IPv6 address of a holder.

        Nothing if it has no claim, or if older claims have used all addresses up.
        """
        slot = self._slots.get(holder)
        if slot is None:
            return ()
        return f"240.240.{slot >> 8}.{slot & 255}", f"2001:2::f0f0:{slot:x}"

    def claim(self, holder: Holder, claim: Claim | None) -> set[Holder]:
        """Make, change or (None) withdraw the claim of a holder.

        Returns the holders whose addresses changed.
        """
        old = self._claims.get(holder)
        if old == claim:
            return set()
        before = dict(self._slots) if old is not None else None
        moved = {holder}
        if old is not None:
            self._withdraw(holder)
        if claim is not None:
            self._claims[holder] = claim
            moved |= self._settle(holder)
        if before is not None:
            moved |= {each for each in before if before[each] != self._slots.get(each)}
        return moved

    def _withdraw(self, holder: Holder) -> None:
        """Give an address back; those that gave way to any other settle anew."""
        del self._claims[holder]
        if holder in self._slots:
            del self._holders[self._slots.pop(holder)]
        if all(
            self._slots.get(each) == next(_sequence(claim)) for each, claim in self._claims.items()
        ):
            return
        self._slots.clear()
        self._holders.clear()
        for each in self._claims:
            self._settle(each)

    def _settle(self, holder: Holder) -> set[Holder]:
        """Find an address for a claim; returns who moved for it, itself included."""
        moved: set[Holder] = set()
        seeking: Holder | None = holder
        while seeking is not None:
            moved.add(seeking)
            seeking = self._seat(seeking)
        return moved

    def _seat(self, holder: Holder) -> Holder | None:
        """Give a holder the first address that is free or a younger one's, who is returned."""
        claim = self._claims[holder]
        for slot in _sequence(claim):
            other = self._holders.get(slot)
            if other is None or claim < self._claims[other]:
                self._holders[slot] = holder
                self._slots[holder] = slot
                if other is not None:
                    del self._slots[other]
                return other
        return None


def _sequence(claim: Claim) -> Iterator[int]:
    """Every usable slot once, in an order that depends on the claim's text alone."""
    digest = int.from_bytes(blake2b(claim.text.encode(), digest_size=4).digest())
    start, step = digest >> 16, (digest & 0xFFFF) | 1
    for count in range(_SLOTS):
        slot = (start + count * step) % _SLOTS
        if slot not in _RESERVED:
            yield slot
