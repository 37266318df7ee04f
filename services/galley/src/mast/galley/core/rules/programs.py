"""Programs within configuration: what Envoy does not load is refused before it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import re2  # type: ignore[import-untyped]
from cel.expr.checked_pb2 import CheckedExpr  # type: ignore[import-untyped]
from cel.expr.syntax_pb2 import Expr  # type: ignore[import-untyped]
from cel_expr_python import cel  # type: ignore[import-untyped]
from google.protobuf.any_pb2 import Any as AnyMessage
from lupa import luajit21  # type: ignore[import-untyped]

# What Envoy's expressions are about (Envoy documentation, "Attributes").
ATTRIBUTES = (
    "connection",
    "destination",
    "filter_state",
    "metadata",
    "request",
    "response",
    "source",
    "upstream",
    "upstream_filter_state",
    "xds",
)
# Envoy's limit of constant regular expressions in expressions.
CEL_REGEX_LIMIT = 100


def expression(text: str) -> str | None:
    """A CEL expression about the attributes of a request, of what Envoy has switched on."""
    try:
        compiled = _attributes().compile(text)
    except RuntimeError as error:
        known = f"; attributes: {', '.join(ATTRIBUTES)}" if "undeclared" in str(error) else ""
        return f"{text!r} is not a CEL expression: {_reason(str(error))}{known}"
    packed, checked = AnyMessage.FromString(compiled.serialize()), CheckedExpr()
    packed.Unpack(checked)
    complaints = (complaint for each in _parts(checked.expr) if (complaint := _unavailable(each)))
    return next((f"{text!r} {complaint}" for complaint in complaints), None)


def inline_expression(text: str) -> str | None:
    """An expression that is put into a format, which ends at ``)%`` and has one line."""
    if ")%" in text or "\n" in text or "\r" in text:
        return f"{text!r} has a line break or ')%'; write ') %' for the rest of a division"
    return expression(text)


def lua(code: str) -> str | None:
    """A Lua program that LuaJIT can read; nothing of it is run."""
    try:
        _reader().compile(code)
    except luajit21.LuaError as error:
        return f"code is not Lua: {_reason(str(error))}"
    return None


def _unavailable(part: Expr) -> str | None:
    """What a part of an expression asks for that Envoy does not have."""
    if part.HasField("comprehension_expr"):
        return "goes through a list or map, which proxies do not support (exists, all, map, filter)"
    call = part.call_expr
    if call.function == "string":
        return "converts to a string, which proxies do not support"
    if call.function == "matches" and call.args[-1].const_expr.HasField("string_value"):
        return _pattern(call.args[-1].const_expr.string_value)
    return None


def _pattern(text: str) -> str | None:
    options = re2.Options()
    options.log_errors = False
    try:
        size = re2.compile(text, options).programsize
    except re2.error:
        return f"has {text!r}, which is not an RE2 regular expression"
    if size > CEL_REGEX_LIMIT:
        return f"has {text!r}, a regular expression of {size} steps; allowed: {CEL_REGEX_LIMIT}"
    return None


def _parts(whole: Expr) -> Iterator[Expr]:
    """An expression and all within it."""
    yield whole
    match whole.WhichOneof("expr_kind"):
        case "select_expr":
            inner = [whole.select_expr.operand]
        case "call_expr":
            inner = [whole.call_expr.target, *whole.call_expr.args]
        case "list_expr":
            inner = list(whole.list_expr.elements)
        case "struct_expr":
            entries = whole.struct_expr.entries
            inner = [part for each in entries for part in (each.map_key, each.value)]
        case _:
            inner = []
    for each in inner:
        yield from _parts(each)


def _reason(error: str) -> str:
    """The first line of an error, without where it was found."""
    first = error.partition("\n")[0]
    return first.rpartition("<input>:")[2] or first


@cache
def _attributes() -> cel.Env:
    return cel.NewEnv(variables=dict.fromkeys(ATTRIBUTES, cel.Type.DYN))


@cache
def _reader() -> luajit21.LuaRuntime:
    return luajit21.LuaRuntime(register_eval=False, register_builtins=False)
