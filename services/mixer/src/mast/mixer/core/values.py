"""Attribute values: their types in Python, and how they read as text (mixer.md A4, F3)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isinf, isnan
from typing import TypeAlias

NANOS = 1_000_000_000
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
INT64_DIGITS = 19
"""Most decimal digits of a number of 64 bits. Python refuses to read some thousands of digits."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_V4_IN_V6 = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A TIMESTAMP attribute: nanoseconds since 1970-01-01T00:00:00Z, in the years 1 to 9999.

    Not a ``datetime`` because the wire carries nanoseconds.
    """

    ns: int

    @classmethod
    def of(cls, instant: datetime) -> Timestamp:
        """The attribute value of an aware datetime."""
        return cls((instant - _EPOCH) // timedelta(microseconds=1) * 1000)

    def __str__(self) -> str:
        """UTC with six decimals and ``Z``, as labels and log lines show it (F3)."""
        instant = _EPOCH + timedelta(microseconds=self.ns // 1000)
        return instant.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A DURATION attribute: nanoseconds, signed, within 64 bits."""

    ns: int

    @classmethod
    def of(cls, length: timedelta) -> Duration:
        """The attribute value of a timedelta."""
        return cls(length // timedelta(microseconds=1) * 1000)

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.ns / NANOS

    def __str__(self) -> str:
        """Go's form: ``1m0.5s``, ``300µs``, ``0s`` (F3)."""
        return duration_text(self.ns)


# STRING, DNS_NAME, URI and EMAIL_ADDRESS are str; INT64 int; DOUBLE float; BOOL bool;
# IP_ADDRESS bytes of length 4 or 16; TIMESTAMP and DURATION as above; STRING_MAP a mapping.
# An absent attribute is None.
Value: TypeAlias = str | int | float | bool | bytes | Timestamp | Duration | Mapping[str, str]

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


_UNITS = {
    "ns": 1,
    "us": 1000,
    "µs": 1000,
    "μs": 1000,
    "ms": 1_000_000,
    "s": NANOS,
    "m": 60 * NANOS,
    "h": 3600 * NANOS,
}
_PIECE = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(literal: str) -> int | None:
    """Nanoseconds of a Go duration such as ``1h30m`` or ``-1.5s``; None if it is none (E4)."""
    rest = literal[1:] if literal[:1] in {"-", "+"} else literal
    if rest == "0":
        return 0
    total, at = 0, 0
    while at < len(rest):
        piece = _PIECE.match(rest, at)
        if piece is None or not (piece[1] or piece[2]):
            return None
        whole, fraction = piece[1].lstrip("0"), (piece[2] or "")[:INT64_DIGITS]
        if len(whole) > INT64_DIGITS:
            return None
        unit = _UNITS[piece[3]]
        total += int(whole or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        at = piece.end()
    signed = -total if literal[:1] == "-" else total
    return signed if rest and INT64_MIN <= signed <= INT64_MAX else None


def duration_text(ns: int) -> str:
    """Nanoseconds in Go's form: the largest units that fit, no zero fractions."""
    if ns == 0:
        return "0s"
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    for unit, size in (("ns", 1), ("µs", 1000), ("ms", 1_000_000)):
        if ns < size * 1000:
            return f"{sign}{_decimal(ns, size)}{unit}"
    hours, rest = divmod(ns, 3600 * NANOS)
    minutes, rest = divmod(rest, 60 * NANOS)
    prefix = f"{hours}h" if hours else ""
    if hours or minutes:
        prefix += f"{minutes}m"
    return f"{sign}{prefix}{_decimal(rest, NANOS)}s"


def _decimal(amount: int, unit: int) -> str:
    whole, rest = divmod(amount, unit)
    if not rest:
        return str(whole)
    fraction = str(rest).zfill(len(str(unit)) - 1).rstrip("0")
    return f"{whole}.{fraction}"
