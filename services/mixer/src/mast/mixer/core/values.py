"""Attribute values: their types in Python, and how they read as text (mixer.md A4, F3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

NANOS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A TIMESTAMP attribute: nanoseconds since 1970-01-01T00:00:00Z.

    Not a ``datetime`` because the wire carries nanoseconds and the years 1 to 9999.
    """

    ns: int

    @classmethod
    def of(cls, instant: datetime) -> Timestamp:
        """The attribute value of an aware datetime."""
        return cls((instant - _EPOCH) // timedelta(microseconds=1) * 1000)


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A DURATION attribute: nanoseconds, signed."""

    ns: int

    @classmethod
    def of(cls, length: timedelta) -> Duration:
        """The attribute value of a timedelta."""
        return cls(length // timedelta(microseconds=1) * 1000)


# STRING, DNS_NAME, URI and EMAIL_ADDRESS are str; INT64 int; DOUBLE float; BOOL bool;
# IP_ADDRESS bytes of length 4 or 16; TIMESTAMP and DURATION as above; STRING_MAP a mapping.
# An absent attribute is None.
Value: TypeAlias = str | int | float | bool | bytes | Timestamp | Duration | Mapping[str, str]

# A request's attributes by name. Values must not change while Mixer works on them.
Attributes: TypeAlias = Mapping[str, Value]

# How compiled expressions read attributes: the value, or None if absent.
Get: TypeAlias = Callable[[str], Value | None]
