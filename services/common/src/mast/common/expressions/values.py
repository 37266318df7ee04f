"""What attributes and literals are in Python: instants, lengths of time, all else (mixer.md A4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

NANOS = 1_000_000_000
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
INT64_DIGITS = 19
"""Most decimal digits of a number of 64 bits. Python refuses to read some thousands of digits."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
