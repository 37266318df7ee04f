"""Protobuf messages in tests: written as YAML, read as plain values."""

import json
from typing import Any, TypeVar

import yaml
from google.protobuf.json_format import MessageToJson, ParseDict
from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def made(kind: type[M], text: str) -> M:
    """A message from YAML."""
    return ParseDict(yaml.safe_load(text) or {}, kind())


def plain(message: Message) -> Any:
    """A message as plain values, names as in its .proto file, packed messages opened."""
    return json.loads(MessageToJson(message, preserving_proto_field_name=True))


def read(text: str) -> Any:
    """The plain values that YAML stands for."""
    return yaml.safe_load(text)
