"""Envoy's message types, found by name: a packed message may be of any of some hundred modules."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

_PACKAGES = ("envoy.", "xds.", "udpa.", "istio.")


def descriptor(full_name: str) -> Descriptor | None:
    """The type of that name, its module imported if need be; None if there is none."""
    try:
        return _registered(full_name)
    except KeyError:
        if not full_name.startswith(_PACKAGES):
            return None
    package = full_name.rpartition(".")[0]
    try:
        home = importlib.import_module(package)
    except ImportError:
        return None
    for module in pkgutil.iter_modules(home.__path__):
        if module.name.endswith("_pb2"):
            importlib.import_module(f"{package}.{module.name}")
    try:
        return _registered(full_name)
    except KeyError:
        return None


def from_dict(content: dict[str, Any], kind: Message) -> bool:
    """Fill a message from proto3 JSON; fields and packed types that are unknown are left out.

    False if the content is not of that type at all.
    """
    try:
        ParseDict(_known(content), kind, ignore_unknown_fields=True)
    except ParseError:
        return False
    return True


def _registered(full_name: str) -> Descriptor:
    found: Descriptor = Default().FindMessageTypeByName(full_name)
    return found


def _known(value: Any) -> Any:
    """JSON without the packed messages whose types are unknown."""
    if isinstance(value, list):
        return [_known(each) for each in value]
    if not isinstance(value, dict):
        return value
    url = value.get("@type")
    if isinstance(url, str) and descriptor(url.rpartition("/")[2]) is None:
        return {}
    return {key: _known(each) for key, each in value.items()}
