"""Compiled expressions: what the rest of Mixer sees of the language (mixer.md E)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mast.common.expressions.checker import Checker
from mast.common.expressions.parser import parse
from mast.common.expressions.tree import Constant, Node, Read, reads
from mast.common.expressions.types import ValueType
from mast.mixer.core.lang.codegen import Program
from mast.mixer.core.values import Get, Value

Types = Mapping[str, ValueType]


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """An expression that has a type.

    ``evaluate(get)`` gives its value or raises EvaluationError. ``reads`` is everything it can
    read; what it does read depends on the request (E17). ``tree`` is None for what is not compiled
    to Python; ``constant`` is the value of a literal, None if the expression is more than that.
    """

    text: str
    type: ValueType
    tree: Node | None
    types: Types
    reads: frozenset[Read]
    evaluate: Callable[[Get], Any]
    constant: Value | None = None


def compile_expression(text: str, types: Types, *, outputs: bool = False) -> Expression:
    """Parse, check and compile an expression over the attributes of a manifest.

    ``outputs`` allows ``$out`` names, which then are in ``types`` (D4). Raises ExpressionError
    with the texts of E5, E9 and E10.
    """
    tree = parse(text, outputs=outputs)
    found = Checker(types).type(tree)
    program = Program(types)
    evaluate = program.function(program.result(tree))
    constant = tree.value if isinstance(tree, Constant) else None
    return Expression(text, found, tree, types, frozenset(reads(tree)), evaluate, constant)
