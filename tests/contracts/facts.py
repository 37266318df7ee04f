"""The wire contract as a flat mapping that tables and compiled descriptors can both be turned into.

A fact maps a key, such as `field istio.mixer.v1.CheckRequest.2`, to what the wire or a user of the
generated code can see of it. Two contracts are equal if and only if their facts are.

    message|enum|service NAME    the options of the file that defines it
    field MESSAGE.NUMBER         a FieldFact
    value ENUM.NUMBER            name, and whether it is deprecated
    reserved SCOPE.NUMBER|NAME   nothing
    rpc /PACKAGE.SERVICE/METHOD  request and response, with `stream` where they stream
    extension MESSAGE.NUMBER     a FieldFact whose name is qualified
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SCALARS = frozenset({
    "bool", "bytes", "double", "fixed32", "fixed64", "float", "int32", "int64", "sfixed32",
    "sfixed64", "sint32", "sint64", "string", "uint32", "uint64",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FieldFact:
    """All there is to know about a field beside its number.

    type is absolute; label is "", "repeated" or "optional" (proto3 explicit presence of a scalar).
    """

    name: str
    type: str
    label: str
    oneof: str
    presence: bool
    packed: bool
    json: str
    required: bool
    deprecated: bool


Fact = FieldFact | str
Facts = dict[str, Fact]


def difference(expected: Mapping[str, Fact], actual: Mapping[str, Fact]) -> list[str]:
    """One line for each fact that is missing, extra or different, in the order of the keys."""
    lines = []
    for key in sorted(expected.keys() | actual.keys()):
        if key not in actual:
            lines.append(f"missing {key}: {expected[key]}")
        elif key not in expected:
            lines.append(f"extra {key}: {actual[key]}")
        elif expected[key] != actual[key]:
            lines.append(f"different {key}: expected {expected[key]}, compiled {actual[key]}")
    return lines


def options_fact(options: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(options.items()))


def value_fact(name: str, *, deprecated: bool) -> str:
    return f"{name} deprecated" if deprecated else name


def rpc_fact(request: str, response: str, *, client_streams: bool, server_streams: bool) -> str:
    return f"{'stream ' * client_streams}{request} -> {'stream ' * server_streams}{response}"
