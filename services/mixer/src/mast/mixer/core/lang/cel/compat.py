"""CEXL as CEL: the same syntax, the other semantics (mixer.md E30)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mast.common.expressions.parser import parse
from mast.common.expressions.tree import Attribute, Call, Constant, Node
from mast.common.expressions.types import ValueType
from mast.mixer.core.lang.cel.environment import PICK_LIMIT
from mast.mixer.core.values import Duration

_OPERATORS: Final[Mapping[str, str]] = {
    "EQ": "==",
    "NEQ": "!=",
    "LT": "<",
    "LEQ": "<=",
    "GT": ">",
    "GEQ": ">=",
    "LAND": "&&",
    "LOR": "||",
    "ADD": "+",
}


def as_cel(text: str, *, outputs: bool = False) -> str:
    """A CEXL expression as CEL writes it: ``|`` is ``pick``, durations are calls.

    The receiver of ``matches`` becomes the text, as in CEL. Raises ExpressionError as `parse`.
    """
    return _written(parse(text, outputs=outputs))


def _written(node: Node) -> str:
    if isinstance(node, Attribute):
        return node.name
    if isinstance(node, Constant):
        return _LITERALS[node.type](node.value) if node.type in _LITERALS else node.source
    if node.name == "OR":
        return _picked(_alternatives(node))
    arguments = [_written(each) for each in node.arguments]
    if node.name == "INDEX" and len(arguments) == 2:
        return f"{arguments[0]}[{arguments[1]}]"
    if node.name in _OPERATORS and len(arguments) == 2:
        return f"({arguments[0]} {_OPERATORS[node.name]} {arguments[1]})"
    target = "" if node.target is None else f"{_written(node.target)}."
    name = "conditional" if node.name == "conditionalString" else node.name
    return f"{target}{name}({', '.join(arguments)})"


def _picked(texts: Sequence[str]) -> str:
    """The first that is there, of any number: in each other where there are too many for one."""
    if len(texts) > PICK_LIMIT:
        texts = [*texts[: PICK_LIMIT - 1], _picked(texts[PICK_LIMIT - 1 :])]
    return f"pick({', '.join(texts)})"


def _alternatives(node: Node) -> list[str]:
    """The operands of a chain of ``|``."""
    if isinstance(node, Call) and node.name == "OR":
        return [text for each in node.arguments for text in _alternatives(each)]
    return [_written(node)]


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _duration(value: object) -> str:
    assert isinstance(value, Duration)  # noqa: S101  a literal of this type
    return f'duration("{value}")'.replace("µ", "u")


_LITERALS: Final[Mapping[ValueType, Callable[[object], str]]] = {
    ValueType.STRING: _quoted,
    ValueType.DURATION: _duration,
    ValueType.BOOL: lambda value: "true" if value else "false",
    ValueType.INT64: str,
}
