"""Conditions that are put together from others: whether they hold, and the first that does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Is:
    """Something of a request compared with what is wanted of it."""

    what: str
    found: str
    wanted: str
    holds: bool


@dataclass(frozen=True)
class Every:
    """All parts have to hold."""

    parts: Sequence[Condition]


@dataclass(frozen=True)
class Some:
    """One part has to hold."""

    parts: Sequence[Condition]


@dataclass(frozen=True)
class Not:
    """The part must not hold."""

    part: Condition


Condition = Is | Every | Some | Not


def holds(condition: Condition) -> bool:
    """Whether a condition is fulfilled."""
    match condition:
        case Is():
            return condition.holds
        case Every():
            return all(map(holds, condition.parts))
        case Some():
            return any(map(holds, condition.parts))
        case Not():
            return not holds(condition.part)


def lacking(condition: Condition) -> str:
    """The first thing that keeps a condition from being fulfilled, in words; empty if it is."""
    if holds(condition):
        return ""
    match condition:
        case Is():
            return _compared(condition.what, condition.found, [condition.wanted])
        case Every():
            return next(filter(None, map(lacking, condition.parts)))
        case Some():
            return _none_of(condition.parts)
        case Not():
            found = next(_holding(condition.part), None)
            return f"{found.what} {found.found} is excluded" if found else "everything is excluded"


def _none_of(parts: Sequence[Condition]) -> str:
    """Why no alternative holds; alternatives for one thing are told together."""
    plain = [each for each in parts if isinstance(each, Is)]
    if len(plain) == len(parts) and len({(each.what, each.found) for each in plain}) == 1:
        return _compared(plain[0].what, plain[0].found, [each.wanted for each in plain])
    return ", and ".join(dict.fromkeys(map(lacking, parts))) or "there is no alternative"


def _compared(what: str, found: str, wanted: Sequence[str]) -> str:
    return f"{what} is {found}, not {' or '.join(dict.fromkeys(wanted))}"


def _holding(condition: Condition) -> Iterator[Is]:
    """What makes a condition hold."""
    match condition:
        case Is():
            if condition.holds:
                yield condition
        case Every() | Some():
            for each in condition.parts:
                if holds(each):
                    yield from _holding(each)
        case Not():
            pass
