"""The rules of protoc-gen-validate for single values (`validate.FieldRules`), as checks."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from validate import validate_pb2

Check = Callable[[Any], Iterator[str]]
"""What is wrong with a value; nothing if all is well."""

_HEADER_NAME: Final = "^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$"
_HEADER_VALUE: Final = r"^[^\x00-\x08\x0A-\x1F\x7F]*$"
_ONE_LINE: Final = r"^[^\x00\x0A\x0D]*$"
_NUMBERS: Final = frozenset(
    {"float", "double", "fixed32", "fixed64", "sfixed32", "sfixed64"}
    | {f"{sign}int{bits}" for sign in ("", "s", "u") for bits in (32, 64)}
)
_LONGEST: Final = 40


def value_check(rules: validate_pb2.FieldRules, field: FieldDescriptor) -> Check | None:
    """The check of a value, None if there are no rules for it."""
    kind = rules.WhichOneof("type")
    if kind is None:
        return None
    own = getattr(rules, kind)
    limits = {each.name: value for each, value in own.ListFields()}
    if kind in _NUMBERS:
        return lambda value: _number(value, limits)
    if kind == "duration":
        nanos = {name: _nanoseconds(each) for name, each in limits.items()}
        return lambda value: _duration(value, nanos)
    if kind == "enum":
        known = frozenset(field.enum_type.values_by_number) if field.enum_type else frozenset()
        return lambda value: _enum(value, limits, known)
    check = _KINDS.get(kind)
    return None if check is None else lambda value: check(value, limits)


def _string(value: str, limits: Mapping[str, Any]) -> Iterator[str]:
    if not value and limits.get("ignore_empty"):
        return
    yield from _length(len(value), limits, "len", "characters")
    yield from _length(len(value.encode()), limits, "bytes", "bytes")
    for name, holds in (
        ("prefix", value.startswith),
        ("suffix", value.endswith),
        ("contains", value.__contains__),
    ):
        if name in limits and not holds(limits[name]):
            yield f"{_shown(value)} must have the {name} {limits[name]!r}"
    yield from _choice(value, limits)
    pattern = limits.get("pattern") or _known_pattern(limits)
    if pattern is not None and _compiled(pattern).search(value) is None:
        yield f"{_shown(value)} does not match {pattern}"


def _octets(value: bytes, limits: Mapping[str, Any]) -> Iterator[str]:
    yield from _length(len(value), limits, "len", "bytes")


@cache
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern)


def _known_pattern(limits: Mapping[str, Any]) -> str | None:
    known = limits.get("well_known_regex")
    if known is None:
        return None
    if not limits.get("strict", True):
        return _ONE_LINE
    return _HEADER_NAME if known == validate_pb2.HTTP_HEADER_NAME else _HEADER_VALUE


def _number(value: float, limits: Mapping[str, Any]) -> Iterator[str]:
    yield from _range(value, limits, str)
    yield from _choice(value, limits)


def _duration(value: Duration, limits: Mapping[str, int]) -> Iterator[str]:
    yield from _range(_nanoseconds(value), limits, lambda nanos: f"{nanos / 1e9:g}s")


def _range(value: float, limits: Mapping[str, Any], shown: Callable[[Any], str]) -> Iterator[str]:
    for name, holds, sign in (
        ("gt", value > limits.get("gt", value - 1), ">"),
        ("gte", value >= limits.get("gte", value), ">="),
        ("lt", value < limits.get("lt", value + 1), "<"),
        ("lte", value <= limits.get("lte", value), "<="),
    ):
        if name in limits and not holds:
            yield f"{shown(value)} is out of range; allowed: {sign} {shown(limits[name])}"


def _enum(value: int, limits: Mapping[str, Any], known: frozenset[int]) -> Iterator[str]:
    if limits.get("defined_only") and value not in known:
        yield f"{value} is no value of the enum"
    yield from _choice(value, limits)


def _bool(value: bool, limits: Mapping[str, Any]) -> Iterator[str]:
    yield from _choice(value, limits)


def _choice(value: Any, limits: Mapping[str, Any]) -> Iterator[str]:
    if "const" in limits and value != limits["const"]:
        yield f"{_shown(value)} is not allowed; allowed: {limits['const']}"
    if limits.get("in") and value not in limits["in"]:
        allowed = ", ".join(map(str, limits["in"]))
        yield f"{_shown(value)} is not allowed; allowed: {allowed}"
    if value in limits.get("not_in", ()):
        yield f"{_shown(value)} is not allowed"


def _repeated(value: Any, limits: Mapping[str, Any]) -> Iterator[str]:
    yield from _length(len(value), limits, "items", "items")
    if limits.get("unique") and any(each in value[:index] for index, each in enumerate(value)):
        yield "an item is given twice"


def _map(value: Any, limits: Mapping[str, Any]) -> Iterator[str]:
    yield from _length(len(value), limits, "pairs", "entries")


def _length(length: int, limits: Mapping[str, Any], unit: str, shown: str) -> Iterator[str]:
    low, high = limits.get(f"min_{unit}", 0), limits.get(f"max_{unit}")
    if length < low:
        yield "must not be empty" if low == 1 else f"needs {low} {shown} or more, not {length}"
    if high is not None and length > high:
        yield f"takes {high} {shown} at most, not {length}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _nanoseconds(value: Any) -> int:
    return value.ToNanoseconds() if isinstance(value, Duration) else int(value)


_KINDS: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], Iterator[str]]]] = {
    "string": _string,
    "bytes": _octets,
    "bool": _bool,
    "repeated": _repeated,
    "map": _map,
}
