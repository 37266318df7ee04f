"""Scalar values of proto3 JSON, strictly: what a field of each type accepts, and what it says."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from mast.galley.core.documents import Node

_RANGES: Mapping[int, tuple[int, int]] = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SINT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
}
_DIGITS = re.compile(r"-?[0-9]{1,20}")
_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DURATION = re.compile(r"([-+]?)((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
# Characters of the longest duration that is read; Python refuses to count beyond 4300 digits.
_LONG = 256
_MAX_DURATION_NS = 3_652_500 * 24 * _UNIT_NS["h"]


Reader = Callable[[Node], str | float | bool | bytes]


class WrongValue(ValueError):
    """The value does not fit the field; the message says what is allowed."""


def shown(node: Node) -> str:
    """A value as a message quotes it."""
    match node.value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case None:
            return "null"
        case str() as text:
            return repr(text if len(text) <= 64 else text[:61] + "...")
        case value:
            return node.text or str(value).lower()


def unicode(text: str) -> str:
    """Text that protobuf takes: JSON may name half a character (a surrogate) alone."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise WrongValue(f"{text[:64]!r} is not Unicode: {error.reason}") from error
    return text


def string(node: Node) -> str:
    """Text; a number or boolean without quotes is not."""
    if isinstance(node.value, str):
        return unicode(node.value)
    if isinstance(node.value, bool | int | float):
        raise WrongValue(f'{shown(node)} is not text; write "{shown(node)}" in quotes')
    raise WrongValue(f"{shown(node)} is not text")


def boolean(node: Node) -> bool:
    """``true`` or ``false``."""
    if isinstance(node.value, bool):
        return node.value
    raise WrongValue(f"{shown(node)} is not a boolean; allowed: true, false")


def integer(node: Node, kind: int) -> int:
    """A whole number in the range of a field type; decimal text is accepted (proto3 JSON)."""
    value = node.value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    low, high = _RANGES[kind]
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongValue(f"{shown(node)} is not a whole number")
    if not low <= value <= high:
        raise WrongValue(f"{value} is out of range; allowed: {low} to {high}")
    return value


def number(node: Node) -> float:
    """A number, or "NaN", "Infinity", "-Infinity" (proto3 JSON)."""
    value = node.value
    if isinstance(value, str) and value in _NUMBERS:
        return _NUMBERS[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongValue(f"{shown(node)} is not a number")
    try:
        return float(value)
    except OverflowError as error:
        raise WrongValue("the number is out of range") from error


def octets(node: Node) -> bytes:
    """Base64 text, standard or URL-safe; line breaks in it mean nothing."""
    text = "".join(string(node).splitlines())
    text = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise WrongValue(f"{shown(node)} is not base64") from error


def enumerated(node: Node, enum: EnumDescriptor) -> int:
    """A name of the enum, or the number of one."""
    value = node.value
    if isinstance(value, str) and value in enum.values_by_name:
        return int(enum.values_by_name[value].number)
    if type(value) is int and value in enum.values_by_number:
        return value
    allowed = ", ".join(known.name for known in enum.values)
    raise WrongValue(f"{shown(node)} is not allowed; allowed: {allowed}")


def duration_ns(node: Node) -> int:
    """Nanoseconds of a duration such as "10s", "1.5s", "100ms", "1h30m"."""
    text = node.value
    if not isinstance(text, str) or len(text) > _LONG or not _DURATION.fullmatch(text):
        raise WrongValue(f"{shown(node)} is not a duration; write for example 10s, 100ms, 1h30m")
    parts = _DURATION_PART.findall(text)
    total = sum(_exactly(amount) * _UNIT_NS[unit] for amount, unit in parts)
    if total > _MAX_DURATION_NS:
        raise WrongValue(f"{shown(node)} is too long; allowed: up to 10000 years")
    return int(-total if text[0] == "-" else total)


def _exactly(amount: str) -> int | Fraction:
    return int(amount) if amount.isdigit() else Fraction("0" + amount)


def key_reader(field: FieldDescriptor) -> Callable[[str], str | int]:
    """What makes keys of the type that a map has: text or a whole number."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return unicode
    return partial(_whole_key, kind=field.type)


def _whole_key(text: str, kind: int) -> int:
    try:
        return integer(Node(text), kind)
    except WrongValue as error:
        raise WrongValue(f"key {error}") from error


def reader(field: FieldDescriptor) -> Reader:
    """What makes values of a scalar field; its WrongValue says what is allowed."""
    if field.enum_type is not None:
        return partial(enumerated, enum=field.enum_type)
    if field.type in _RANGES:
        return partial(integer, kind=field.type)
    return _READERS[field.type]


_READERS: Mapping[int, Reader] = {
    FieldDescriptor.TYPE_STRING: string,
    FieldDescriptor.TYPE_BOOL: boolean,
    FieldDescriptor.TYPE_BYTES: octets,
    FieldDescriptor.TYPE_DOUBLE: number,
    FieldDescriptor.TYPE_FLOAT: number,
}
