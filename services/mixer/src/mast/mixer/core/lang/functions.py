"""What the functions of the expression language compute (mixer.md E6, E18 to E25)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import lru_cache
from typing import Any

import re2  # type: ignore[import-untyped]

from mast.common.expressions.tree import EvaluationError
from mast.mixer.core.lang.memory import remembered
from mast.mixer.core.values import (
    INT64_MIN,
    NANOS,
    Duration,
    Timestamp,
    Value,
    short_float_text,
    short_ip,
    text,
)

_PATTERNS = 256
"""Patterns that are kept compiled though they are no literals; each may take megabytes."""
_RE2 = re2.Options()
_RE2.log_errors = False
_BRACKETS = re.compile(r"\\.|[()]", re.DOTALL)
_DEEPEST = 1000
"""Parentheses that Go allows in each other; the time that RE2 takes grows with their square."""


def match(value: str, pattern: str) -> bool:
    """``x*`` is a prefix test, else ``*x`` a suffix test, else the two are equal (E19)."""
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return value == pattern


@lru_cache(maxsize=_PATTERNS)
def regex(pattern: str) -> Any:
    """The compiled RE2 pattern; EvaluationError if it is invalid (E25)."""
    if _nesting(pattern) > _DEEPEST:
        raise EvaluationError("error parsing regexp: expression nests too deeply")
    try:
        return re2.compile(pattern, _RE2)
    except re2.error as error:
        detail = error.args[0] if error.args else b""
        reason = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        raise EvaluationError(f"error parsing regexp: {reason}: `{pattern}`") from error


def _nesting(pattern: str) -> int:
    """Parentheses in parentheses; those in brackets, which are characters, count, too."""
    depth = deepest = 0
    for bracket in _BRACKETS.findall(pattern):
        depth += {"(": 1, ")": -1}.get(bracket, 0)
        deepest = max(deepest, depth)
    return deepest


def matches(pattern: str, value: str) -> bool:
    """Whether the RE2 pattern is found anywhere in the value (E6)."""
    return regex(pattern).search(value) is not None


def finder(pattern: str) -> Callable[[str], bool]:
    """`matches` of one pattern, compiled when it is first asked and kept; raises as `regex`."""
    compiled: Any = None

    def find(value: str) -> bool:
        nonlocal compiled
        if compiled is None:
            compiled = regex(pattern)
        return compiled.search(value) is not None

    return find


def starts_with(value: str, prefix: str) -> bool:
    """``value.startsWith(prefix)``."""
    return value.startswith(prefix)


def ends_with(value: str, suffix: str) -> bool:
    """``value.endsWith(suffix)``."""
    return value.endswith(suffix)


def size(value: str) -> int:
    """Length in UTF-8 bytes."""
    return len(value.encode())


def to_lower(value: str) -> str:
    """Lower case, letter by letter (Go's strings.ToLower, without special casing)."""
    if value.isascii():
        return value.lower()
    return "".join([letter.lower()[0] for letter in value])


def conditional_string(condition: bool, left: str, right: str) -> str:
    """One of two strings, both of which have been computed."""
    return left if condition else right


def wrapped_sum(left: int, right: int) -> int:
    """The sum of two INT64, wrapping at 64 bits (E6)."""
    return (left + right - INT64_MIN) % (1 << 64) + INT64_MIN


_DOTTED = re.compile(r"(?:(.*):)?([0-9]+(?:\.[0-9]+){3})")


@remembered
def ip(address: str) -> bytes:
    """The address in 4 or 16 bytes: dotted quad, IPv6, 4-in-6; no zone, no prefix (E20)."""
    try:
        return short_ip(_packed(address))
    except ValueError as error:
        raise EvaluationError(f"could not convert {address} to IP_ADDRESS") from error


def _packed(address: str) -> bytes:
    dotted = _DOTTED.fullmatch(address)
    if dotted is None or not address.isascii():
        if "%" in address or ":" not in address:
            raise ValueError(address)
        return ipaddress.IPv6Address(address).packed
    quad = bytes([int(part) if len(part) < 10 else 256 for part in dotted[2].split(".")])
    if dotted[1] is None:
        return quad
    return ipaddress.IPv6Address(f"{dotted[1]}:{quad[:2].hex()}:{quad[2:].hex()}").packed


_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:Z|([-+])([0-9]{2}):([0-9]{2}))"
)
_EPOCH_DAY = date(1970, 1, 1)


