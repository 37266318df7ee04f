"""Expressions as trees of constants, attributes and calls; printed in postfix form (E8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from mast.common.expressions.types import ValueType
from mast.common.expressions.values import Value


class ExpressionError(Exception):
    """An expression that does not parse or whose types do not fit; the text names the place."""


class EvaluationError(Exception):
    """An expression that has no value for a request; the text says why (E12 to E25)."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal: its value, and its text as written."""

    value: Value
    type: ValueType
    source: str

    def __str__(self) -> str:
        return self.source


@dataclass(frozen=True, slots=True)
class Attribute:
    """The value of an attribute."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True, slots=True)
class Call:
    """A function, operator or method; operators go by their function names (E2)."""

    name: str
    arguments: tuple[Node, ...]
    target: Node | None = None

    def __str__(self) -> str:
        receiver = "" if self.target is None else f"{self.target}:"
        return f"{receiver}{self.name}({', '.join(map(str, self.arguments))})"


Node: TypeAlias = Constant | Attribute | Call


class Read(NamedTuple):
    """An attribute that an expression can read; ``key`` if only that key of a string map."""

    name: str
    key: str | None = None


def reads(node: Node) -> Iterator[Read]:
    """Everything that the expression can read, repetitions included."""
    if isinstance(node, Attribute):
        yield Read(node.name)
    elif isinstance(node, Call):
        if node.name == "INDEX" and len(node.arguments) == 2:
            mapping, key = node.arguments
            if isinstance(mapping, Attribute) and isinstance(key, Constant):
                yield Read(mapping.name, str(key.value))
                return
        for part in (node.target, *node.arguments):
            if part is not None:
                yield from reads(part)
