"""Trees into protobuf messages by the proto3 JSON mapping, strictly and with all findings at once.

Differs from Istio: unknown fields are errors, not dropped (A3.2).
Field names are lowerCamelCase or as in the proto. An unknown field, a wrong type, a field given
under both names and two fields of a oneof are errors; ``null`` leaves a field unset.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from google.protobuf import struct_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mast.common.envoy import types
from mast.galley.core import scalars
from mast.galley.core.documents import Node
from mast.galley.core.problem import Finding, Path, Position
from mast.galley.core.scalars import Reader, WrongValue, shown

M = TypeVar("M", bound=Message)

WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
# Findings on one object; who has more of them has given something else than an object.
FINDINGS_LIMIT = 1000
_ALLOWED_SHOWN = 12
# Unknown fields of one object for which the one that may be meant is looked for.
_GUESSES = 20
_ANY = "google.protobuf.Any"
TOO_MANY = "too-many"
"""The rule of the last finding on an object that has more of them than are told."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was understood, what was not, and where each field stands."""

    message: Any
    findings: tuple[Finding, ...]
    positions: Mapping[Path, Position]


def decode(node: Node, kind: type[M], at: Path = (), *, envoy: bool = False) -> Decoded:
    """A message of ``kind`` from a tree; fields with findings are left out of it.

    With ``envoy`` it is one of Envoy's: typed configurations are read by their ``@type``, and
    paths have the names that were written.
    """
    decoder = _Decoder(envoy=envoy)
    message = kind()
    decoder.message(node, message, at)
    return Decoded(message, tuple(decoder.findings), decoder.positions)


