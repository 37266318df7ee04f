"""Structural OpenAPI v3 schemas of protobuf messages in their JSON form.

Kubernetes, "Specifying a structural schema". Objects have the fields of the message by their JSON
names. What Galley reads more leniently than that (numbers as text, names as in the .proto) is for
files; an API server takes the one canonical form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor

Schema = dict[str, Any]

# A sum of amounts with units, as Galley reads durations.
DURATION = r"^[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$"
PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING: Schema = {
    "anyOf": [{"type": "integer"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
}
_REQUIRED = field_behavior_pb2.FieldBehavior.Value("REQUIRED")

_F = FieldDescriptor
_SCALARS: Mapping[int, Schema] = {
    _F.TYPE_STRING: {"type": "string"},
    # Base64, which the API server would want padded and not URL-safe if it were told.
    _F.TYPE_BYTES: {"type": "string"},
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_FLOAT: {"type": "number", "format": "float"},
    _F.TYPE_DOUBLE: {"type": "number", "format": "double"},
    _F.TYPE_INT32: {"type": "integer", "format": "int32"},
    _F.TYPE_SINT32: {"type": "integer", "format": "int32"},
    _F.TYPE_SFIXED32: {"type": "integer", "format": "int32"},
    _F.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    _F.TYPE_FIXED32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    # Proto3 JSON writes numbers of 64 bits as text.
    _F.TYPE_INT64: _INT_OR_STRING,
    _F.TYPE_SINT64: _INT_OR_STRING,
    _F.TYPE_SFIXED64: _INT_OR_STRING,
    _F.TYPE_UINT64: _INT_OR_STRING,
    _F.TYPE_FIXED64: _INT_OR_STRING,
}
_WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Duration": {"type": "string", "pattern": DURATION},
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Struct": {"type": "object", PRESERVE: True},
    "google.protobuf.Value": {PRESERVE: True},
    "google.protobuf.ListValue": {"type": "array", "items": {PRESERVE: True}},
    "google.protobuf.Any": {"type": "object", PRESERVE: True},
}
_WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


class Recursive(ValueError):
    """A message holds itself, which no structural schema can say."""


@dataclass(frozen=True)
class Schemas:
    """Makes schemas; ``comment`` says what a definition's comment is, by its full name.

    Unless it ``insists``, fields that the .proto calls required may be left out.
    """

    comment: Callable[[str], str]
    insists: bool = True

    def message(self, message: Descriptor, description: str = "") -> Schema:
        """The schema of a message, described by its own comment unless something else is given.

        Raises Recursive if the message holds itself.
        """
        return self._message(message, description, ())

    def _message(self, message: Descriptor, description: str, within: tuple[str, ...]) -> Schema:
        name = message.full_name
        described = {"description": description or self.comment(name)}
        if name in _WRAPPERS:
            return {**described, **_SCALARS[message.fields_by_name["value"].type]}
        if name in _WELL_KNOWN:
            return {**described, **_WELL_KNOWN[name]}
        if name in within:
            raise Recursive(f"{name} holds itself: {' > '.join((*within, name))}")
        fields = {f.json_name: self._field(f, (*within, name)) for f in message.fields}
        schema: Schema = {**described, "type": "object"}
        if fields:
            schema["properties"] = fields
        required = [f.json_name for f in message.fields if _is_required(f)]
        if required and self.insists:
            schema["required"] = required
        return {**schema, **_alternatives(message)}

    def _field(self, field: FieldDescriptor, within: tuple[str, ...]) -> Schema:
        description = self.comment(field.full_name)
        if field.GetOptions().deprecated and "eprecated" not in description:
            description = f"Deprecated. {description}".strip()
        value = field.message_type
        if value is not None and value.GetOptions().map_entry:
            inner = self._single(value.fields_by_name["value"], "", within)
            return {"description": description, "type": "object", "additionalProperties": inner}
        if field.is_repeated:
            return {
                "description": description,
                "type": "array",
                "items": self._single(field, "", within),
            }
        return self._single(field, description, within)

    def _single(self, field: FieldDescriptor, description: str, within: tuple[str, ...]) -> Schema:
        """One value of a field: itself, or an item, or the value of a map's entry."""
        if field.message_type is not None:
            schema = self._message(field.message_type, description, within)
        elif field.enum_type is not None:
            schema = self._enum(field.enum_type, description)
        else:
            schema = {"description": description, **_SCALARS[field.type]}
        if not schema["description"]:
            del schema["description"]
        return schema

    def _enum(self, enum: EnumDescriptor, description: str) -> Schema:
        """Names only, with what each of them means."""
        scope = f"{enum.full_name}."
        meanings = [f"- `{v.name}`: {self.comment(scope + v.name)}" for v in enum.values]
        text = "\n".join([description or self.comment(enum.full_name), *meanings])
        return {"description": text, "type": "string", "enum": [v.name for v in enum.values]}


def _is_required(field: FieldDescriptor) -> bool:
    behaviours = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return _REQUIRED in behaviours and field.containing_oneof is None


def _alternatives(message: Descriptor) -> Schema:
    """At most one field of each oneof."""
    choices = [_at_most_one(choice) for choice in _choices(message)]
    if len(choices) > 1:
        return {"allOf": choices}
    return choices[0] if choices else {}


def _choices(message: Descriptor) -> Iterator[OneofDescriptor]:
    """The oneofs that somebody wrote; every ``optional`` field makes one of its own."""
    for choice in message.oneofs:
        if len(choice.fields) > 1:
            yield choice


def _at_most_one(choice: OneofDescriptor) -> Schema:
    each = [{"required": [field.json_name]} for field in choice.fields]
    return {"oneOf": [{"not": {"anyOf": each}}, *each]}
