"""Messages as plain data: proto3 JSON, the same text for the same content."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BytesValue

from mast.cli.envoy.walking import packed


def plain(message: Message, *, proto_names: bool = False) -> dict[str, Any]:
    """A message as proto3 JSON, packed messages opened, keys sorted at every level.

    Names of fields are lowerCamelCase, with ``proto_names`` those of the .proto file. A packed
    message of a type that nobody here knows is shown as its bytes.
    """
    shown = type(message)()
    shown.CopyFrom(message)
    for each, opened in packed(shown):
        if opened is None:
            each.Pack(BytesValue(value=each.value))
    found = MessageToDict(shown, preserving_proto_field_name=proto_names)
    return dict(_sorted(found))


def _sorted(value: Any) -> Any:
    if isinstance(value, list):
        return [_sorted(each) for each in value]
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return value
