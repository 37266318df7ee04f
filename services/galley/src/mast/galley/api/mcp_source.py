"""ResourceSource: Istio's Mesh Configuration Protocol for other consumers (A4, mcp.txt)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Final

import grpc
from grpc import aio

from istio.mcp.v1alpha1 import mcp_pb2
from mast.galley.api.access import Access
from mast.galley.api.consumers import BURST, PER_SECOND, BadRequest, Consumers
from mast.galley.api.problems import Context
from mast.galley.core.mcp.catalog import COLLECTIONS
from mast.galley.core.mcp.pace import Pace
from mast.galley.core.mcp.watches import Answer, Push, Watches

SERVICE: Final = mcp_pb2.DESCRIPTOR.services_by_name["ResourceSource"].full_name
VERSION: Final = (("config.source.version", version("mast-galley")),)
"""What goes ahead of everything else."""


@dataclass
class SinkStream:
    """The messages of one sink, whoever called whom."""

    watches: Watches = field(default_factory=Watches)
    pace: Pace = field(default_factory=lambda: Pace(PER_SECOND, BURST))

    def ask(self, request: mcp_pb2.RequestResources) -> tuple[Answer, str]:
        if request.collection not in COLLECTIONS:
            raise BadRequest(f"collection {request.collection!r} is not served")
        answer = self.watches.ask(
            request.collection,
            request.response_nonce,
            rejected=request.HasField("error_detail"),
            incremental=request.incremental,
            versions=request.initial_resource_versions,
        )
        return answer, f"{request.collection}: {request.error_detail.message}"

    def response(self, push: Push) -> mcp_pb2.Resources:
        return mcp_pb2.Resources(
            system_version_info=push.version,
            collection=push.watch,
            resources=push.resources,
            removed_resources=push.removed,
            nonce=push.nonce,
            incremental=push.incremental,
        )


@dataclass(frozen=True)
class ResourceSource:
    """Serves the stored configuration, without Secrets, to whoever may read it."""

    consumers: Consumers
    access: Access

    def register(self, server: aio.Server) -> None:
        """Add the service to a server. (Generated servicers yield; streams here write.)"""
        stream = grpc.stream_stream_rpc_method_handler(
            self._stream,
            request_deserializer=mcp_pb2.RequestResources.FromString,
            response_serializer=mcp_pb2.Resources.SerializeToString,
        )
        handlers = {"EstablishResourceStream": stream}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def _stream(
        self, requests: AsyncIterator[mcp_pb2.RequestResources], context: Context
    ) -> None:
        await context.send_initial_metadata(VERSION)
        await self.consumers.serve(requests, context, self.access, SinkStream())