@remembered
def timestamp(literal: str) -> Timestamp:
    """The instant that an RFC 3339 text names, any number of decimals (E21)."""
    try:
        return Timestamp(_instant(literal))
    except ValueError as error:
        expected = "expected format: '2006-01-02T15:04:05Z07:00'"
        raise EvaluationError(f"could not convert '{literal}' to TIMESTAMP. {expected}") from error


def _instant(literal: str) -> int:
    parts = _RFC3339.fullmatch(literal)
    if parts is None:
        raise ValueError(literal)
    hour, minute, second = (int(part) for part in parts.group(4, 5, 6))
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(literal)
    days = (date(int(parts[1]), int(parts[2]), int(parts[3])) - _EPOCH_DAY).days
    seconds = days * 86400 + hour * 3600 + minute * 60 + second
    if parts[8]:
        if int(parts[9]) > 24 or int(parts[10]) > 59:
            raise ValueError(literal)
        offset = int(parts[9]) * 3600 + int(parts[10]) * 60
        seconds -= offset if parts[8] == "+" else -offset
    return seconds * NANOS + int((parts[7] or "0")[:9].ljust(9, "0"))


def missing(name: str) -> EvaluationError:
    """The error for an attribute that is absent where a value is needed (E12)."""
    return EvaluationError(f"lookup failed: '{name}'")


def _mismatch(kind: str, value: Value) -> EvaluationError:
    return EvaluationError(f"error converting value to {kind}: '{go_text(value)}'")


def go_text(value: Value) -> str:
    """A value as Go prints it with ``%v``, for error texts."""
    if isinstance(value, float):
        return short_float_text(value)
    if isinstance(value, bytes):
        return f"[{' '.join(map(str, value))}]"
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{value[key]}' for key in sorted(value))}]"
    if isinstance(value, Timestamp):
        shown = text(value)[:-1].rstrip("0").rstrip(".").replace("T", " ")
        return f"{shown} +0000 UTC"
    return text(value)


def read_string(name: str, value: Value | None) -> str:
    """A value that ought to be a string; EvaluationError if absent or not (E12, E18)."""
    if isinstance(value, str):
        return value
    raise missing(name) if value is None else _mismatch("string", value)


def read_bool(name: str, value: Value | None) -> bool:
    """The error for a value that ought to be a bool; bool has no subclasses."""
    raise missing(name) if value is None else _mismatch("bool", value)


def read_double(name: str, value: Value | None) -> float:
    """A value that ought to be a double."""
    if isinstance(value, float):
        return value
    raise missing(name) if value is None else _mismatch("double", value)


def read_integer(name: str, value: Value | None) -> int:
    """A value that ought to be an integer; a duration counts in nanoseconds (E18)."""
    if isinstance(value, Duration):
        return value.ns
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise missing(name) if value is None else _mismatch("integer or duration", value)


def read_duration(name: str, value: Value | None) -> Duration:
    """A value that ought to be a duration; an integer counts nanoseconds (E18)."""
    return value if isinstance(value, Duration) else Duration(read_integer(name, value))


def read_timestamp(name: str, value: Value | None) -> Timestamp:
    """A value that ought to be a timestamp."""
    if isinstance(value, Timestamp):
        return value
    raise missing(name) if value is None else _mismatch("timestamp", value)


def read_ip(name: str, value: Value | None) -> bytes:
    """A value that ought to be an address in bytes."""
    if isinstance(value, bytes):
        return value
    raise missing(name) if value is None else _mismatch("ip address", value)


def read_map(name: str, value: Value | None) -> Mapping[str, str]:
    """A value that ought to be a string map."""
    if isinstance(value, Mapping):
        return value
    raise missing(name) if value is None else _mismatch("string map", value)
