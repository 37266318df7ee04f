"""Translations of one kind, kept until a fact that they were made from changes."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeVar, cast

from mast.pilot.core.gateway_api.sight import Material, Sight
from mast.pilot.core.scope.memo import Fact, Reads

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Replaced(NamedTuple, Generic[K, T]):
    """A translation that was made anew; None stands for one that was not or is not there."""

    key: K
    old: T | None
    new: T | None


class Stage(Generic[K, T]):
    """Translations by key: `translate` makes one, None if there is nothing to translate.

    A fact of `kind` means that what stands under its name has changed or is new.
    """

    def __init__(self, kind: str, translate: Callable[[Sight, K], T | None]) -> None:
        self._kind = kind
        self._translate = translate
        self._results: dict[K, T] = {}
        self._facts: dict[K, frozenset[Fact]] = {}
        self._readers: dict[Fact, set[K]] = {}
        self.made = 0
        """How often something was made anew."""

    @property
    def results(self) -> Mapping[K, T]:
        """The translations there are."""
        return MappingProxyType(self._results)

    def settle(self, material: Material, touched: Iterable[Fact]) -> list[Replaced[K, T]]:
        """Make anew what depends on touched facts, in a fixed order."""
        return [self._replace(material, key) for key in sorted(self._stale(touched), key=repr)]

    def _replace(self, material: Material, key: K) -> Replaced[K, T]:
        self.made += 1
        reads = Reads()
        reads.note(self._kind, key)
        old = self._results.pop(key, None)
        self._forget(key)
        new = self._translate(Sight(material, reads), key)
        if new is not None:
            self._results[key] = new
        facts = reads.facts()
        if new is not None or len(facts) > 1:
            # What is not ours now may become ours by what else was read.
            self._facts[key] = facts
            for fact in facts:
                self._readers.setdefault(fact, set()).add(key)
        return Replaced(key, old, new)

    def _readers_of_kind(self, kind: str) -> set[K]:
        sets = (readers for fact, readers in self._readers.items() if fact.kind == kind)
        return {key for readers in sets for key in readers}

    def _forget(self, key: K) -> None:
        for fact in self._facts.pop(key, ()):
            readers = self._readers[fact]
            readers.discard(key)
            if not readers:
                del self._readers[fact]

    def _stale(self, touched: Iterable[Fact]) -> set[K]:
        """Keys that are named, and those that noted a touched fact or the whole of its kind."""
        found: set[K] = set()
        for fact in touched:
            found |= self._readers.get(fact, set())
            found |= self._readers.get(Fact(fact.kind), set())
            if fact.name is None:
                found |= self._readers_of_kind(fact.kind)
            elif fact.kind == self._kind:
                found.add(cast("K", fact.name))
        return found
