"""The attributes of a request while it is worked on, and what was read of them (A7 to A12)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar, overload

from mast.mixer.core.engine import Condition, Reference
from mast.mixer.core.values import Attributes, Value

T = TypeVar("T")
Record = dict[tuple[str, str | None], Condition]


class Tracker:
    """A request's attributes with those generated for it; remembers what was looked up.

    ``get`` gives a string map as a :class:`TrackedMap`, so that the keys read through it are
    remembered and not the map (A7). Generated attributes fill gaps and leave no record (A8, A13).
    ``whole`` are the maps that were read as a whole: no reference says "and no other key" (A10).
    """

    __slots__ = ("_record", "_request", "generated", "whole")

    def __init__(self, request: Attributes) -> None:
        self._request = request
        self._record: Record = {}
        self.whole: set[str] = set()
        self.generated: dict[str, Value] = {}

    def get(self, name: str) -> Value | None:
        """The value of an attribute, None if it is absent."""
        value = self._request.get(name)
        if value is None:
            made = self.generated.get(name)
            if made is None:
                self._record[name, None] = Condition.ABSENCE
            return made
        if isinstance(value, Mapping):
            return TrackedMap(name, value, self._record, self.whole)
        self._record[name, None] = Condition.EXACT
        return value

    def fill(self, generated: Mapping[str, Value]) -> None:
        """Add attributes where the request has none; what is there already stays (A13)."""
        for name, value in generated.items():
            if self._request.get(name) is None:
                self.generated.setdefault(name, value)

    @property
    def referenced(self) -> tuple[Reference, ...]:
        """Everything looked up so far, once each, in the order of the first time."""
        return tuple(Reference(name, key, how) for (name, key), how in self._record.items())

    def mark(self) -> Record:
        """The record of the moment, to go back to with :meth:`rewind`."""
        return self._record.copy()

    def rewind(self, mark: Record) -> None:
        """Forget what was looked up since the mark was made (A12)."""
        self._record = mark.copy()


class TrackedMap(Mapping[str, str]):
    """A string map of a request; every key read through it is remembered, also absent ones."""

    __slots__ = ("_entries", "_name", "_record", "_whole")

    def __init__(
        self, name: str, entries: Mapping[str, str], record: Record, whole: set[str]
    ) -> None:
        self._name = name
        self._entries = entries
        self._record = record
        self._whole = whole

    @overload
    def get(self, key: str, /) -> str | None: ...
    @overload
    def get(self, key: str, default: str | T, /) -> str | T: ...
    def get(self, key: str, default: str | T | None = None, /) -> str | T | None:
        """The value of a key, or the default."""
        value = self._entries.get(key)
        if value is None:
            self._record[self._name, key] = Condition.ABSENCE
            return default
        self._record[self._name, key] = Condition.EXACT
        return value

    def __getitem__(self, key: str) -> str:
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[str]:
        """All keys; whoever sees them depends on each (Differs from Istio: A10)."""
        self._whole.add(self._name)
        for key in self._entries:
            self._record[self._name, key] = Condition.EXACT
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def merged(outputs: Iterable[Mapping[str, Value]]) -> dict[str, Value]:
    """Several sets of generated attributes as one; the first that has a name wins (A13)."""
    result: dict[str, Value] = {}
    for output in outputs:
        for name, value in output.items():
            result.setdefault(name, value)
    return result
