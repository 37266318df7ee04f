"""MCP over xDS: the same configuration by the protocol of later releases (A5).

A consumer asks with an aggregated discovery stream, state of the world, for types that are kinds:
``group/version/Kind``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any as AnyMessage
from grpc import aio

from istio.mcp.v1alpha1 import resource_pb2
from mast.common.kinds import BY_GROUP_KIND
from mast.galley.api.access import Access
from mast.galley.api.consumers import WATCHES, BadRequest, Consumers
from mast.galley.api.problems import Context
from mast.galley.core.mcp.watches import Answer, Push, Watches

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
MESH_CONFIG: Final = "core/v1alpha1/MeshConfig"
"""Istio's own name for the mesh's settings, which travel as they are, not as a Resource."""

_GENERATOR: Final = "api"
_MESH_COLLECTION: Final = BY_GROUP_KIND["mesh.istio.io", "MeshConfig"].collection


def collection_of(type_url: str) -> str:
    """The collection of a type; one that is empty if there is no such kind, or none to be told."""
    if type_url == MESH_CONFIG:
        return _MESH_COLLECTION
    group, _, rest = type_url.partition("/")
    api_version, _, name = rest.partition("/")
    kind = BY_GROUP_KIND.get(("" if group == "core" else group, name))
    return kind.collection if kind is not None and api_version in kind.versions else ""


@dataclass
class _Stream:
    """The messages of one consumer."""

    watches: Watches = field(default_factory=lambda: Watches(collection_of))
    known: bool = False

    def ask(self, request: DiscoveryRequest) -> tuple[Answer, str]:
        if not self.known:
            _insist(request)
            self.known = True
        if not request.type_url:
            raise BadRequest("type_url: is required, as group/version/Kind")
        answer = self.watches.ask(
            request.type_url, request.response_nonce, rejected=request.HasField("error_detail")
        )
        if len(self.watches) > WATCHES:
            raise BadRequest(f"more than {WATCHES} types on one stream")
        return answer, f"{request.type_url}: {request.error_detail.message}"

    def response(self, push: Push) -> DiscoveryResponse:
        bare = push.watch == MESH_CONFIG
        return DiscoveryResponse(
            version_info=push.version,
            type_url=push.watch,
            nonce=push.nonce,
            resources=[each.body if bare else _packed(each) for each in push.resources],
        )


def _insist(first: DiscoveryRequest) -> None:
    generator = first.node.metadata.fields["GENERATOR"].string_value
    if generator != _GENERATOR:
        raise BadRequest(
            f"node.metadata.GENERATOR: {generator!r} is not {_GENERATOR!r}; proxies ask Pilot"
        )


def _packed(resource: resource_pb2.Resource) -> AnyMessage:
    found = AnyMessage()
    found.Pack(resource, deterministic=True)
    return found


@dataclass(frozen=True)
class McpOverXds:
    """Serves the stored configuration, without Secrets, to whoever may read it."""

    consumers: Consumers
    access: Access

    def register(self, server: aio.Server) -> None:
        """Add the service to a server; of its two methods there is the one that A5 names."""
        stream = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=DiscoveryRequest.FromString,
            response_serializer=DiscoveryResponse.SerializeToString,
        )
        handlers = {"StreamAggregatedResources": stream}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def _stream(self, requests: AsyncIterator[DiscoveryRequest], context: Context) -> None:
        await self.consumers.serve(requests, context, self.access, _Stream())
