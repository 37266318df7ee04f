"""A gRPC client of ADS that says exactly what a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from grpc import aio

from mast.pilot.api.ads import SERVICE
from tests.support.ads_server import NODE_ID

SECONDS = 10


class XdsStream:
    """One stream: `ask`, then `told`; the first request carries the node."""

    def __init__(self, call: Any, delta: bool, node: Node) -> None:
        self.call = call
        self._delta = delta
        self._node: Node | None = node

    async def ask(self, type_url: str, *names: str, nonce: str = "", **more: Any) -> None:
        """A request; `error` makes it a rejection. `ended` tells if it came too late."""
        error = more.pop("error", "")
        request: Any
        if self._delta:
            request = DeltaDiscoveryRequest(resource_names_subscribe=names, **more)
        else:
            request = DiscoveryRequest(resource_names=names, **more)
        request.type_url, request.response_nonce = type_url, nonce
        if error:
            request.error_detail.message = error
        if self._node is not None:
            request.node.CopyFrom(self._node)
            self._node = None
        with suppress(aio.AioRpcError, asyncio.InvalidStateError):
            await self.call.write(request)

    async def told(self, seconds: float = SECONDS) -> Any:
        """The next response; AioRpcError if the stream was ended with an error."""
        async with asyncio.timeout(seconds):
            response = await self.call.read()
        if response is aio.EOF:
            raise EOFError(await self.call.code(), await self.call.details())
        return response

    async def ack(self, response: Any, *names: str) -> None:
        """Accept a response."""
        more = {} if self._delta else {"version_info": response.version_info}
        await self.ask(response.type_url, *names, nonce=response.nonce, **more)

    async def silent(self, seconds: float = 0.2) -> bool:
        """Whether nothing more is said for a while; it reads what is said."""
        try:
            async with asyncio.timeout(seconds):
                await self.call.read()
        except TimeoutError:
            return True
        return False

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """Status of the stream, once it is over."""
        async with asyncio.timeout(SECONDS):
            return await self.call.code(), await self.call.details()


def node(node_id: str = NODE_ID, **metadata: Any) -> Node:
    """A node with metadata."""
    made = Node(id=node_id)
    made.metadata.update(metadata)
    return made


@asynccontextmanager
async def xds_stream(
    target: str,
    *,
    delta: bool = True,
    who: Node | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    options: Any = (),
) -> AsyncIterator[XdsStream]:
    """An open stream on a connection of its own."""
    channel = (
        aio.insecure_channel(target, options=options)
        if credentials is None
        else aio.secure_channel(target, credentials, options=options)
    )
    method = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
    request = DeltaDiscoveryRequest if delta else DiscoveryRequest
    response = DeltaDiscoveryResponse if delta else DiscoveryResponse
    async with channel:
        stub = channel.stream_stream(
            f"/{SERVICE}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        call = stub()
        try:
            yield XdsStream(call, delta, who or node())
        finally:
            call.cancel()
