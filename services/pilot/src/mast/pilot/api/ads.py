"""Envoy's aggregated discovery service, in both protocols (pilot.md A5, B, B20, B21)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

import grpc
import structlog
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from grpc import aio

from mast.common.identity.spiffe import SpiffeId
from mast.pilot.api.connection import Asides, Connection, Conversation, Ended, Peer
from mast.pilot.api.connections import Connections
from mast.pilot.core.model.proxy import ON_DEMAND, InvalidNode, Proxy, parse
from mast.pilot.core.xds.access import (
    WITHHELD_IN_PLAINTEXT,
    BadQuestion,
    NotAllowed,
    NotHere,
    Unauthenticated,
    verify,
)
from mast.pilot.core.xds.admission import TokenBucket
from mast.pilot.core.xds.push import Push
from mast.pilot.core.xds.registration import UnknownGroup
from mast.pilot.core.xds.report import version_text
from mast.pilot.core.xds.session_delta import DeltaSession
from mast.pilot.core.xds.session_sotw import SotwSession

log = structlog.get_logger()

Context = aio.ServicerContext[Any, Any]

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"

FIRST_REQUEST_SECONDS: Final = 10.0
"""A stream on which nothing is asked for is closed."""

REGISTRATION_SECONDS: Final = 2.0
"""A proxy is answered after this time even if its registration is not in a snapshot yet."""


class Refused(Exception):
    """A stream is not taken on."""

    def __init__(self, code: grpc.StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


STATUS: Final = {
    InvalidNode: grpc.StatusCode.INVALID_ARGUMENT,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    UnknownGroup: grpc.StatusCode.FAILED_PRECONDITION,
    BadQuestion: grpc.StatusCode.INVALID_ARGUMENT,
    NotHere: grpc.StatusCode.NOT_FOUND,
}

ENDS: Final = {
    Ended.NOT_READ: grpc.StatusCode.DEADLINE_EXCEEDED,
    Ended.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
}
"""Ends of a stream that are errors; the others are OK."""


class Registration(Protocol):
    """A workload that registered itself, or a proxy that did not want to."""

    @property
    def revision(self) -> int:
        """Revision of the store at which it was written, 0 if it was not."""

    def found(self, healthy: bool, /) -> None:
        """What the agent found out about the application's health (pilot.md B26)."""


class Registrar(Protocol):
    """Keeps workloads registered while their proxies are connected (pilot.md D9)."""

    def registered(
        self, proxy: Proxy, identity: SpiffeId | None
    ) -> AbstractAsyncContextManager[Registration]:
        """Register the proxy within the block; raises `NotAllowed`, `UnknownGroup`."""


@dataclass(frozen=True)
class Door:
    """One way in. `identities` tells who a peer proved to be; without it nobody has to."""

    identities: Callable[[str], tuple[str, ...]] | None = None
    address: Callable[[str], str] = str

    def admit(self, proxy: Proxy, grpc_peer: str) -> Peer:
        """The peer, if it may speak for the proxy (pilot.md A5)."""
        if self.identities is None:
            return Peer(self.address(grpc_peer))
        identity = verify(proxy, self.identities(grpc_peer))
        return Peer(self.address(grpc_peer), identity)


