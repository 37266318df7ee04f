"""What Envoy requires of the values in a message: the rules its descriptors carry.

Envoy checks each message it is given by protoc-gen-validate (extension `validate.rules` of fields)
and refuses the whole response for one violation (pilot.md B2); fields that are "disallowed by
default" (`envoy.annotations`) it refuses as well. Checks are compiled once per message type.

Rules between fields, and what only Envoy's code knows, are not in the descriptors.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple, cast

from envoy.annotations import deprecation_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from validate import validate_pb2

from mast.common.envoy import types
from mast.common.envoy.values import Check, value_check

Path = tuple[str | int, ...]
"""Field names as in the proto, indices of lists and keys of maps, from the top of a message."""

_ANY: Final = "google.protobuf.Any"
_FREE_FORM: Final = frozenset({"google.protobuf.Struct", "google.protobuf.Value"})


class Violation(NamedTuple):
    """A value that Envoy refuses: where, and what is wrong with it or allowed.

    `absent` tells that nothing is set there: a patch may leave out what is there already.
    """

    path: Path
    complaint: str
    absent: bool = False

    def __str__(self) -> str:
        return f"{path_text(self.path)}: {self.complaint}"


def path_text(path: Path) -> str:
    """``filters[0].typed_config.stat_prefix``."""
    text = "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in path)
    return text.removeprefix(".") or "value"


def violations(message: Message, at: Path = ()) -> Iterator[Violation]:
    """Everything in a message that Envoy refuses; typed configurations included."""
    plan = _plan(cast("Descriptor", message.DESCRIPTOR))
    if plan.ignored:
        return
    for names, oneof in plan.required_oneofs:
        if message.WhichOneof(oneof) is None:
            yield Violation(at, f"one of {names} is required", absent=True)
    for field in plan.fields:
        value = getattr(message, field.name)
        here = (*at, field.name)
        if field.presence and not message.HasField(field.name):
            if field.required:
                yield Violation(here, "is required", absent=True)
            continue
        if field.disallowed and _given(value):
            yield Violation(here, f"Envoy does not allow {field.name!r} any more")
        for complaint in field.complaints(value):
            yield Violation(here, complaint, absent=not field.presence and not _given(value))
        yield from _inside(field, value, here)


def deprecated(message: Message, at: Path = ()) -> Iterator[Violation]:
    """Fields in use that Envoy warns of: they will go."""
    for path, each in messages_in(message, at):
        for field, _ in each.ListFields():
            if field.GetOptions().deprecated:
                yield Violation((*path, field.name), f"{field.name!r} is deprecated by Envoy")


def messages_in(message: Message, at: Path = ()) -> Iterator[tuple[Path, Message]]:
    """A message and all messages inside it, typed configurations opened, with their paths."""
    yield at, message
    for field, value in message.ListFields():
        for path, each in _messages(field, value, (*at, field.name)):
            yield from messages_in(each, path)


class _Field(NamedTuple):
    """How a field is checked; `inner` tells that messages in it are checked as well."""

    name: str
    check: Check | None
    items: Check | None
    keys: Check | None
    presence: bool
    required: bool
    disallowed: bool
    is_map: bool
    is_list: bool
    inner: bool
    any_value: bool
    wrapper: bool

    def complaints(self, value: Any) -> Iterator[str]:
        """What is wrong with the field as a whole, without what is in its items."""
        plain = value.value if self.wrapper and not self.is_list and not self.is_map else value
        if self.check is not None:
            yield from self.check(plain)


class _Plan(NamedTuple):
    fields: tuple[_Field, ...]
    required_oneofs: tuple[tuple[str, str], ...]
    ignored: bool


def _inside(field: _Field, value: Any, at: Path) -> Iterator[Violation]:
    """What is wrong inside the items of a field, or the message in it."""
    if field.is_map:
        for key in value:
            for check, each in ((field.keys, key), (field.items, value[key])):
                for complaint in check(each) if check else ():
                    yield Violation((*at, str(key)), complaint)
            if field.inner:
                yield from _message(field, value[key], (*at, str(key)))
    elif field.is_list:
        for index, each in enumerate(value):
            plain = each.value if field.wrapper else each
            for complaint in field.items(plain) if field.items else ():
                yield Violation((*at, index), complaint)
            if field.inner:
                yield from _message(field, each, (*at, index))
    elif field.inner:
        yield from _message(field, value, at)


def _message(field: _Field, value: Any, at: Path) -> Iterator[Violation]:
    if not field.any_value:
        yield from violations(value, at)
    elif (inner := types.unpacked(value)) is not None:
        yield from violations(inner, at)


def _messages(field: FieldDescriptor, value: Any, at: Path) -> Iterator[tuple[Path, Message]]:
    """The messages that a field holds, typed configurations opened."""
    of = field.message_type
    if of is None:
        return
    found: list[tuple[Path, Any]] = [(at, value)]
    if of.GetOptions().map_entry:
        if of.fields_by_name["value"].message_type is None:
            return
        found = [((*at, str(key)), value[key]) for key in value]
    elif field.is_repeated:
        found = [((*at, index), each) for index, each in enumerate(value)]
    for path, each in found:
        opened = types.unpacked(each) if each.DESCRIPTOR.full_name == _ANY else each
        if opened is not None and opened.DESCRIPTOR.full_name not in _FREE_FORM:
            yield path, opened


def _given(value: Any) -> bool:
    return bool(len(value)) if hasattr(value, "__len__") else bool(value)


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    options, name = descriptor.GetOptions(), descriptor.full_name
    return _Plan(
        fields=tuple(_field(each) for each in descriptor.fields) if name not in _FREE_FORM else (),
        required_oneofs=tuple(
            (", ".join(each.name for each in oneof.fields), oneof.name)
            for oneof in descriptor.oneofs
            if oneof.GetOptions().Extensions[validate_pb2.required]
        ),
        ignored=options.Extensions[validate_pb2.disabled]
        or options.Extensions[validate_pb2.ignored],
    )


def _field(field: FieldDescriptor) -> _Field:
    options = field.GetOptions()
    rules = options.Extensions[validate_pb2.rules]
    of: Any = field.message_type
    is_map = of is not None and of.GetOptions().map_entry
    value = of.fields_by_name["value"].message_type if is_map else of
    full_name = "" if value is None else value.full_name
    skipped = rules.message.skip or _items(rules).message.skip
    return _Field(
        name=field.name,
        check=value_check(rules, field),
        items=value_check(_items(rules), field),
        keys=value_check(rules.map.keys, field) if is_map else None,
        presence=field.has_presence,
        # Of a oneof another member may be set.
        required=field.containing_oneof is None
        and (rules.message.required or _typed(rules, "required")),
        disallowed=options.Extensions[deprecation_pb2.disallowed_by_default],
        is_map=is_map,
        is_list=field.is_repeated and not is_map,
        inner=value is not None and full_name not in types.WRAPPERS and not skipped,
        any_value=full_name == _ANY,
        wrapper=full_name in types.WRAPPERS,
    )


def _items(rules: validate_pb2.FieldRules) -> validate_pb2.FieldRules:
    """The rules of the items of a list, or of the values of a map."""
    return rules.map.values if rules.WhichOneof("type") == "map" else rules.repeated.items


def _typed(rules: validate_pb2.FieldRules, name: str) -> bool:
    """A switch of durations, timestamps and typed configurations."""
    kind = rules.WhichOneof("type")
    return kind in {"duration", "timestamp", "any"} and bool(getattr(getattr(rules, kind), name))
