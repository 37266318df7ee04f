"""How much a checked CEL expression can make: what could exhaust memory does not compile.

The evaluator limits how often loops run, but not how long texts and lists become in them:
``['a'].map(x, x + x).map(x, x + x)...`` doubles one with every word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Final, NamedTuple

from cel.expr.checked_pb2 import CheckedExpr, Type  # type: ignore[import-untyped]
from cel.expr.syntax_pb2 import Expr  # type: ignore[import-untyped]

from mast.common.expressions.tree import ExpressionError

LIMIT: Final = 10_000
"""Most of what one part of an expression may make: numbers and literals count 1."""
ATTRIBUTE: Final = 64
"""What a text or map of a request counts, which may be long."""

_GROWING: Final = frozenset({Type.STRING, Type.BYTES})


class Size(NamedTuple):
    """Bounds of a value: how much it is in all, how many elements it has, and of the largest."""

    whole: int
    elements: int
    largest: int

    def beside(self, other: Size) -> Size:
        """Both in one text or list."""
        return Size(
            self.whole + other.whole,
            self.elements + other.elements,
            max(self.largest, other.largest),
        )

    def either(self, other: Size) -> Size:
        """One of the two."""
        return Size(*map(max, self, other))

    def times(self, number: int) -> Size:
        """So many of it in one text or list."""
        return Size(self.whole * number, self.elements * number, self.largest)


NOTHING: Final = Size(0, 0, 0)


def of_one(size: int) -> Size:
    """Something of that size, whatever it is."""
    return Size(size, size, size)


def check_growth(checked: CheckedExpr) -> None:
    """Raises ExpressionError for an expression some part of which may become too large."""
    _Sizes(checked).of(checked.expr)


class _Sizes:
    """Upper bounds of what the parts of one expression make."""

    def __init__(self, checked: CheckedExpr) -> None:
        self._types = checked.type_map
        self._variables: dict[str, Size] = {}

    def of(self, part: Expr) -> Size:
        """The bounds of a part; raises ExpressionError if they are above the limit."""
        size = self._any(part)
        if size.whole > LIMIT:
            text = "the expression may make texts or lists that are too long"
            raise ExpressionError(f"{text}: {size.whole}, allowed: {LIMIT}")
        return of_one(1) if self._is_scalar(part) else size

    def _any(self, part: Expr) -> Size:
        match part.WhichOneof("expr_kind"):
            case "call_expr":
                return self._call(part.call_expr)
            case "comprehension_expr":
                return self._loop(part.comprehension_expr)
            case "ident_expr":
                return self._variables.get(part.ident_expr.name, of_one(ATTRIBUTE))
            case "select_expr":
                return of_one(self.of(part.select_expr.operand).largest)
            case "list_expr":
                return self._elements(part.list_expr.elements)
            case "struct_expr":
                entries = part.struct_expr.entries
                return self._elements(
                    [each for one in entries for each in (one.map_key, one.value)]
                )
        return of_one(1)

    def _elements(self, parts: Iterable[Expr]) -> Size:
        sizes = [self.of(each).whole for each in parts]
        return Size(1 + sum(sizes), len(sizes), max(sizes, default=0))

    def _call(self, call: Expr.Call) -> Size:
        given = [*([call.target] if call.HasField("target") else []), *call.args]
        sizes = [self.of(each) for each in given]
        match call.function:
            case "_?_:_":
                return sizes[1].either(sizes[2])
            case "_[_]":
                return of_one(sizes[0].largest)
        return reduce(Size.beside, sizes, NOTHING).either(of_one(1))

    def _loop(self, loop: Expr.Comprehension) -> Size:
        """What a loop begins with, and a step for every element."""
        elements = self.of(loop.iter_range)
        found = self.of(loop.accu_init)
        each = of_one(elements.largest)
        named = {name: each for name in (loop.iter_var, loop.iter_var2) if name}
        with self._bound({**named, loop.accu_var: NOTHING}):
            self.of(loop.loop_condition)
            step = self.of(loop.loop_step)
        with self._bound({loop.accu_var: found.beside(step.times(elements.elements))}):
            return self.of(loop.result)

    @contextmanager
    def _bound(self, variables: Mapping[str, Size]) -> Iterator[None]:
        outer = self._variables
        self._variables = {**outer, **variables}
        yield
        self._variables = outer

    def _is_scalar(self, part: Expr) -> bool:
        """Whether it is a number, a boolean or a time, however much it was made from."""
        found = self._types[part.id] if part.id in self._types else Type()
        kind = found.WhichOneof("type_kind")
        return kind in {"well_known", "null"} or (
            kind == "primitive" and found.primitive not in _GROWING
        )
