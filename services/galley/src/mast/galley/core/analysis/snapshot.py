"""The objects that are analyzed: configuration as messages, Kubernetes' own as plain documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from mast.galley.core.analysis.codes import CODES
from mast.galley.core.problem import NOWHERE, Path, Position, Problem

T = TypeVar("T")

DOMAIN = "cluster.local"

SUPPRESS = "galley.istio.io/analyze-suppress"
"""Annotation: codes separated by commas that are not told about an object, ``*`` for all."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object.

    ``kind`` is ``group/Kind``, ``Kind`` alone in the core group. ``body`` is the specification as
    a message, or the whole document as plain values if the kind is none that Mast stores.
    ``problems`` are what Galley's rules say about the object alone.
    """

    kind: str
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    status: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    position: Position = NOWHERE
    positions: Mapping[Path, Position] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()

    @property
    def origin(self) -> str:
        """``Kind namespace/name``, as messages name it."""
        kind = self.kind.rpartition("/")[2]
        return f"{kind} {self.namespace}/{self.name}" if self.namespace else f"{kind} {self.name}"

    @property
    def place(self) -> str:
        """The namespace that it belongs to; a Namespace belongs to itself."""
        return self.name if self.kind == "Namespace" else self.namespace

    def line(self, path: Path) -> int:
        """Line of the nearest field that is known, 0 if it is not from text."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, self.position).line

    def suppresses(self, code: str) -> bool:
        """Whether its author does not want to hear of this."""
        wanted = {part.strip() for part in self.annotations.get(SUPPRESS, "").split(",")}
        return "*" in wanted or code in wanted


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that is told, about a field of an object; ``item`` is None if it is about none.

    ``line`` is that of the field, 0 to find it by its path.
    """

    code: str
    item: Item | None
    text: str
    path: Path = ()
    line: int = 0

    @property
    def origin(self) -> str:
        """The object as messages name it, empty if it is about none."""
        return self.item.origin if self.item else ""

    @property
    def reference(self) -> str:
        """``file:line``, empty if the object is not from a file."""
        if self.item is None or not self.item.source:
            return ""
        line = self.line or self.item.line(self.path)
        return f"{self.item.source}:{line}" if line else self.item.source

    @property
    def rank(self) -> tuple[int, str, str, str]:
        """Order of messages: the worst first, then by code, object and text."""
        return -CODES[self.code].level, self.code, self.origin, self.text


class Undeclared(Exception):
    """An analyzer looks at a kind that is not among its inputs: an error of ours."""


@dataclass(frozen=True, eq=False)
class Fact(Generic[T]):
    """Something that several analyzers conclude from objects of some kinds, worked out once."""

    inputs: frozenset[str]
    conclude: Callable[[View], T]


class Snapshot:
    """All objects by kind, at one moment."""

    def __init__(self, items: Iterable[Item] = (), domain: str = DOMAIN) -> None:
        grouped: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            grouped[item.kind].append(item)
        self._items = {kind: tuple(found) for kind, found in grouped.items()}
        self._facts: dict[Fact[Any], Any] = {}
        self.domain = domain

    def of(self, kind: str) -> Sequence[Item]:
        """Objects of a kind, in the order they were given."""
        return self._items.get(kind, ())

    def replaced(self, kind: str, items: Iterable[Item]) -> Snapshot:
        """The same with other objects of one kind."""
        others = [item for known in self._items if known != kind for item in self._items[known]]
        return Snapshot([*others, *items], self.domain)

    def view(self, inputs: frozenset[str]) -> View:
        """The objects of some kinds only."""
        return View(self, inputs)

    def fact(self, fact: Fact[T]) -> T:
        """What follows from the objects."""
        if fact not in self._facts:
            self._facts[fact] = fact.conclude(self.view(fact.inputs))
        return cast("T", self._facts[fact])


@dataclass(frozen=True)
class View:
    """What an analyzer or a fact sees: its declared inputs and nothing else."""

    snapshot: Snapshot
    inputs: frozenset[str]

    def of(self, kind: str) -> Sequence[Item]:
        """Objects of an input."""
        if kind not in self.inputs:
            raise Undeclared(f"{kind!r} is not among the inputs")
        return self.snapshot.of(kind)

    def fact(self, fact: Fact[T]) -> T:
        """What follows from inputs."""
        if missing := fact.inputs - self.inputs:
            raise Undeclared(f"a fact needs {', '.join(sorted(missing))}")
        return self.snapshot.fact(fact)

    @property
    def domain(self) -> str:
        """Domain of the services of the platform."""
        return self.snapshot.domain
