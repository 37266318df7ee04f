"""CEL expressions compiled: checked by Google's checker, their reads remembered as in CEXL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from cel.expr.checked_pb2 import CheckedExpr  # type: ignore[import-untyped]
from cel_expr_python import cel  # type: ignore[import-untyped]
from google.protobuf.any_pb2 import Any as AnyMessage

from mast.common.expressions.tree import EvaluationError, ExpressionError
from mast.common.expressions.types import ValueType
from mast.mixer.core.lang.cel import reading
from mast.mixer.core.lang.cel.environment import environment, names, written
from mast.mixer.core.lang.cel.growth import check_growth
from mast.mixer.core.lang.cel.rewriting import Rewriter, value_type
from mast.mixer.core.lang.expression import Expression, Types
from mast.mixer.core.values import Get, Value

LENGTH_LIMIT: Final = 10_000
"""Most characters of an expression."""

_STATUS: Final = re.compile(r"^[A-Z_]+: ")
_PLACE: Final = re.compile(r"^ERROR: <input>:")
_NO_KEY: Final = re.compile(r'^Key not found in map : "(.*)"$', re.DOTALL)
_NO_FIELD: Final = re.compile(r"undefined field '([^']*)'.*")


def compile_cel(text: str, types: Types) -> Expression:
    """Check and compile a CEL expression over the attributes of a manifest (E28, E29).

    Raises ExpressionError with the checker's first complaint.
    """
    if len(text) > LENGTH_LIMIT:
        raise ExpressionError(f"expression of {len(text)} characters; allowed: {LENGTH_LIMIT}")
    checked = _checked(text, types)
    check_growth(checked)
    kind = value_type(checked.type_map[checked.expr.id])
    rewriter = Rewriter(checked, names(types))
    if kind is None:
        raise ExpressionError(f"unable to use '{text}': its type is none that attributes have")
    rewriter.rewrite()
    return Expression(
        text,
        kind,
        None,
        types,
        frozenset(rewriter.reads),
        _evaluator(rewriter, kind),
        rewriter.constant,
    )


def _checked(text: str, types: Types) -> CheckedExpr:
    try:
        compiled = environment(types).compile(written(text))
    except RuntimeError as error:
        raise ExpressionError(f"unable to parse expression '{text}': {_reason(error)}") from error
    packed, checked = AnyMessage.FromString(compiled.serialize()), CheckedExpr()
    packed.Unpack(checked)
    return checked


def _reason(error: RuntimeError) -> str:
    """The first complaint: where in the text, and what."""
    first = str(error).partition("\n")[0]
    plain = _PLACE.sub("", _STATUS.sub("", first)).removesuffix(" [CANCELLED]")
    return _NO_FIELD.sub(r"undefined field '\1'", plain)


def _evaluator(rewriter: Rewriter, kind: ValueType) -> Callable[[Get], Value]:
    """What gives the value for a request; a mere attribute keeps its nanoseconds."""
    call = rewriter.checked.expr.call_expr
    if call.function == reading.READ[kind]:
        name = call.args[0].const_expr.string_value
        return lambda get: _plain(reading.attribute(name, kind, get))
    program = _program(rewriter.checked)

    def evaluate(get: Get) -> Value:
        try:
            with reading.request(get):
                found = program.eval(data={})
        except RuntimeError as error:
            raise EvaluationError(_STATUS.sub("", str(error)).partition(" [")[0]) from error
        if found.type() == cel.Type.ERROR:
            raise EvaluationError(_complaint(str(found.plain_value())))
        return reading.result(found.plain_value(), kind)

    return evaluate


def _plain(value: Value) -> Value:
    """Of a map every key counts as read (A10)."""
    return dict(value.items()) if isinstance(value, Mapping) else value


def _complaint(status: str) -> str:
    text = _STATUS.sub("", status)
    return _NO_KEY.sub(r"no such key: '\1'", text)


def _program(checked: CheckedExpr) -> Any:
    packed = AnyMessage()
    packed.Pack(checked)
    return _runtime().deserialize(packed.SerializeToString())


@cache
def _runtime() -> Any:
    return reading.runtime()
