"""Attribute values: their types in Python, and how they read as text (mixer.md A4, F3)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isinf, isnan
from typing import TypeAlias

from mast.common.expressions.values import (
    INT64_DIGITS,
    INT64_MAX,
    INT64_MIN,
    NANOS,
    Duration,
    Timestamp,
    Value,
    duration_text,
    parse_duration,
)

__all__ = [
    "INT64_DIGITS",
    "INT64_MAX",
    "INT64_MIN",
    "NANOS",
    "Attributes",
    "Duration",
    "Get",
    "Timestamp",
    "Value",
    "duration_text",
    "float_text",
    "ip_text",
    "parse_duration",
    "same",
    "same_ip",
    "short_float_text",
    "short_ip",
    "sixteen",
    "text",
]

_V4_IN_V6 = bytes(10) + b"\xff\xff"


# A request's attributes by name. Values must not change while Mixer works on them.
Attributes: TypeAlias = Mapping[str, Value]

# How compiled expressions read attributes: the value, or None if absent.
Get: TypeAlias = Callable[[str], Value | None]


def text(value: Value | None) -> str:
    """A value as label or tag text (F3, "Stringify"); an absent value is empty."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    if isinstance(value, bytes):
        return ip_text(value)
    if isinstance(value, Mapping):
        return "&".join(f"{key}={value[key]}" for key in sorted(value))
    return str(value)


def same(left: Value | None, right: Value | None) -> bool:
    """Whether two values agree when either may be written as text (F3, quota overrides).

    Text is read as the other side's type: ``05`` is 5, ``60s`` is one minute. An absent value
    equals the empty string.
    """
    if isinstance(right, str) or right is None:
        left, right = right, left
    if not (isinstance(left, str) or left is None):
        return text(left) == text(right) and type(left) is type(right)
    if isinstance(right, int | Duration) and not isinstance(right, bool):
        parsed = parse_duration(left or "") if isinstance(right, Duration) else _integer(left or "")
        return parsed == (right.ns if isinstance(right, Duration) else right)
    return text(right) == (left or "")


def _integer(literal: str) -> int | None:
    found = re.fullmatch(r"([+-]?)0*([0-9]+)", literal)
    return int(found[1] + found[2]) if found and len(found[2]) <= INT64_DIGITS else None


def ip_text(address: bytes) -> str:
    """The usual form of an address; four bytes in sixteen read as IPv4 (F3)."""
    packed = address.removeprefix(_V4_IN_V6) if len(address) == 16 else address
    if len(packed) not in {4, 16}:
        return "?" + address.hex() if address else "<nil>"
    return str(ipaddress.ip_address(packed))


def same_ip(left: bytes, right: bytes) -> bool:
    """Whether two addresses are equal once both have sixteen bytes (E20)."""
    return left == right or sixteen(left) == sixteen(right)


def short_ip(address: bytes) -> bytes:
    """The address in four bytes if it is an IPv4 one (F2)."""
    return address.removeprefix(_V4_IN_V6) if len(address) == 16 else address


def sixteen(address: bytes) -> bytes:
    """The address in sixteen bytes, an IPv4 one as IPv6 writes it (E20)."""
    return _V4_IN_V6 + address if len(address) == 4 else address


def float_text(value: float) -> str:
    """The shortest decimal form without exponent (Go format ``f``)."""
    if isnan(value) or isinf(value):
        return "NaN" if isnan(value) else ("+Inf" if value > 0 else "-Inf")
    shown = format(Decimal(repr(value)), "f")
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def short_float_text(value: float, limit: int = 21) -> str:
    """The shortest form, with exponent from 10**limit on (Go: 21 in format v, 6 in format g)."""
    if isnan(value) or isinf(value) or value == 0:
        return float_text(value)
    exponent = Decimal(repr(value)).adjusted()
    if -4 <= exponent < limit:
        return float_text(value)
    digits = float_text(float(Decimal(repr(value)).scaleb(-exponent)))
    return f"{digits}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
