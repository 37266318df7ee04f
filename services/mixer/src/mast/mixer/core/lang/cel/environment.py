"""What CEL expressions may name: attributes as fields of messages, and Mixer's functions (E28)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from cel_expr_python import cel  # type: ignore[import-untyped]
from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool

from mast.common.expressions.types import ValueType

PACKAGE: Final = "attributes"
PICK_LIMIT: Final = 8
"""Most arguments of ``pick``."""

_FILE: Final = f"{PACKAGE}.proto"
_IDENTIFIER: Final = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_SCALARS: Final = {
    ValueType.STRING: FieldDescriptorProto.TYPE_STRING,
    ValueType.INT64: FieldDescriptorProto.TYPE_INT64,
    ValueType.DOUBLE: FieldDescriptorProto.TYPE_DOUBLE,
    ValueType.BOOL: FieldDescriptorProto.TYPE_BOOL,
}
_KNOWN_MESSAGES: Final = {
    ValueType.TIMESTAMP: "google.protobuf.Timestamp",
    ValueType.DURATION: "google.protobuf.Duration",
}
_OWN: Final = (
    ValueType.IP_ADDRESS,
    ValueType.DNS_NAME,
    ValueType.EMAIL_ADDRESS,
    ValueType.URI,
)
MESSAGES: Final[Mapping[str, ValueType]] = {
    **{name: kind for kind, name in _KNOWN_MESSAGES.items()},
    **{f"{PACKAGE}.{kind}": kind for kind in _OWN},
}
"""Types of values by the names of the messages that stand for them."""


class Named(NamedTuple):
    """An attribute that expressions can name: what it is called, and its type."""

    name: str
    type: ValueType


Names: TypeAlias = Mapping[tuple[str, ...], Named]


def names(types: Mapping[str, ValueType]) -> Names:
    """The attributes that expressions can name, by the parts of their names there.

    Outputs, ``$out.`` in CEXL, are fields of ``output``. What is also the beginning of another's
    name cannot be named: it is a message there.
    """
    split = {tuple(written(name).split(".")): name for name in sorted(types)}
    prefixes = {parts[:length] for parts in split for length in range(1, len(parts))}
    return {
        parts: Named(name, types[name])
        for parts, name in split.items()
        if parts not in prefixes and all(_IDENTIFIER.fullmatch(part) for part in parts)
    }


def written(text: str) -> str:
    """A name or expression as CEL has it, where ``$`` begins no name."""
    return text.replace("$out.", "output.")


def environment(types: Mapping[str, ValueType]) -> cel.Env:
    """What expressions over these attributes are checked against."""
    known = names(types)
    return _environment(frozenset((parts, each.type) for parts, each in known.items()))


@lru_cache(maxsize=16)
def _environment(known: frozenset[tuple[tuple[str, ...], ValueType]]) -> cel.Env:
    file = FileDescriptorProto(name=_FILE, package=PACKAGE, syntax="proto3")
    pool = DescriptorPool()
    for module in (duration_pb2, timestamp_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        file.dependency.append(module.DESCRIPTOR.name)
    for kind in _OWN:
        file.message_type.add(name=str(kind))
    messages = _Messages(file)
    for parts, kind in sorted(known):
        messages.put(parts, kind)
    pool.Add(file)
    variables = {name: cel.Type(kind) for name, kind in messages.variables.items()}
    variables |= {parts[0]: _type(kind) for parts, kind in known if len(parts) == 1}
    return cel.NewEnv(descriptor_pool=pool, variables=variables, functions=_functions())


class _Messages:
    """Messages whose fields are attributes: of ``request.auth.claims`` two, one in the other."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self.variables: dict[str, str] = {}
        self._file = file
        self._by_prefix: dict[tuple[str, ...], DescriptorProto] = {}

    def put(self, parts: tuple[str, ...], kind: ValueType) -> None:
        """Add an attribute as a field; one of a single part is a variable of its own."""
        if len(parts) == 1:
            return
        message, name = self._message(parts[:-1]), parts[-1]
        if kind in _SCALARS:
            _field(message, name, _SCALARS[kind])
        elif kind is ValueType.STRING_MAP:
            _string_map(message, name)
        else:
            known = _KNOWN_MESSAGES.get(kind, f"{PACKAGE}.{kind}")
            _field(message, name, FieldDescriptorProto.TYPE_MESSAGE, known)

    def _message(self, prefix: tuple[str, ...]) -> DescriptorProto:
        if prefix not in self._by_prefix:
            # Numbered: names joined in any way could be equal.
            name = f"{'_'.join(prefix)}_{len(self._by_prefix)}"
            message = self._by_prefix[prefix] = self._file.message_type.add(name=name)
            if len(prefix) == 1:
                self.variables[prefix[0]] = f"{PACKAGE}.{name}"
            else:
                outer = self._message(prefix[:-1])
                kind = FieldDescriptorProto.TYPE_MESSAGE
                _field(outer, prefix[-1], kind, f"{PACKAGE}.{message.name}")
        return self._by_prefix[prefix]


