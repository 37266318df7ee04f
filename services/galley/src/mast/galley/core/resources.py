"""Objects as they are stored (``istio.mcp.v1alpha1.Resource``) and as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from istio.mcp.v1alpha1 import metadata_pb2, resource_pb2
from mast.common.keys import ConfigKey, parse_config_key
from mast.common.kinds import BY_COLLECTION, Kind, unpack
from mast.galley.core.metadata import Metadata
from mast.galley.core.objects import ConfigObject
from mast.galley.core.sealed import redacted
from mastapi.galley.v1 import config_pb2


class Unreadable(Exception):
    """What is stored under a key is not one of our objects."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored object: its key, content and the revision it was last written at."""

    key: ConfigKey
    kind: Kind
    resource: resource_pb2.Resource
    revision: int

    @property
    def generation(self) -> int:
        """How often the specification was written."""
        return int(self.resource.metadata.version or 0)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.resource.metadata.labels

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.resource.metadata.annotations


def resource(obj: ConfigObject, generation: int, created: datetime | None) -> resource_pb2.Resource:
    """What is stored of an object; ``created`` is aware, None leaves the time out."""
    meta = metadata_pb2.Metadata(
        name=resource_name(obj.meta),
        version=str(generation),
        labels=dict(obj.meta.labels),
        annotations=dict(obj.meta.annotations),
    )
    if created is not None:
        meta.create_time.FromDatetime(created)
    return resource_pb2.Resource(metadata=meta, body=packed(obj))


def resource_name(meta: Metadata) -> str:
    """``namespace/name``, or the name of a cluster-scoped object (mcp.txt)."""
    return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


def packed(obj: ConfigObject) -> AnyMessage:
    """The specification, serialised the same way whenever it is the same.

    That of a kind that is sealed must be sealed by now.
    """
    if not isinstance(obj.spec, obj.kind.stored):
        raise TypeError(f"{obj.kind} is to be stored sealed")
    body = obj.spec.SerializeToString(deterministic=True)
    return AnyMessage(type_url=obj.kind.type_url, value=body)


def stored(key: str, value: bytes, revision: int) -> Stored:
    """A stored object from its key and bytes; Unreadable if they are not one of ours."""
    try:
        parsed = parse_config_key(key)
    except ValueError as error:
        raise Unreadable(str(error)) from error
    kind = BY_COLLECTION.get(parsed.collection)
    if kind is None:
        raise Unreadable(f"key {key!r}: no kind has the collection {parsed.collection!r}")
    content = resource_pb2.Resource()
    try:
        content.ParseFromString(value)
    except DecodeError as error:
        raise Unreadable(f"key {key!r}: not a Resource: {error}") from error
    return Stored(parsed, kind, content, revision)


def replaceable(obj: ConfigObject, value: bytes, revision: int) -> Stored:
    """The stored form of an object that is to be written; what cannot be read counts as empty."""
    try:
        return stored(obj.key, value, revision)
    except Unreadable:
        empty = resource_pb2.Resource()
        return Stored(parse_config_key(obj.key), obj.kind, empty, revision)


def shown(item: Stored) -> config_pb2.Object:
    """An object as users know it, in its storage version; Unreadable if it cannot be decoded."""
    try:
        spec = unpack(item.kind, item.resource.body)
    except ValueError as error:
        raise Unreadable(f"key {str(item.key)!r}: {error}") from error
    found = config_pb2.Object(
        api_version=item.kind.api_version,
        kind=item.kind.name,
        metadata=config_pb2.Metadata(
            name=item.key.name,
            namespace=item.key.namespace,
            labels=dict(item.labels),
            annotations=dict(item.annotations),
            generation=item.generation,
            resource_version=str(item.revision),
        ),
    )
    if item.resource.metadata.HasField("create_time"):
        found.metadata.create_time.CopyFrom(item.resource.metadata.create_time)
    content: dict[str, Any] = redacted(spec) if item.kind.sealed else MessageToDict(spec)
    found.spec.update(content)
    return found


def reference(kind: Kind, namespace: str, name: str) -> config_pb2.ObjectRef:
    """A name of an object."""
    return config_pb2.ObjectRef(group=kind.group, kind=kind.name, namespace=namespace, name=name)
