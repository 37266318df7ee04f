"""Which protobuf messages Envoy's configuration may hold, found by name when they are needed.

A typed configuration (`google.protobuf.Any`) names its message; the class of that message is in a
module of the package of the same name. Modules are imported when a name of theirs is asked for.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, TypeVar

from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct

M = TypeVar("M", bound=Message)

PREFIX: Final = "type.googleapis.com/"
"""Begin of a type URL; Envoy looks only at what follows the last slash."""

TYPED_STRUCTS: Final = frozenset({"udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"})
"""Messages that hold another one as an untyped structure beside its type URL."""

WRAPPERS: Final = frozenset(
    f"google.protobuf.{each}Value"
    for each in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)
"""Messages that hold one scalar, so that it may be absent."""

_PACKAGE: Final = re.compile(r"(?:envoy|google\.protobuf|udpa|xds)(?:\.[a-z][a-z0-9_]*)*(?=\.)")


class UnknownType(ValueError):
    """A type URL names no message of Envoy's configuration."""


class Unreadable(ValueError):
    """A structure is not the JSON form of the message it should be; says where and why."""


def type_name(type_url: str) -> str:
    """Full name of the message that a type URL is about."""
    return type_url.rpartition("/")[2]


@cache
def message_class(name: str) -> type[Message]:
    """The class of a message by its full name; raises `UnknownType`."""
    package = _PACKAGE.match(name)
    try:
        if package is None:
            raise KeyError(name)
        _load(package.group())
        return GetMessageClass(Default().FindMessageTypeByName(name))
    except KeyError as error:
        raise UnknownType(f"{name!r} is no message of Envoy's configuration") from error


def unpacked(typed: AnyMessage) -> Message | None:
    """The message inside, None if its type is unknown or its bytes are no such message."""
    try:
        result = message_class(type_name(typed.type_url))()
        result.ParseFromString(typed.value)
    except (UnknownType, DecodeError):
        return None
    return result


def packed(message: Message, type_url: str = "") -> AnyMessage:
    """A message as `Any`, serialised deterministically."""
    result = AnyMessage()
    result.type_url = type_url or f"{PREFIX}{message.DESCRIPTOR.full_name}"
    result.value = message.SerializeToString(deterministic=True)
    return result


def parsed(value: Struct, kind: type[M]) -> M:
    """The message that a structure is the JSON form of (proto3 JSON mapping).

    Raises `Unreadable` for fields and types that are unknown and for values that do not fit.
    """
    content = json_format.MessageToDict(value)
    try:
        for each in _type_urls(content):
            message_class(type_name(each))
        return json_format.ParseDict(content, kind())
    except (json_format.ParseError, UnknownType, TypeError, ValueError) as error:
        raise Unreadable(str(error)) from error


def _type_urls(content: Any) -> Iterator[str]:
    """Every `@type` of a JSON value."""
    if isinstance(content, dict):
        found = content.get("@type")
        if isinstance(found, str):
            yield found
        for each in content.values():
            yield from _type_urls(each)
    elif isinstance(content, list):
        for each in content:
            yield from _type_urls(each)


def _load(package: str) -> None:
    """Import the message modules of a package; one that does not exist has none."""
    try:
        found = importlib.import_module(package)
    except ModuleNotFoundError:
        return
    for each in pkgutil.iter_modules(found.__path__):
        if each.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{each.name}")
