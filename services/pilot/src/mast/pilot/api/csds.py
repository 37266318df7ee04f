"""The client status discovery service: what proxies were told, for callers with an identity.

It is served behind TLS only (pilot.md A5, B28).
"""

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

import grpc
from envoy.service.status.v3 import csds_pb2_grpc
from envoy.service.status.v3.csds_pb2 import ClientStatusRequest, ClientStatusResponse
from grpc import aio

from mast.common.envoy.matchers import NotUnderstood
from mast.common.identity.spiffe import SpiffeId
from mast.pilot.api.connections import Connections
from mast.pilot.core.xds.client_status import client_config, matches, visible

Context = aio.ServicerContext[Any, Any]

SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"


class ClientStatusService(csds_pb2_grpc.ClientStatusDiscoveryServiceServicer):
    """Tells callers of the system namespace of all proxies, others of those of their own.

    `identities` tells who a peer proved to be.
    """

    def __init__(
        self,
        connections: Connections,
        identities: Callable[[str], tuple[str, ...]],
        system_namespace: str,
    ) -> None:
        self._connections = connections
        self._identities = identities
        self._system_namespace = system_namespace

    def register(self, server: aio.Server) -> None:
        """Add the service to a server."""
        csds_pb2_grpc.add_ClientStatusDiscoveryServiceServicer_to_server(self, server)

    async def FetchClientStatus(
        self, request: ClientStatusRequest, context: Context
    ) -> ClientStatusResponse:
        """The proxies that match, as they are now."""
        return await self._status(request, await self._caller(context), context)

    async def StreamClientStatus(
        self, request_iterator: AsyncIterator[ClientStatusRequest], context: Context
    ) -> AsyncIterator[ClientStatusResponse]:
        """An answer to each request."""
        caller = await self._caller(context)
        async for request in request_iterator:
            yield await self._status(request, caller, context)

    async def _caller(self, context: Context) -> SpiffeId:
        """The identity of the caller; UNAUTHENTICATED without one."""
        try:
            (identity,) = map(SpiffeId.parse, self._identities(context.peer()))
        except ValueError:
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, "a client certificate of the mesh is required"
            )
        return identity

    async def _status(
        self, request: ClientStatusRequest, caller: SpiffeId, context: Context
    ) -> ClientStatusResponse:
        response = ClientStatusResponse()
        contents = not request.exclude_resource_contents
        for each in self._connections.proxies:
            try:
                wanted = matches(request.node_matchers, each.proxy)
            except NotUnderstood as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            if wanted and visible(each.proxy, caller, self._system_namespace):
                tell = partial(client_config, each.stream, each.session.state, contents=contents)
                response.config.append(await self._connections.facilities.work(tell))
        return response
