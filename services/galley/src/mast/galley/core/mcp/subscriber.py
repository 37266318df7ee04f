"""Configuration that another control plane tells by MCP over xDS: the client's side of A5."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, Final

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError

from istio.mcp.v1alpha1 import resource_pb2
from mast.common.kinds import BY_GROUP_KIND, KINDS, Kind, unpack
from mast.galley.core.judge import judge
from mast.galley.core.objects import ROOT_NAMESPACE, Defaults, read_json
from mast.galley.core.problem import Problem, errors
from mast.galley.core.tree import File, Tree

MESH_CONFIG: Final = "core/v1alpha1/MeshConfig"
"""Istio's own name for the mesh's settings, which travel as they are, not as a Resource."""

_GROUPS: Final = tuple(
    f"{each}.istio.io" for each in ("networking", "security", "telemetry", "extensions")
)
_MESH: Final = BY_GROUP_KIND["mesh.istio.io", "MeshConfig"]
_TYPES: Final = {
    **{f"{kind.api_version}/{kind.name}": kind for kind in KINDS if not kind.sealed},
    MESH_CONFIG: _MESH,
}
AWAITED: Final = frozenset(name for name, kind in _TYPES.items() if kind.group in _GROUPS)
"""Types that every control plane of today answers; of those before it some say nothing to the
rest."""

_MISTAKES = 20
_INVALID_ARGUMENT = 3
_OTHER_NAMES = frozenset({f"{_MESH.api_version}/{_MESH.name}"})


@dataclass
class Subscriber:
    """What was told of each type, and what is answered.

    ``files`` of the tree are items: their paths are ``TYPE:NAMESPACE/NAME``. An item that is wrong
    keeps what was stored of it, and is named in a NACK. What was told stays when a stream ends;
    the next one begins with ``requests``. ``node`` is an id as proxies have it, of which Istio's
    control plane reads the namespace.
    """

    node: str
    revision: str
    defaults: Defaults
    _files: dict[str, dict[str, File]] = field(default_factory=dict)
    _versions: dict[str, str] = field(default_factory=dict)

    @property
    def synced(self) -> bool:
        """Whether every type that is waited for was answered."""
        return self._files.keys() >= AWAITED

    @property
    def missing(self) -> frozenset[str]:
        """Types that are waited for."""
        return AWAITED - self._files.keys()

    @property
    def tree(self) -> Tree:
        """Everything that was told."""
        files = {path: file for items in self._files.values() for path, file in items.items()}
        return Tree(files, untold=frozenset(_asked()) - self._files.keys())

    def requests(self) -> Iterator[DiscoveryRequest]:
        """What a stream begins with: every type, as a whole."""
        for type_url in _asked():
            request = DiscoveryRequest(type_url=type_url)
            request.node.id = self.node
            request.node.metadata.update({"GENERATOR": "api", "ISTIO_REVISION": self.revision})
            yield request

    def receive(self, response: DiscoveryResponse) -> DiscoveryRequest:
        """Take the whole state of a type; the answer acknowledges it, or names what is wrong."""
        type_url = response.type_url
        answer = DiscoveryRequest(type_url=type_url, response_nonce=response.nonce)
        kind = _TYPES.get(type_url)
        if kind is None:
            answer.error_detail.code = _INVALID_ARGUMENT
            answer.error_detail.message = f"{type_url}: nobody asked for it"
            return answer
        known = self._files.get(type_url, {})
        items = dict(
            self._item(type_url, kind, each, known, index)
            for index, each in enumerate(response.resources)
        )
        self._files[type_url] = items
        wrong = errors([problem for file in items.values() for problem in file.problems])
        if wrong:
            answer.version_info = self._versions.get(type_url, "")
            answer.error_detail.code = _INVALID_ARGUMENT
            answer.error_detail.message = "; ".join(map(str, wrong[:_MISTAKES]))
        else:
            answer.version_info = self._versions[type_url] = response.version_info
        return answer

    def _item(
        self, type_url: str, kind: Kind, content: AnyMessage, known: dict[str, File], index: int
    ) -> tuple[str, File]:
        digest = hashlib.blake2b(content.SerializeToString(), digest_size=16).digest()
        resource, complaint = _resource(type_url, content)
        path = f"{type_url}:{resource.metadata.name or f'#{index}'}"
        before = known.get(path)
        if before is not None and before.digest == digest:
            return path, before
        if not complaint:
            return path, _judged(path, kind, resource, digest, self.defaults)
        return path, File(digest, (), (Problem("unreadable", complaint, source=path),))


def _asked() -> Iterable[str]:
    return (name for name in _TYPES if name not in _OTHER_NAMES)


def _resource(type_url: str, content: AnyMessage) -> tuple[resource_pb2.Resource, str]:
    """An item, and why it is none."""
    resource = resource_pb2.Resource()
    if type_url == MESH_CONFIG:
        resource.metadata.name = f"{ROOT_NAMESPACE}/default"
        resource.body.CopyFrom(content)
        return resource, ""
    try:
        unpacked = content.Unpack(resource)
    except DecodeError as error:
        return resource, f"cannot be decoded: {error}"
    return resource, "" if unpacked else f"{content.type_url} is no istio.mcp.v1alpha1.Resource"


def _judged(
    path: str, kind: Kind, resource: resource_pb2.Resource, digest: bytes, defaults: Defaults
) -> File:
    """An item, judged as one that is applied would be."""
    try:
        spec = MessageToDict(unpack(kind, resource.body))
    except ValueError as error:
        return File(digest, (), (Problem("unreadable", str(error), source=path),))
    namespace, _, name = resource.metadata.name.rpartition("/")
    metadata: dict[str, Any] = {
        "name": name,
        "labels": dict(resource.metadata.labels),
        "annotations": dict(resource.metadata.annotations),
        **({"namespace": namespace} if namespace else {}),
    }
    content = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}
    content |= spec if kind.flat else {"spec": spec}
    judged = judge(read_json(content, path, defaults), defaults.compat)
    if errors(judged.problems):
        return File(digest, (), judged.problems)
    made = resource.metadata.create_time.ToDatetime(UTC) if _dated(resource) else None
    objects = tuple(replace(obj, created=made) for obj in judged.objects)
    return File(digest, objects, judged.problems)


def _dated(resource: resource_pb2.Resource) -> bool:
    return bool(resource.metadata.HasField("create_time"))
