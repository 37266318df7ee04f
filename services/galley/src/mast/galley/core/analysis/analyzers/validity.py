"""What Galley's rules say about objects one by one (part B), and deprecated fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message as Protobuf

from mast.galley.core.analysis import kinds
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.decode import is_map
from mast.galley.core.problem import Path, Problem, Severity, path_text

_INVALID, _DOUBTFUL, _DEPRECATED = "IST0106", "IST0133", "IST0002"

# Warnings that have a code of their own: by rule, and by kind and rule.
_OWN_CODES: Mapping[str, str] = {"deprecated": _DEPRECATED, "nobody": "IST0167"}
_OWN_CODES_BY_KIND: Mapping[tuple[str, str], str] = {
    (kinds.SERVICE_ENTRY, "addresses"): "IST0134",
}
_OPERATION_CODES: Mapping[str, str] = {
    "REPLACE": "IST0152",
    "ADD": "IST0153",
    "REMOVE": "IST0154",
}
"""For operations of EnvoyFilters that do not go with what they are applied to."""
_UNREACHABLE = "unreachable"
_UNREACHABLE_RULE, _INEFFECTIVE_MATCH = "IST0130", "IST0131"
_WITH_DEPRECATIONS = tuple(
    sorted(kind for kind in kinds.STORED if kind.startswith(kinds.NETWORKING))
)


def _validity(view: View) -> Iterator[Message]:
    for kind in sorted(view.inputs):
        for item in view.of(kind):
            for problem in item.problems:
                where = f"{problem.path}: " if problem.path else ""
                text = f"{where}{problem.message}"
                yield Message(_code(item, problem), item, text, line=problem.position.line)


def _code(item: Item, problem: Problem) -> str:
    if problem.severity is Severity.ERROR:
        is_operation = (item.kind, problem.rule) == (kinds.ENVOY_FILTER, "operation")
        operation = problem.message.partition(" ")[0] if is_operation else ""
        return _OPERATION_CODES.get(operation, _INVALID)
    if problem.rule == _UNREACHABLE:
        return _INEFFECTIVE_MATCH if ".match[" in problem.path else _UNREACHABLE_RULE
    by_kind = _OWN_CODES_BY_KIND.get((item.kind, problem.rule))
    return by_kind or _OWN_CODES.get(problem.rule, _DOUBTFUL)


def _deprecated(view: View) -> Iterator[Message]:
    for kind in _WITH_DEPRECATIONS:
        for item in view.of(kind):
            told = {each.path for each in item.problems if each.rule == "deprecated"}
            for path, what in _deprecations(item.body, ("spec",)):
                if path_text(path) not in told:
                    yield Message(_DEPRECATED, item, f"{path_text(path)}: {what}", path)


def _deprecations(message: Protobuf, at: Path) -> Iterator[tuple[Path, str]]:
    """Fields that are set and values that are given although they are marked as deprecated."""
    for field, value in message.ListFields():
        here = (*at, field.json_name)
        if field.GetOptions().deprecated:
            yield here, f"{field.json_name!r} is deprecated"
        elif field.message_type is None:
            yield from _values(field, value, here)
        elif field.message_type.full_name.startswith("istio.") or is_map(field):
            for path, item in _messages(field, value, here):
                yield from _deprecations(item, path)


def _values(field: FieldDescriptor, value: Any, at: Path) -> Iterator[tuple[Path, str]]:
    if field.enum_type is None:
        return
    for number in value if field.is_repeated else [value]:
        known = field.enum_type.values_by_number.get(number)
        if known is not None and known.GetOptions().deprecated:
            yield at, f"the value {known.name} is deprecated"


def _messages(field: FieldDescriptor, value: Any, at: Path) -> Iterable[tuple[Path, Protobuf]]:
    if is_map(field):
        return [((*at, str(key)), v) for key, v in value.items() if isinstance(v, Protobuf)]
    if field.is_repeated:
        return [((*at, index), each) for index, each in enumerate(value)]
    return [(at, value)]


ANALYZERS = (
    Analyzer(
        "validity.rules",
        "Objects that Galley would refuse, or takes with a warning.",
        frozenset(
            {
                _INVALID,
                _DOUBTFUL,
                _UNREACHABLE_RULE,
                _INEFFECTIVE_MATCH,
                *_OWN_CODES.values(),
                *_OPERATION_CODES.values(),
                *_OWN_CODES_BY_KIND.values(),
            }
        ),
        kinds.STORED,
        _validity,
    ),
    Analyzer(
        "validity.deprecations",
        "Fields and values of traffic rules that are marked as deprecated.",
        frozenset({_DEPRECATED}),
        frozenset(_WITH_DEPRECATIONS),
        _deprecated,
    ),
)
