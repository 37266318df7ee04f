"""Patches for tests, written as the YAML of an EnvoyFilter's `configPatches`."""

from __future__ import annotations

from typing import Any

import yaml
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.common.envoy.types import message_class, type_name
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config, ConfigMeta
from mast.pilot.core.patches.patch import Compiled, PatchSet, compiled

EXTENSIONS = "type.googleapis.com/envoy.extensions"


def config(spec: dict[str, Any], *, name: str = "test", namespace: str = "shop") -> Config[Any]:
    """An EnvoyFilter as Pilot holds it."""
    meta = ConfigMeta(
        collection=collection_names.ENVOY_FILTERS,
        group="networking.istio.io",
        api_version="v1alpha3",
        kind="EnvoyFilter",
        namespace=namespace,
        name=name,
    )
    return Config(meta, ParseDict(spec, EnvoyFilter()))


def compiled_patches(text: str) -> Compiled:
    """The patches of a YAML list."""
    return compiled(config({"configPatches": yaml.safe_load(text)}))


def patches(text: str) -> PatchSet:
    """The patches of a YAML list; all of them can be read."""
    found = compiled_patches(text)
    assert not found.unreadable, found.unreadable
    return PatchSet(found.patches)


def envoy_message(kind: type[Any], text: str) -> Any:
    """A message of Envoy from YAML."""
    content = yaml.safe_load(text) or {}
    _load(content)
    return ParseDict(content, kind())


def plain(message: Message) -> Any:
    """A message as JSON data, with the names of the proto."""
    return MessageToDict(message, preserving_proto_field_name=True)


def _load(content: Any) -> None:
    if isinstance(content, dict):
        if "@type" in content:
            message_class(type_name(content["@type"]))
        for each in content.values():
            _load(each)
    elif isinstance(content, list):
        for each in content:
            _load(each)