class _Decoder:
    def __init__(self, *, envoy: bool = False) -> None:
        self._envoy = envoy
        self._guesses = 0
        self.findings: list[Finding] = []
        self.positions: dict[Path, Position] = {}

    def message(self, node: Node, into: Message, at: Path) -> None:
        """Read any message, well-known types included."""
        descriptor = descriptor_of(into)
        name = descriptor.full_name
        if name in WRAPPERS:
            reader = scalars.reader(descriptor.fields_by_name["value"])
            self._set(node, into, "value", reader, at)
        elif self._envoy and name == _ANY:
            self._typed(node, into, at)
        elif name in _SPECIAL:
            try:
                _SPECIAL[name](node, into)
                self._place(node, at)
            except WrongValue as error:
                self._wrong(at, error)
        elif isinstance(node.value, dict):
            self._fields(node, node.value, into, at)
        else:
            self._wrong(at, WrongValue(f"{shown(node)} is not an object"))

    def _fields(self, node: Node, content: dict[str, Node], into: Message, at: Path) -> None:
        descriptor = descriptor_of(into)
        known = _fields_by_name(descriptor)
        seen: dict[str, str] = {}
        chosen: dict[str, str] = {}
        for written, value in content.items():
            field = known.get(written)
            here = (*at, written if field is None or self._envoy else field.json_name)
            self.positions[here] = node.keys.get(written, value.position)
            if field is None:
                self._unknown(here, written, descriptor)
                continue
            if field.name in seen:
                message = f"given twice, as {seen[field.name]!r} and {written!r}"
                self._found(Finding(here, "duplicate-key", message))
                continue
            seen[field.name] = written
            if value.value is None and not field.takes_null:
                continue
            if field.oneof and chosen.setdefault(field.oneof, written) != written:
                message = f"only one of {chosen[field.oneof]!r} and {written!r} may be set"
                self._found(Finding(here, "one-of", message))
                continue
            self._field(value, into, field, here)

    def _field(self, node: Node, into: Message, field: _Field, at: Path) -> None:
        if field.entry is not None:
            self._map(node, into, field.name, field.entry, at)
        elif field.is_list:
            self._list(node, into, field, at)
        elif field.reader is None:
            target = getattr(into, field.name)
            target.SetInParent()
            self.message(node, target, at)
        else:
            self._set(node, into, field.name, field.reader, at)

    def _set(self, node: Node, into: Message, name: str, reader: Reader, at: Path) -> None:
        try:
            setattr(into, name, reader(node))
        except WrongValue as error:
            self._wrong(at, error)

    def _list(self, node: Node, into: Message, field: _Field, at: Path) -> None:
        if not isinstance(node.value, list):
            return self._wrong(at, WrongValue(f"{shown(node)} is not a list"))
        target = getattr(into, field.name)
        for index, item in enumerate(node.value):
            here = (*at, index)
            self.positions[here] = item.position
            if field.reader is None:
                # Added in any case: later paths count the items as they were written.
                added = target.add()
                if item.value is None and not field.takes_null:
                    self._wrong(here, WrongValue("null is not allowed in a list"))
                else:
                    self.message(item, added, here)
                continue
            try:
                target.append(field.reader(item))
            except WrongValue as error:
                self._wrong(here, error)
                target.append("" if field.is_text else 0)
        return None

    def _map(self, node: Node, into: Message, name: str, entry: _Entry, at: Path) -> None:
        if not isinstance(node.value, dict):
            return self._wrong(at, WrongValue(f"{shown(node)} is not an object"))
        target = getattr(into, name)
        of = entry.value
        for written, item in node.value.items():
            here = (*at, written)
            self.positions[here] = node.keys.get(written, item.position)
            try:
                key = entry.key(written)
                if of.reader is not None:
                    target[key] = of.reader(item)
                elif item.value is None and not of.takes_null:
                    # An empty object: users write `port:` and nothing after it.
                    target[key].SetInParent()
                else:
                    self.message(item, target[key], here)
            except WrongValue as error:
                self._wrong(here, error)
        return None

    def _typed(self, node: Node, into: Any, at: Path) -> None:
        """A typed configuration: the fields of the message that ``@type`` names beside it."""
        content = node.value
        if not isinstance(content, dict):
            return self._wrong(at, WrongValue(f"{shown(node)} is not an object"))
        url = content.get("@type", Node(None)).value
        if not isinstance(url, str):
            wanted = "'@type' is required: type.googleapis.com/ and the name of a message"
            return self._found(Finding(at, "typed-config", wanted))
        try:
            message = types.message_class(types.type_name(url))()
        except types.UnknownType as error:
            return self._found(Finding((*at, "@type"), "unknown-type", str(error)))
        rest = {key: value for key, value in content.items() if key != "@type"}
        inner = Node(rest, node.position, node.text, node.keys)
        if descriptor_of(message).full_name.startswith("google.protobuf."):
            inner = rest.get("value", Node(None))
        self.message(inner, message, at)
        if descriptor_of(message).full_name in types.TYPED_STRUCTS:
            self._inside_struct(rest, message, at)
        into.CopyFrom(types.packed(message, url))
        return None

    def _inside_struct(self, content: Mapping[str, Node], struct: Any, at: Path) -> None:
        """What an untyped structure holds is checked as the message that it stands for."""
        try:
            message = types.message_class(types.type_name(struct.type_url))()
        except types.UnknownType as error:
            return self._found(Finding((*at, "type_url"), "unknown-type", str(error)))
        return self.message(content.get("value", Node({})), message, (*at, "value"))

    def _place(self, node: Node, at: Path) -> None:
        """Remember where everything in a free-form value stands."""
        if isinstance(node.value, dict):
            for key, item in node.value.items():
                self.positions[*at, key] = node.keys.get(key, item.position)
                self._place(item, (*at, key))
        elif isinstance(node.value, list):
            for index, item in enumerate(node.value):
                self.positions[*at, index] = item.position
                self._place(item, (*at, index))

    def _wrong(self, at: Path, error: WrongValue) -> None:
        self._found(Finding(at, "wrong-type", str(error)))

    def _unknown(self, at: Path, written: str, descriptor: Descriptor) -> None:
        names = sorted(field.json_name for field in descriptor.fields)
        self._guesses += 1
        guess = self._guesses <= _GUESSES
        close = difflib.get_close_matches(written, names, n=1) if guess else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        if not close and len(names) <= _ALLOWED_SHOWN:
            hint = f"; allowed: {', '.join(names) or 'none'}"
        message = f"unknown field {written!r} of {descriptor.name}{hint}"
        self._found(Finding(at, "unknown-field", message))

    def _found(self, finding: Finding) -> None:
        if len(self.findings) < FINDINGS_LIMIT:
            self.findings.append(finding)
        elif len(self.findings) == FINDINGS_LIMIT:
            message = f"more than {FINDINGS_LIMIT} mistakes; the rest is not told"
            self.findings.append(Finding(finding.path, TOO_MANY, message))


