"""Envoy's typed extension configuration: a message as `Any`, under a name."""

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message


def packed(message: Message) -> Any:
    """A message as `Any`, serialised deterministically."""
    result = Any()
    result.Pack(message, deterministic=True)
    return result


def typed_extension(name: str, message: Message) -> TypedExtensionConfig:
    """A named extension with its configuration."""
    return TypedExtensionConfig(name=name, typed_config=packed(message))
