"""The types of the expression language and the signatures of its functions (mixer.md E6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class ValueType(IntEnum):
    """Type of an attribute or expression; numbers are those of istio.policy.v1beta1.ValueType."""

    STRING = 1
    INT64 = 2
    DOUBLE = 3
    BOOL = 4
    TIMESTAMP = 5
    IP_ADDRESS = 6
    EMAIL_ADDRESS = 7
    URI = 8
    DNS_NAME = 9
    DURATION = 10
    STRING_MAP = 11

    def __str__(self) -> str:
        return self.name

    @property
    def storage(self) -> str:
        """How compile errors call the representation of the type (E10)."""
        return _STORAGE.get(self, "interface")

    @property
    def textual(self) -> bool:
        """Whether values are strings."""
        return self.storage == "string"


S, B, T = ValueType.STRING, ValueType.BOOL, None

_STORAGE = {
    ValueType.STRING: "string",
    ValueType.DNS_NAME: "string",
    ValueType.URI: "string",
    ValueType.EMAIL_ADDRESS: "string",
    ValueType.INT64: "integer",
    ValueType.DOUBLE: "double",
    ValueType.BOOL: "bool",
    ValueType.DURATION: "duration",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """Parameters, result and receiver of a function.

    None stands for one type variable, bound by the first argument that has it.
    ``receiver`` is None for regular functions.
    """

    parameters: tuple[ValueType | None, ...]
    result: ValueType | None
    receiver: ValueType | None = None


SIGNATURES: Mapping[str, Signature] = {
    "EQ": Signature((T, T), B),
    "NEQ": Signature((T, T), B),
    "LT": Signature((T, T), B),
    "LEQ": Signature((T, T), B),
    "GT": Signature((T, T), B),
    "GEQ": Signature((T, T), B),
    "LAND": Signature((B, B), B),
    "LOR": Signature((B, B), B),
    "OR": Signature((T, T), T),
    "INDEX": Signature((ValueType.STRING_MAP, S), S),
    "ADD": Signature((T, T), T),
    "conditional": Signature((B, T, T), T),
    "conditionalString": Signature((B, S, S), S),
    "size": Signature((S,), ValueType.INT64),
    "ip": Signature((S,), ValueType.IP_ADDRESS),
    "timestamp": Signature((S,), ValueType.TIMESTAMP),
    "dnsName": Signature((S,), ValueType.DNS_NAME),
    "email": Signature((S,), ValueType.EMAIL_ADDRESS),
    "uri": Signature((S,), ValueType.URI),
    "match": Signature((S, S), B),
    "matches": Signature((S,), B, receiver=S),
    "startsWith": Signature((S,), B, receiver=S),
    "endsWith": Signature((S,), B, receiver=S),
    "toLower": Signature((S,), S),
    "emptyStringMap": Signature((), ValueType.STRING_MAP),
}