@dataclass(frozen=True, slots=True)
class _Field:
    """What decoding asks of a field's descriptor, which takes its time to answer.

    ``reader`` makes scalars of nodes, None if the values are messages; ``entry`` is of a map.
    """

    name: str
    json_name: str
    oneof: str
    is_list: bool
    is_text: bool
    takes_null: bool
    reader: Reader | None
    entry: _Entry | None


@dataclass(frozen=True, slots=True)
class _Entry:
    key: Callable[[str], str | int]
    value: _Field


_NAMES: dict[str, Mapping[str, _Field]] = {}


def _fields_by_name(descriptor: Descriptor) -> Mapping[str, _Field]:
    """Fields by JSON name and by proto name."""
    found = _NAMES.get(descriptor.full_name)
    if found is None:
        fields = [_planned(field) for field in descriptor.fields]
        found = {field.name: field for field in fields}
        found |= {field.json_name: field for field in fields}
        _NAMES[descriptor.full_name] = found
    return found


def _planned(field: FieldDescriptor) -> _Field:
    of, entry = field.message_type, None
    if is_map(field):
        key_field, value_field = map_entry(field)
        entry = _Entry(scalars.key_reader(key_field), _planned(value_field))
    return _Field(
        field.name,
        field.json_name,
        field.containing_oneof.name if field.containing_oneof is not None else "",
        is_list=field.is_repeated,
        is_text=field.cpp_type == FieldDescriptor.CPPTYPE_STRING,
        # Only a free-form value may be null.
        takes_null=of is not None and of.full_name == "google.protobuf.Value",
        reader=scalars.reader(field) if of is None else None,
        entry=entry,
    )


def descriptor_of(message: Message) -> Descriptor:
    """The descriptor, as the one type that all of its implementations share."""
    return cast("Descriptor", message.DESCRIPTOR)


def map_entry(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    """Descriptors of the keys and the values of a map field."""
    entry = cast("Descriptor", field.message_type)
    return entry.fields_by_name["key"], entry.fields_by_name["value"]


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _duration(node: Node, into: Any) -> None:
    into.FromNanoseconds(scalars.duration_ns(node))
    into.SetInParent()


def _timestamp(node: Node, into: Any) -> None:
    text = scalars.string(node)
    try:
        into.FromJsonString(text)
    except ValueError as error:
        message = f"{text!r} is not a time; write for example 2026-01-31T12:00:00Z"
        raise WrongValue(message) from error


def _struct(node: Node, into: Any) -> None:
    if not isinstance(node.value, dict):
        raise WrongValue(f"{shown(node)} is not an object")
    into.SetInParent()
    for key, item in node.value.items():
        _value(item, into.fields[scalars.unicode(key)])


def _value(node: Node, into: Any) -> None:
    match node.value:
        case None:
            into.null_value = struct_pb2.NULL_VALUE
        case bool() as value:
            into.bool_value = value
        case str() as value:
            into.string_value = scalars.unicode(value)
        case list() as items:
            into.list_value.SetInParent()
            for item in items:
                _value(item, into.list_value.values.add())
        case dict():
            _struct(node, into.struct_value)
        case _:
            number = scalars.number(node)
            if not math.isfinite(number):
                raise WrongValue(f"{shown(node)} is not a number that JSON has")
            into.number_value = number


def _untyped(node: Node, into: Any) -> None:
    raise WrongValue("a field of type Any cannot be given in configuration")


_SPECIAL: Mapping[str, Callable[[Node, Any], None]] = {
    "google.protobuf.Duration": _duration,
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Struct": _struct,
    "google.protobuf.Value": _value,
    _ANY: _untyped,
}
