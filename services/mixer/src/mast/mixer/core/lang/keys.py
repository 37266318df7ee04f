"""Functions that take from a record just what expressions can read, as a hashable key."""

from __future__ import annotations

import ast
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

from mast.common.expressions.tree import Read
from mast.common.expressions.types import ValueType
from mast.mixer.core.lang.codegen import Program
from mast.mixer.core.values import Get

# Types whose values Python may find equal though expressions tell them apart: 1, 1.0 and True.
_NUMERIC = frozenset({ValueType.BOOL, ValueType.INT64, ValueType.DOUBLE})

_NO_KEY = False


def compile_key(
    reads: Iterable[Read], types: Mapping[str, ValueType]
) -> Callable[[Get], tuple[Hashable, ...]]:
    """A function of ``get``: records with equal keys give equal values to all expressions.

    The expressions are those that read no more than ``reads``. A key is hashable unless an
    attribute holds a map where ``types`` declares something else: see :func:`hashable`.
    """
    wanted = set(reads)
    whole = {read.name for read in wanted if read.key is None}
    program = Program(types)
    parts: list[ast.expr] = []
    for name, key in sorted(wanted, key=lambda read: (read.name, read.key or "")):
        fetch = ast.Call(ast.Name("get", ast.Load()), [ast.Constant(name)], [])
        kind = types.get(name)
        if key is not None:
            if name not in whole:
                parts.append(_call(program, _entry, fetch, ast.Constant(key)))
        elif kind is ValueType.STRING_MAP:
            parts.append(_call(program, hashable, fetch))
        elif kind in _NUMERIC:
            parts.append(_call(program, _exact, fetch))
        else:
            parts.append(fetch)
    return program.function(ast.Tuple(parts, ast.Load()))


def _call(program: Program, function: Callable[..., Any], *arguments: ast.expr) -> ast.expr:
    return ast.Call(program.constant(function), list(arguments), [])


def _entry(entries: Any, key: str) -> Hashable:
    """A map's value for a key; absent maps, absent keys and other values are all told apart."""
    if entries is None:
        return None
    if isinstance(entries, Mapping):
        value: Hashable = entries.get(key, _NO_KEY)
        return value
    return type(entries), hashable(entries)


def _exact(value: Any) -> Hashable:
    """A number together with its type; floats by their digits, so that -0.0 is not 0.0."""
    if value is None:
        return None
    return type(value), repr(value) if isinstance(value, float) else hashable(value)


def hashable(value: Any) -> Hashable:
    """A value as part of a key: maps become tuples."""
    return tuple(value.items()) if isinstance(value, Mapping) else value
