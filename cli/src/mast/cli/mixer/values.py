"""Attribute values as text: of options, as mixc takes them, and of JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import Any, Final

from mast.cli.errors import CommandError
from mast.common.expressions.tree import EvaluationError
from mast.common.expressions.types import ValueType
from mast.mixer.core.lang.functions import ip, timestamp
from mast.mixer.core.values import (
    INT64_MAX,
    INT64_MIN,
    NANOS,
    Duration,
    Timestamp,
    Value,
    parse_duration,
)

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_MOST_DIGITS: Final = 1000
"""Python reads some more, no number of 64 bits has that many."""


class BadValue(ValueError):
    """Text or JSON that is no attribute value; the message says what is allowed."""


def from_json(described: Any) -> Value:
    """The value that ``{"t": TYPE, "v"|"ns"|"hex": ...}`` describes; BadValue if none.

    ``v`` is a string, number, boolean, RFC 3339 time or map of strings; a duration has ``ns``,
    nanoseconds, and bytes have ``hex``.
    """
    kind = str(described.get("t")) if isinstance(described, Mapping) else ""
    if kind not in _FROM_JSON:
        raise BadValue(f'{described!r}: want {{"t": one of {", ".join(_FROM_JSON)}, ...}}')
    field, convert = _FROM_JSON[kind]
    if field not in described:
        raise BadValue(f"a {kind} needs {field!r}")
    return convert(described[field])


def to_json(value: Value) -> dict[str, Any]:
    """The inverse of ``from_json``; doubles that JSON does not have are text (``"NaN"``)."""
    if isinstance(value, Mapping):
        return {"t": "string_map", "v": dict(value)}
    if isinstance(value, Duration):
        return {"t": "duration", "ns": value.ns}
    if isinstance(value, Timestamp):
        return {"t": "timestamp", "v": _rfc3339(value)}
    if isinstance(value, bytes):
        return {"t": "bytes", "hex": value.hex()}
    if isinstance(value, float):
        return {"t": "double", "v": value if isfinite(value) else _UNENDING[str(value)]}
    for kind, name in ((bool, "bool"), (int, "int64")):
        if isinstance(value, kind):
            return {"t": name, "v": value}
    return {"t": "string", "v": value}


_UNENDING: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
"""How JSON of protocol buffers writes them."""


def valid_text(given: str) -> str:
    """Text without halves of characters, which JSON may hold but UTF-8 may not: they are U+FFFD."""
    return _HALVES.sub("\N{REPLACEMENT CHARACTER}", given)


_HALVES: Final = re.compile("[\ud800-\udfff]")


def _rfc3339(value: Timestamp) -> str:
    """As many decimals as the instant needs."""
    seconds, nanos = divmod(value.ns, NANOS)
    whole = str(Timestamp(seconds * NANOS)).partition(".")[0]
    fraction = f".{nanos:09d}".rstrip("0") if nanos else ""
    return f"{whole}{fraction}Z"


def _string(given: Any) -> str:
    if not isinstance(given, str):
        raise BadValue(f"{given!r} is no string")
    return valid_text(given)


def _int64(given: Any) -> int:
    """A number, or the digits of one."""
    readable = isinstance(given, str) and len(given) < _MOST_DIGITS and _INTEGER.fullmatch(given)
    number = int(given) if readable else given
    if isinstance(number, bool) or not isinstance(number, int):
        raise BadValue(f"{given!r} is no integer")
    if not INT64_MIN <= number <= INT64_MAX:
        raise BadValue(f"{given!r} does not fit into 64 bits")
    return number


def amount(text: str) -> int:
    """An amount of a quota; BadValue if it is no integer of 64 bits."""
    return _int64(text)


def _double(given: Any) -> float:
    try:
        if isinstance(given, bool):
            raise TypeError
        return float(given)
    except (TypeError, ValueError):
        raise BadValue(f"{given!r} is no number") from None


def _bool(given: Any) -> bool:
    """A boolean, or one of the words that Go reads as such."""
    words = {**dict.fromkeys(("1", "t", "true"), True), **dict.fromkeys(("0", "f", "false"), False)}
    found = words.get(given.lower()) if isinstance(given, str) else given
    if not isinstance(found, bool):
        raise BadValue(f"{given!r} is no boolean: true or false")
    return found


def _timestamp(given: Any) -> Timestamp:
    try:
        return timestamp(_string(given))
    except EvaluationError as error:
        raise BadValue(str(error)) from error


def _duration(given: Any) -> Duration:
    return Duration(_int64(given))


def _bytes(given: Any) -> bytes:
    try:
        return bytes.fromhex(_string(given))
    except ValueError as error:
        raise BadValue(f"{given!r} is no hexadecimal text") from error


def _string_map(given: Any) -> Mapping[str, str]:
    if not isinstance(given, Mapping):
        raise BadValue(f"{given!r} is no map of strings")
    return {_string(key): _string(value) for key, value in given.items()}


_FROM_JSON: Final[Mapping[str, tuple[str, Callable[[Any], Value]]]] = {
    "string": ("v", _string),
    "int64": ("v", _int64),
    "double": ("v", _double),
    "bool": ("v", _bool),
    "timestamp": ("v", _timestamp),
    "duration": ("ns", _duration),
    "bytes": ("hex", _bytes),
    "string_map": ("v", _string_map),
}


# What options say.


def _duration_text(text: str) -> Duration:
    found = parse_duration(text)
    if found is None:
        raise BadValue(f"{text!r} is no duration such as 1m30s or 250ms")
    return Duration(found)


def _bytes_text(text: str) -> bytes:
    """``b0:b1:b3``, hexadecimal, or an IP address."""
    try:
        return bytes.fromhex(text.replace(":", "")) if _COLONS.fullmatch(text) else ip(text)
    except EvaluationError as error:
        raise BadValue(f"{text!r}: want b0:b1:b3 in hexadecimal, or an IP address") from error


_COLONS: Final = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2})*")


def _map_text(text: str) -> Mapping[str, str]:
    """``k1:v1;k2:v2``."""
    found = {}
    for entry in filter(None, text.split(";")):
        key, colon, value = entry.partition(":")
        if not colon:
            raise BadValue(f"{entry!r}: want KEY:VALUE;KEY:VALUE")
        found[key] = value
    return found


def sensed(text: str) -> Value:
    """The value of the first type that reads the text, as mixc senses it; else the string."""
    for read in (_int64, _double, _bool, _timestamp, _duration_text, _sensed_bytes, _sensed_map):
        try:
            return read(text)
        except BadValue:
            continue
    return text


def _sensed_bytes(text: str) -> bytes:
    if ":" not in text or not _COLONS.fullmatch(text):
        raise BadValue(text)
    return _bytes_text(text)


def _sensed_map(text: str) -> Mapping[str, str]:
    if ";" not in text:
        raise BadValue(text)
    return _map_text(text)


READERS: Final[Mapping[str, Callable[[str], Value]]] = {
    "string": _string,
    "int64": _int64,
    "double": _double,
    "bool": _bool,
    "timestamp": _timestamp,
    "duration": _duration_text,
    "bytes": _bytes_text,
    "stringmap": _map_text,
    "": sensed,
}
"""What reads the values of each option, ``--KIND_attributes``; of ``--attributes`` under ""."""

TYPES: Final[Mapping[type, ValueType]] = {
    str: ValueType.STRING,
    bool: ValueType.BOOL,
    int: ValueType.INT64,
    float: ValueType.DOUBLE,
    Timestamp: ValueType.TIMESTAMP,
    Duration: ValueType.DURATION,
    bytes: ValueType.IP_ADDRESS,
    dict: ValueType.STRING_MAP,
}
"""The type that a manifest would have for a value."""


def attributes(options: Mapping[str, str]) -> dict[str, Value]:
    """The attributes of all options, texts by kind; the later of equal names counts.

    CommandError names option and pair that cannot be read.
    """
    found: dict[str, Value] = {}
    for kind, texts in options.items():
        option = f"--{kind}_attributes" if kind else "--attributes"
        for name, text in pairs(texts, option):
            try:
                found[name] = READERS[kind](text)
            except BadValue as error:
                raise CommandError(f"{option}: {name}: {error}", status=2) from error
    return found


def pairs(text: str, option: str) -> Iterator[tuple[str, str]]:
    """Of ``name=value,name=value``; CommandError names the option."""
    for pair in filter(None, text.split(",")):
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CommandError(f"{option}: {pair!r}: want NAME=VALUE,NAME=VALUE", status=2)
        yield name, value
