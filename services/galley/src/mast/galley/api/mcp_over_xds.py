"""MCP over xDS: the same configuration by the protocol of later releases (A5).

A consumer asks with an aggregated discovery stream for types that are kinds:
``group/version/Kind``. In the stream's delta form it gets what differs from what it has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from envoy.service.discovery.v3.discovery_pb2 import Resource as Named
from google.protobuf.any_pb2 import Any as AnyMessage
from grpc import aio

from istio.mcp.v1alpha1 import resource_pb2
from mast.common.kinds import BY_GROUP_KIND
from mast.galley.api.access import Access
from mast.galley.api.consumers import WATCHES, BadRequest, Consumers, Face
from mast.galley.api.problems import Context
from mast.galley.core.mcp.pace import Pace
from mast.galley.core.mcp.watches import Answer, Push, Watches

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
MESH_CONFIG: Final = "core/v1alpha1/MeshConfig"
"""Istio's own name for the mesh's settings, which travel as they are, not as a Resource."""

PER_SECOND, BURST = 100.0, 1000
"""Requests on a stream: who follows every type asks and answers for each of them at once."""

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


Request = DiscoveryRequest | DeltaDiscoveryRequest


@dataclass
class _Stream:
    """The messages of one consumer that wants the whole state."""

    watches: Watches = field(default_factory=lambda: Watches(collection_of))
    pace: Pace = field(default_factory=lambda: Pace(PER_SECOND, BURST))
    known: bool = False

    def ask(self, request: DiscoveryRequest) -> tuple[Answer, str]:
        self.insist(request)
        answer = self.watches.ask(
            request.type_url, request.response_nonce, rejected=request.HasField("error_detail")
        )
        return answer, f"{request.type_url}: {request.error_detail.message}"

    def insist(self, request: Request) -> None:
        """Raise BadRequest for what makes no sense on this stream."""
        if not self.known:
            _insist(request)
            self.known = True
        if not request.type_url:
            raise BadRequest("type_url: is required, as group/version/Kind")
        if len(self.watches) >= WATCHES and not request.response_nonce:
            raise BadRequest(f"more than {WATCHES} types on one stream")

    def response(self, push: Push) -> DiscoveryResponse:
        return DiscoveryResponse(
            version_info=push.version,
            type_url=push.watch,
            nonce=push.nonce,
            resources=[_content(push.watch, each) for each in push.resources],
        )


@dataclass
class _DeltaStream:
    """The messages of one consumer that wants what differs from what it has."""

    whole: _Stream = field(default_factory=_Stream)

    @property
    def watches(self) -> Watches:
        return self.whole.watches

    @property
    def pace(self) -> Pace:
        return self.whole.pace

    def ask(self, request: DeltaDiscoveryRequest) -> tuple[Answer, str]:
        self.whole.insist(request)
        named = {*request.resource_names_subscribe, *request.resource_names_unsubscribe} - {"*"}
        if named:
            raise BadRequest(
                f"resource_names_subscribe: {min(named)!r} is not allowed; allowed: *, or nothing"
            )
        answer = self.watches.ask(
            request.type_url,
            request.response_nonce,
            rejected=request.HasField("error_detail"),
            incremental=True,
            versions=request.initial_resource_versions,
        )
        return answer, f"{request.type_url}: {request.error_detail.message}"

    def response(self, push: Push) -> DeltaDiscoveryResponse:
        return DeltaDiscoveryResponse(
            system_version_info=push.version,
            type_url=push.watch,
            nonce=push.nonce,
            resources=[
                Named(
                    name=each.metadata.name,
                    version=each.metadata.version,
                    resource=_content(push.watch, each),
                )
                for each in push.resources
            ],
            removed_resources=push.removed,
        )


def _insist(first: Request) -> None:
    generator = first.node.metadata.fields["GENERATOR"].string_value
    if generator != _GENERATOR:
        raise BadRequest(
            f"node.metadata.GENERATOR: {generator!r} is not {_GENERATOR!r}; proxies ask Pilot"
        )


def _content(type_url: str, resource: resource_pb2.Resource) -> AnyMessage:
    if type_url == MESH_CONFIG:
        return resource.body
    found = AnyMessage()
    found.Pack(resource, deterministic=True)
    return found


@dataclass(frozen=True)
class McpOverXds:
    """Serves the stored configuration, without Secrets, to whoever may read it."""

    consumers: Consumers
    access: Access

    def register(self, server: aio.Server) -> None:
        """Add the service to a server. (Generated servicers yield; streams here write.)"""
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._serving(_Stream),
                request_deserializer=DiscoveryRequest.FromString,
                response_serializer=DiscoveryResponse.SerializeToString,
            ),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._serving(_DeltaStream),
                request_deserializer=DeltaDiscoveryRequest.FromString,
                response_serializer=DeltaDiscoveryResponse.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    def _serving(self, face: Callable[[], Face[Any]]) -> Callable[..., Any]:
        async def stream(requests: AsyncIterator[Any], context: Context) -> None:
            await self.consumers.serve(requests, context, self.access, face())

        return stream
