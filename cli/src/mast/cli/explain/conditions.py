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
    return ", and ".join(dict.fromkeys(_told(list(_missing(condition))))) or "nothing fits"


def _missing(condition: Condition) -> Iterator[Is | Not]:
    """What does not hold: of parts that all have to the first, of alternatives each."""
    if holds(condition):
        return
    match condition:
        case Every():
            yield from _missing(next(each for each in condition.parts if not holds(each)))
        case Some():
            for each in condition.parts:
                yield from _missing(each)
        case Not(part=Not(part=inner)):
            yield from _missing(inner)
        case _:
            yield condition


def _told(missing: Sequence[Is | Not]) -> Iterator[str]:
    """Each thing that is missing; different wishes for one thing are told together."""
    wishes: dict[tuple[str, str], list[str]] = {}
    for each in missing:
        if isinstance(each, Is):
            wishes.setdefault((each.what, each.found), []).append(each.wanted)
    for (what, found), wanted in wishes.items():
        yield f"{what} is {found}, not {' or '.join(dict.fromkeys(wanted))}"
    for each in missing:
        if isinstance(each, Not):
            why = next(_holding(each.part), None)
            yield f"{why.what} {why.found} is excluded" if why else "everything is excluded"


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