def _field(
    message: DescriptorProto, name: str, kind: FieldDescriptorProto.Type.ValueType, of: str = ""
) -> FieldDescriptorProto:
    field = message.field.add(name=name, number=len(message.field) + 1, type=kind)
    field.label = FieldDescriptorProto.LABEL_OPTIONAL
    if of:
        field.type_name = f".{of}"
    return field


def _string_map(message: DescriptorProto, name: str) -> None:
    camel = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    entry = message.nested_type.add(name=f"{camel}Entry")
    entry.options.map_entry = True
    _field(entry, "key", FieldDescriptorProto.TYPE_STRING)
    _field(entry, "value", FieldDescriptorProto.TYPE_STRING)
    of = f"{PACKAGE}.{message.name}.{entry.name}"
    _field(
        message, name, FieldDescriptorProto.TYPE_MESSAGE, of
    ).label = FieldDescriptorProto.LABEL_REPEATED


def _type(kind: ValueType) -> cel.Type:
    plain = {
        ValueType.STRING: cel.Type.STRING,
        ValueType.INT64: cel.Type.INT,
        ValueType.DOUBLE: cel.Type.DOUBLE,
        ValueType.BOOL: cel.Type.BOOL,
        ValueType.TIMESTAMP: cel.Type.TIMESTAMP,
        ValueType.DURATION: cel.Type.DURATION,
        ValueType.STRING_MAP: cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    }
    return plain[kind] if kind in plain else cel.Type(f"{PACKAGE}.{kind}")


_OF_STRINGS: Final[Iterable[tuple[str, int, ValueType]]] = (
    ("match", 2, ValueType.BOOL),
    ("toLower", 1, ValueType.STRING),
    ("reverse", 1, ValueType.STRING),
    ("ip", 1, ValueType.IP_ADDRESS),
    ("dnsName", 1, ValueType.DNS_NAME),
    ("email", 1, ValueType.EMAIL_ADDRESS),
    ("uri", 1, ValueType.URI),
)


def _functions() -> list[cel.FunctionDecl]:
    """Mixer's functions beside those of CEL, for the checker; `reading` has what they do."""
    text = cel.Type.STRING
    found = {
        name: [_overload(name, [text] * count, _type(kind))] for name, count, kind in _OF_STRINGS
    }
    found["reverse"].append(_overload("reverse_of", [text], text, member=True))
    found["emptyStringMap"] = [_overload("emptyStringMap", [], _type(ValueType.STRING_MAP))]
    found["conditional"] = [
        _overload(f"conditional_{kind}", [cel.Type.BOOL, _type(kind), _type(kind)], _type(kind))
        for kind in ValueType
    ]
    found["pick"] = [
        _overload(f"pick_{kind}_{count}", [_type(kind)] * count, _type(kind))
        for kind in ValueType
        for count in range(1, PICK_LIMIT + 1)
    ]
    return [cel.FunctionDecl(name, overloads) for name, overloads in found.items()]


def _overload(
    id: str, parameters: list[cel.Type], result: cel.Type, *, member: bool = False
) -> cel.Overload:
    return cel.Overload(id, return_type=result, parameters=parameters, is_member=member)
