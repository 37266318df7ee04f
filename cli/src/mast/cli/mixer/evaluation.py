"""Expressions evaluated as Mixer does, one case at a time (mixer.md E)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mast.cli.mixer.values import BadValue, from_json, to_json, valid_text
from mast.common.expressions.tree import EvaluationError, ExpressionError
from mast.common.expressions.types import ValueType
from mast.mixer.core.bag import Tracker
from mast.mixer.core.engine import Condition, Reference
from mast.mixer.core.lang.dialects import Dialect
from mast.mixer.core.lang.expression import Types
from mast.mixer.core.values import Attributes


@dataclass(frozen=True, kw_only=True)
class Case:
    """An expression, the types of the attributes it may use, and a request's attributes."""

    expression: str
    types: Types = field(default_factory=dict)
    attributes: Attributes = field(default_factory=dict)
    dialect: Dialect = Dialect.CEXL


def case_of(described: Any) -> Case:
    """The case that a JSON object describes; BadValue names the field that does not.

    ``{"expr", "manifest": {attribute: type}, "attributes": {name: value}, "dialect"}``; all but
    the first may be left out.
    """
    if not isinstance(described, Mapping) or not isinstance(described.get("expr"), str):
        raise BadValue('want an object with "expr", a string')
    unknown = sorted(set(described) - {"expr", "manifest", "attributes", "dialect", "id"})
    if unknown:
        raise BadValue(
            f"unknown field {unknown[0]!r}; allowed: expr, manifest, attributes, dialect"
        )
    return Case(
        expression=valid_text(described["expr"]),
        types=types_of(_object(described, "manifest")),
        attributes={
            valid_text(name): _value(name, value)
            for name, value in _object(described, "attributes").items()
        },
        dialect=dialect_of(described.get("dialect", Dialect.CEXL)),
    )


def types_of(manifest: Mapping[str, Any]) -> dict[str, ValueType]:
    """Types by their names; BadValue names an attribute whose type is none."""
    for name, word in manifest.items():
        if not isinstance(word, str) or word not in ValueType.__members__:
            allowed = ", ".join(ValueType.__members__)
            raise BadValue(f"manifest: {name}: type {word!r}; allowed: {allowed}")
    return {valid_text(name): ValueType[word] for name, word in manifest.items()}


def _object(described: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = described.get(name) or {}
    if not isinstance(found, Mapping):
        raise BadValue(f"{name}: {found!r} is no object")
    return found


def _value(name: str, described: Any) -> Any:
    try:
        return from_json(described)
    except BadValue as error:
        raise BadValue(f"attributes: {name}: {error}") from error


def dialect_of(word: Any) -> Dialect:
    """The language of that name; BadValue if there is none."""
    if not isinstance(word, str) or word not in Dialect.__members__:
        raise BadValue(f"dialect: {word!r}; allowed: {', '.join(Dialect)}")
    return Dialect(word)


def line_outcome(line: bytes) -> tuple[dict[str, Any], bool]:
    """What becomes of the case that a line of JSON describes, and whether it describes one.

    A line that does not is told as an expression that does not compile is.
    """
    try:
        return outcome(case_of(_parsed(line))), True
    except BadValue as error:
        return {"outcome": "compile_error", "error": str(error), "referenced": []}, False


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadValue(f"not JSON: {error}") from error


def outcome(case: Case) -> dict[str, Any]:
    """What becomes of a case: ``value``, ``compile_error`` or ``eval_error``.

    With ``type``, ``value`` and ``error`` as far as there are any, and ``referenced``: what was
    looked up, ``-`` before what was absent, ``map[key]`` for a key of a map (A7).
    """
    try:
        compiled = case.dialect.compile(case.expression, case.types)
    except ExpressionError as error:
        return {"outcome": "compile_error", "error": str(error), "referenced": []}
    request = Tracker(case.attributes)
    try:
        value = compiled.evaluate(request.get)
    except EvaluationError as error:
        found: dict[str, Any] = {"outcome": "eval_error", "error": str(error)}
    else:
        found = {"outcome": "value", "value": to_json(value)}
    return {**found, "type": str(compiled.type), "referenced": _shown(request.referenced)}


def _shown(references: Iterable[Reference]) -> list[str]:
    return [
        ("-" if each.condition is Condition.ABSENCE else "")
        + each.name
        + ("" if each.map_key is None else f"[{each.map_key}]")
        for each in references
    ]