class AdsService:
    """Serves one door; several share connections and admission."""

    def __init__(
        self,
        door: Door,
        connections: Connections,
        admission: TokenBucket,
        registrar: Registrar,
        asides: Asides,
        changed: Callable[[Connection], None],
        closed: Callable[[Connection], None],
    ) -> None:
        """`changed` and `closed` are told of connections whose state may have changed."""
        self._door = door
        self._connections = connections
        self._admission = admission
        self._registrar = registrar
        self._asides = asides
        self._changed = changed
        self._closed = closed

    def register(self, server: aio.Server) -> None:
        """Add the service to a server. Responses are bytes already."""
        handlers: dict[str, Any] = {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._sotw, request_deserializer=DiscoveryRequest.FromString
            ),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                self._delta, request_deserializer=DeltaDiscoveryRequest.FromString
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))

    async def _sotw(self, requests: AsyncIterator[Any], context: Context) -> None:
        await self._guarded(self._sotw_session, requests, context)

    async def _delta(self, requests: AsyncIterator[Any], context: Context) -> None:
        await self._guarded(self._delta_session, requests, context)

    def _sotw_session(self, proxy: Proxy, push: Push, withheld: frozenset[str]) -> Conversation:
        return SotwSession(proxy, push.view(proxy), self._connections.sotw, withheld=withheld)

    def _delta_session(self, proxy: Proxy, push: Push, withheld: frozenset[str]) -> Conversation:
        return DeltaSession(proxy, push.view(proxy), self._connections.delta, withheld=withheld)

    async def _guarded(
        self,
        session: Callable[[Proxy, Push, frozenset[str]], Conversation],
        requests: AsyncIterator[Any],
        context: Context,
    ) -> None:
        """Serve a stream and give it the status that fits its end."""
        try:
            ended = await self._serve(session, requests, context)
        except Refused as refusal:
            log.info("stream.refused", peer=context.peer(), reason=str(refusal))
            await context.abort(refusal.code, str(refusal))
        except tuple(STATUS) as error:
            code = next(code for kind, code in STATUS.items() if isinstance(error, kind))
            log.warning("stream.denied", peer=context.peer(), reason=str(error))
            await context.abort(code, str(error))
        except Exception:
            self._connections.facilities.instruments.internal_errors.add()
            raise
        if ended in ENDS:
            await context.abort(ENDS[ended], ended.value)

    async def _serve(
        self,
        session: Callable[[Proxy, Push, frozenset[str]], Conversation],
        requests: AsyncIterator[Any],
        context: Context,
    ) -> Ended:
        first = await _first(requests)
        if first is None:
            return Ended.BY_CLIENT
        await self._admitted()
        proxy = parse(first.node)
        if isinstance(first, DiscoveryRequest):
            proxy = proxy.without(ON_DEMAND)  # only the other variant can ask (pilot.md B25)
        peer = self._door.admit(proxy, context.peer())
        self._asides.admit(proxy, peer.identity)
        withheld = WITHHELD_IN_PLAINTEXT if peer.identity is None else frozenset[str]()
        async with self._registrar.registered(proxy, peer.identity) as registration:
            push = await self._push_with(registration)
            made = await self._connections.facilities.work(partial(session, proxy, push, withheld))
            connection = Connection(
                self._connections.name(proxy.node_id),
                proxy,
                peer,
                made,
                self._connections.facilities,
                changed=self._changed,
                health=registration.found,
                asides=self._asides,
                rejected=self._connections.rejected,
                revision=push.snapshot.revision,
            )
            return await self._run(connection, push, first, requests, context)

    async def _run(
        self,
        connection: Connection,
        push: Push,
        first: Any,
        requests: AsyncIterator[Any],
        context: Context,
    ) -> Ended:
        log.info(
            "proxy.connected",
            connection=connection.name,
            address=connection.peer.address,
            identity=str(connection.peer.identity or ""),
            version=version_text(connection.proxy),
        )
        ended = Ended.BY_CLIENT
        try:
            with self._connections.joined(connection, push):
                ended = await connection.run(first, requests, context)
                if connection.refusal is not None:
                    raise connection.refusal
                return ended
        finally:
            self._closed(connection)
            log.info("proxy.disconnected", connection=connection.name, reason=ended.value)

    async def _admitted(self) -> None:
        """Wait for a turn; raises `Refused` (pilot.md B20, N5)."""
        if self._connections.draining:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "this replica is shutting down")
        if self._connections.push is None:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "no complete configuration yet")
        wait = self._admission.take(self._connections.facilities.clock.instant())
        if wait is None:
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many new streams, try later")
        await asyncio.sleep(wait.total_seconds())

    async def _push_with(self, registration: Registration) -> Push:
        """The push to begin with: one in which a workload just registered is seen."""
        try:
            async with asyncio.timeout(REGISTRATION_SECONDS):
                await self._connections.registered(registration.revision)
        except TimeoutError:
            log.warning("registration.unseen", revision=registration.revision)
        push = self._connections.push
        if push is None:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "no complete configuration yet")
        return push


async def _first(requests: AsyncIterator[Any]) -> Any | None:
    """The first request; None if the client closes the stream before."""
    try:
        async with asyncio.timeout(FIRST_REQUEST_SECONDS):
            return await anext(requests, None)
    except TimeoutError as error:
        raise Refused(grpc.StatusCode.DEADLINE_EXCEEDED, "no request on the stream") from error
