"""Messages within messages, packed ones included."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from mast.cli.envoy import types

M = TypeVar("M", bound=Message)


def within(message: Message, kind: type[M]) -> Iterator[M]:
    """Every message of a kind inside another one, at any depth, in the order of fields."""
    if isinstance(message, kind):
        yield message
        return
    if isinstance(message, AnyMessage):
        opened = unpacked(message)
        if opened is not None:
            yield from within(opened, kind)
        return
    for each in _children(message):
        yield from within(each, kind)


def packed(message: Message) -> Iterator[tuple[AnyMessage, Message | None]]:
    """Every packed message inside another one and what it holds, at any depth."""
    if isinstance(message, AnyMessage):
        opened = unpacked(message)
        yield message, opened
        if opened is not None:
            yield from packed(opened)
        return
    for each in _children(message):
        yield from packed(each)


def unpacked(packed: AnyMessage) -> Message | None:
    """The message in an Any, None if its type is not known or the bytes are not of it."""
    descriptor = types.descriptor(packed.TypeName())
    if descriptor is None:
        return None
    message: Message = GetMessageClass(descriptor)()
    try:
        message.ParseFromString(packed.value)
    except DecodeError:
        return None
    return message


def _children(message: Message) -> Iterator[Message]:
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        children: Any = (value,)
        if field.message_type.GetOptions().map_entry:
            mapped = field.message_type.fields_by_name["value"].message_type is not None
            children = [value[key] for key in sorted(value)] if mapped else ()
        elif field.is_repeated:
            children = value
        yield from children
