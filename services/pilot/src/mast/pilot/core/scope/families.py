"""Keys of results that mean more to a memo than others, and what is remembered of families."""

from collections.abc import Hashable
from itertools import takewhile
from typing import Any, Final, NamedTuple


class Member(NamedTuple):
    """Key of a result that has a name among the results of the same kind for the same owner.

    Which of them are made anew can be followed; see `Memo.renewed`.
    """

    kind: str
    owner: Hashable
    name: str

    @property
    def family(self) -> "Family":
        """What the results have in common."""
        return self[:2]


Family = tuple[str, Hashable]
"""Kind and owner of members."""


class Derived(NamedTuple):
    """Key of a result that is a fact itself: who reads it does not read what it was made from.

    Whoever lets the index advance makes it anew and tells what is different; see `Memo.lost`.
    """

    kind: str
    name: Any


class Log:
    """Names of members that were forgotten after the generation `since`, with the generation."""

    LIMIT: Final = 10_000

    __slots__ = ("forgotten", "since", "used")

    def __init__(self, since: int) -> None:
        self.since = since
        self.forgotten: list[tuple[int, str]] = []
        self.used = True

    def note(self, generation: int, name: str) -> None:
        self.forgotten.append((generation, name))
        if len(self.forgotten) > self.LIMIT:
            del self.forgotten[: self.LIMIT // 2]
            self.since = self.forgotten[0][0]

    def after(self, generation: int) -> frozenset[str]:
        later = takewhile(lambda each: each[0] > generation, reversed(self.forgotten))
        return frozenset(name for _, name in later)
