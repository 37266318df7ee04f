"""Pools of values: ordinary ones, which meet each other, and odd ones, which something dislikes."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

_ORDINARY = 4
"""Ordinary values are drawn that many times as often as odd ones, if there are both."""


@dataclass(frozen=True)
class Pool:
    """Values for one place; of each part all are equally likely."""

    ordinary: tuple[Any, ...]
    odd: tuple[Any, ...] = ()

    def strategy(self) -> SearchStrategy[Any]:
        """Any of the values; failing examples are shrunk towards the first ordinary one."""
        return _strategy(self)

    def __add__(self, other: "Pool") -> "Pool":
        return Pool((*self.ordinary, *other.ordinary), (*self.odd, *other.odd))


@cache
def _strategy(pool: Pool) -> SearchStrategy[Any]:
    # One draw of an index is several times as fast as a choice between two strategies.
    times = -(-_ORDINARY * len(pool.odd) // max(1, len(pool.ordinary))) or 1
    return st.sampled_from((*(pool.ordinary * times), *pool.odd))
