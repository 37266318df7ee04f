"""Automatic addresses of services without any (pilot.md D2): stable, equal on all replicas."""

from collections.abc import Hashable, Iterator
from hashlib import blake2b
from typing import Final, Generic, NamedTuple, TypeVar

from mast.pilot.core.model import Age

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
        """IPv4 and IPv6 address of a holder, nothing if it has no claim."""
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
        moved: set[Holder] = {holder}
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
        del self._holders[self._slots.pop(holder)]
        if all(slot == next(_sequence(self._claims[each])) for each, slot in self._slots.items()):
            return
        self._slots.clear()
        self._holders.clear()
        for each in self._claims:
            self._settle(each)

    def _settle(self, holder: Holder) -> set[Holder]:
        """Find an address for a claim; returns the younger holders that had to move for it."""
        moved: set[Holder] = set()
        seeking: Holder | None = holder
        while seeking is not None:
            claim = self._claims[seeking]
            for slot in _sequence(claim):
                other = self._holders.get(slot)
                if other is None or claim < self._claims[other]:
                    self._holders[slot] = seeking
                    self._slots[seeking] = slot
                    seeking = other
                    break
            else:
                raise ValueError("no automatic address is left in 240.240.0.0/16")
            if seeking is not None:
                moved.add(seeking)
        return moved


def _sequence(claim: Claim) -> Iterator[int]:
    """Every usable slot once, in an order that depends on the claim's text alone."""
    digest = int.from_bytes(blake2b(claim.text.encode(), digest_size=4).digest())
    start, step = digest >> 16, (digest & 0xFFFF) | 1
    for count in range(_SLOTS):
        slot = (start + count * step) % _SLOTS
        if slot not in _RESERVED:
            yield slot
