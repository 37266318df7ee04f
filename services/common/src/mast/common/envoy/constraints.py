"""What Envoy requires of the values in a message: the rules its descriptors carry.

Envoy checks each message it is given by protoc-gen-validate (extension `validate.rules` of fields)
and refuses the whole response for one violation (pilot.md B2); fields that are "disallowed by
default" (`envoy.annotations`) it refuses as well. Checks are compiled once per message type.

Rules between fields, and what only Envoy's code knows, are not in the descriptors.
"""

from collections.abc import Iterator, Mapping, Sequence
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


def violations(message: Message) -> Sequence[Violation]:
    """Everything in a message that Envoy refuses; typed configurations included."""
    plan = _plan(cast("Descriptor", message.DESCRIPTOR))
    found: list[Violation] = []
    for names, oneof in plan.required_oneofs:
        if message.WhichOneof(oneof) is None:
            found.append(Violation((), f"one of {names} is required", absent=True))
    given = set()
    for descriptor, value in message.ListFields():
        field = plan.fields.get(descriptor.name)
        given.add(descriptor.name)
        if field is not None:
            _check(field, value, found)
    for name, complaints in plan.wanted.items():
        if name not in given:
            found += (Violation((name,), each, absent=True) for each in complaints)
    return found


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
    """How a field that is set is checked; `inner` tells that messages in it are checked as well."""

    name: str
    check: Check | None
    items: Check | None
    keys: Check | None
    disallowed: bool
    is_map: bool
    is_list: bool
    inner: bool
    any_value: bool
    wrapper: bool


class _Plan(NamedTuple):
    """How a message is checked; `wanted` holds what is wrong with fields that are not set."""

    fields: Mapping[str, _Field]
    wanted: Mapping[str, Sequence[str]]
    required_oneofs: tuple[tuple[str, str], ...]


_NO_PLAN: Final = _Plan({}, {}, ())


def _check(field: _Field, value: Any, found: list[Violation]) -> None:
    """Add what is wrong with a field that is set, and with the messages in it."""
    if field.disallowed:
        message = f"Envoy does not allow {field.name!r} any more"
        found.append(Violation((field.name,), message))
    if field.check is not None:
        plain = value.value if field.wrapper and not field.is_list and not field.is_map else value
        found += (Violation((field.name,), each) for each in field.check(plain))
    if field.is_map:
        for key in value:
            _check_item(field, value[key], (field.name, str(key)), found)
            for complaint in field.keys(key) if field.keys else ():
                found.append(Violation((field.name, str(key)), complaint))
    elif field.is_list:
        if field.items is not None or field.inner:
            for index, each in enumerate(value):
                _check_item(field, each, (field.name, index), found)
    elif field.inner:
        _check_message(field, value, (field.name,), found)


def _check_item(field: _Field, item: Any, at: Path, found: list[Violation]) -> None:
    if field.items is not None:
        plain = item.value if field.wrapper else item
        found += (Violation(at, each) for each in field.items(plain))
    if field.inner:
        _check_message(field, item, at, found)


def _check_message(field: _Field, value: Any, at: Path, found: list[Violation]) -> None:
    inner = types.unpacked(value) if field.any_value else value
    if inner is not None:
        for path, complaint, absent in violations(inner):
            found.append(Violation((*at, *path), complaint, absent))


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


@cache
def _plan(descriptor: Descriptor) -> _Plan:
    options = descriptor.GetOptions()
    ignored = (
        options.Extensions[validate_pb2.disabled]
        or options.Extensions[validate_pb2.ignored]
        or descriptor.full_name in _FREE_FORM
    )
    if ignored:
        return _NO_PLAN
    fields = {each.name: field for each in descriptor.fields if (field := _field(each))}
    return _Plan(
        fields=fields,
        wanted={
            each.name: complaints for each in descriptor.fields if (complaints := _wanted(each))
        },
        required_oneofs=tuple(
            (", ".join(each.name for each in oneof.fields), oneof.name)
            for oneof in descriptor.oneofs
            if oneof.GetOptions().Extensions[validate_pb2.required]
        ),
    )


def _wanted(field: FieldDescriptor) -> Sequence[str]:
    """What is wrong with a field that is not set; of a oneof another member may be set."""
    rules = field.GetOptions().Extensions[validate_pb2.rules]
    if field.has_presence:
        wanted = rules.message.required or _typed(rules, "required")
        return ("is required",) if wanted and field.containing_oneof is None else ()
    check = value_check(rules, field)
    empty: Any = () if field.is_repeated else field.default_value
    return tuple(check(empty)) if check is not None else ()


def _field(field: FieldDescriptor) -> _Field | None:
    """How a field is checked if it is set; None if nothing can be wrong with it."""
    options = field.GetOptions()
    rules = options.Extensions[validate_pb2.rules]
    of: Any = field.message_type
    is_map = of is not None and of.GetOptions().map_entry
    value = of.fields_by_name["value"].message_type if is_map else of
    full_name = "" if value is None else value.full_name
    skipped = rules.message.skip or _items(rules).message.skip
    made = _Field(
        name=field.name,
        check=value_check(rules, field),
        items=value_check(_items(rules), field),
        keys=value_check(rules.map.keys, field) if is_map else None,
        disallowed=options.Extensions[deprecation_pb2.disallowed_by_default],
        is_map=is_map,
        is_list=field.is_repeated and not is_map,
        inner=value is not None and not skipped and _checkable(value),
        any_value=full_name == _ANY,
        wrapper=full_name in types.WRAPPERS,
    )
    checked = made.check or made.items or made.keys or made.disallowed or made.inner
    return made if checked else None


@cache
def _checkable(descriptor: Descriptor) -> bool:
    """Something may be wrong in a message of the type, or in one inside it."""
    seen, pending = {descriptor.full_name}, [descriptor]
    while pending:
        each = pending.pop()
        if each.full_name == _ANY or _has_rules(each):
            return True
        for field in each.fields:
            inner = field.message_type
            if inner is not None and inner.full_name not in seen:
                seen.add(inner.full_name)
                pending.append(inner)
    return False


def _has_rules(descriptor: Descriptor) -> bool:
    """The type has rules of its own."""
    required = (each.GetOptions().Extensions[validate_pb2.required] for each in descriptor.oneofs)
    if any(required):
        return True
    for field in descriptor.fields:
        options = field.GetOptions()
        if options.HasExtension(validate_pb2.rules):
            return True
        if options.Extensions[deprecation_pb2.disallowed_by_default]:
            return True
    return False


def _items(rules: validate_pb2.FieldRules) -> validate_pb2.FieldRules:
    """The rules of the items of a list, or of the values of a map."""
    return rules.map.values if rules.WhichOneof("type") == "map" else rules.repeated.items


def _typed(rules: validate_pb2.FieldRules, name: str) -> bool:
    """A switch of durations, timestamps and typed configurations."""
    kind = rules.WhichOneof("type")
    return kind in {"duration", "timestamp", "any"} and bool(getattr(getattr(rules, kind), name))
