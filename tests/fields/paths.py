"""The fields of a message, all the way down, as paths: `http[].match[].uri.exact`, `labels{}`."""

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

LEAVES: Final = ("google.protobuf.",)
"""Messages that count as one value."""


def paths(descriptor: Descriptor, refused: Container[str] = ()) -> Sequence[str]:
    """Every field that holds a value, in the order of the .proto file.

    A message that was entered before, with the same meaning elsewhere, counts as one value there,
    and so does one in a `refused` field, given by its full name.
    """
    return list(_paths(descriptor, "", set(), refused))


def set_paths(message: Message, prefix: str = "") -> Iterator[str]:
    """The fields of a message that are set; one path may come several times."""
    for field, value in message.ListFields():
        here = prefix + _step(field)
        inner = _inner(field)
        if inner is None:
            yield here
            continue
        for each in _values(field, value):
            below = list(set_paths(each, f"{here}."))
            yield from below or [here]


def without(message: Message, path: str) -> None:
    """Clear a field wherever the message has it."""
    step, _, rest = path.partition(".")
    name = step.rstrip("[]{}")
    field = message.DESCRIPTOR.fields_by_name[name]
    if not rest:
        message.ClearField(name)
        return
    for each in _values(field, getattr(message, name)) if _has(message, field) else ():
        without(each, rest)


def _paths(
    descriptor: Descriptor, prefix: str, entered: set[str], refused: Container[str]
) -> Iterator[str]:
    entered.add(descriptor.full_name)
    for field in descriptor.fields:
        here = prefix + _step(field)
        inner = _inner(field)
        whole = field.full_name in refused
        if whole or inner is None or inner.full_name in entered or not inner.fields:
            yield here
        else:
            yield from _paths(inner, f"{here}.", entered, refused)


def _inner(field: FieldDescriptor) -> Descriptor | None:
    """The message of a field whose own fields count."""
    found = field.message_type
    if found is not None and found.GetOptions().map_entry:
        found = found.fields_by_name["value"].message_type
    if found is None or found.full_name.startswith(LEAVES):
        return None
    return found


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _step(field: FieldDescriptor) -> str:
    if _is_map(field):
        return f"{field.name}{{}}"
    return f"{field.name}[]" if field.is_repeated else field.name


def _has(message: Message, field: FieldDescriptor) -> bool:
    return field.is_repeated or message.HasField(field.name)


def _values(field: FieldDescriptor, value: Any) -> Iterator[Any]:
    if _is_map(field):
        held: Mapping[Any, Any] = value
        yield from held.values()
    elif field.is_repeated:
        yield from value
    else:
        yield value
