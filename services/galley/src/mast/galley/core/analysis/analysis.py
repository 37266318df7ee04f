"""Running analyzers over a snapshot: only those whose inputs changed, each on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mast.galley.core.analysis.snapshot import Message, Snapshot, View

INTERNAL_ERROR = "IST0001"


class Superseded(Exception):
    """Nobody wants the results any more."""


@dataclass(frozen=True)
class Analyzer:
    """A pure function over objects of declared kinds.

    ``codes`` are what it may tell. ``inputs`` are all that it can look at, so its messages are the
    same as long as those are.
    """

    name: str
    description: str
    codes: frozenset[str]
    inputs: frozenset[str]
    run: Callable[[View], Iterable[Message]]


@dataclass(frozen=True)
class Results:
    """What each analyzer said about a snapshot, by its name."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    told: Mapping[str, Sequence[Message]] = field(default_factory=dict)

    @property
    def messages(self) -> Sequence[Message]:
        """All of them that the objects' authors want to hear: the worst first, each once."""
        wanted = (
            each
            for said in self.told.values()
            for each in said
            if each.item is None or not each.item.suppresses(each.code)
        )
        return list({(m.rank, m.reference): m for m in sorted(wanted, key=_order)}.values())


def _order(message: Message) -> tuple[tuple[int, str, str, str], str, int]:
    if message.item is None:
        return message.rank, "", 0
    line = message.line or message.item.line(message.path)
    return message.rank, message.item.source, line


def analyse(
    analyzers: Iterable[Analyzer],
    snapshot: Snapshot,
    before: Results | None = None,
    superseded: Callable[[], bool] = lambda: False,
) -> Results:
    """What is to be said about a snapshot.

    Given the results for an earlier one, what is said about unchanged inputs is taken over. An
    analyzer that fails is a message (IST0001) and keeps no other from being run. Raises Superseded
    between two analyzers as soon as ``superseded`` says so.
    """
    told: dict[str, Sequence[Message]] = {}
    for analyzer in analyzers:
        if superseded():
            raise Superseded
        if (
            before is not None
            and analyzer.name in before.told
            and _same(analyzer.inputs, snapshot, before.snapshot)
        ):
            told[analyzer.name] = before.told[analyzer.name]
        else:
            told[analyzer.name] = list(_said(analyzer, snapshot))
    return Results(snapshot, told)


def _same(kinds: Iterable[str], one: Snapshot, other: Snapshot) -> bool:
    return one.domain == other.domain and all(one.of(kind) == other.of(kind) for kind in kinds)


def _said(analyzer: Analyzer, snapshot: Snapshot) -> Iterator[Message]:
    """Its messages; those it made before it failed count."""
    try:
        yield from analyzer.run(snapshot.view(analyzer.inputs))
    except Exception as error:  # noqa: BLE001 - one that fails must not silence the others
        text = f"analyzer {analyzer.name} failed: {type(error).__name__}: {error}"
        yield Message(INTERNAL_ERROR, None, text)
