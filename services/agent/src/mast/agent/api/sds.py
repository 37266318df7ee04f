"""The SDS server: gives Envoy the workload's secrets over a Unix socket (B3)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import structlog
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from mast.agent.core import secrets
from mast.agent.core.sds_session import Received, SdsSession
from mast.common.latest import Latest

log = structlog.get_logger()

SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
SETTLE = timedelta(seconds=1)
"""How long the next secret waits for Envoy's word on the one before."""

Context = grpc.aio.ServicerContext[DiscoveryRequest, DiscoveryResponse]


@dataclass(eq=False, slots=True)
class _Stream:
    session: SdsSession = field(default_factory=SdsSession)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class SecretServer:
    """State-of-the-world SDS v3; Delta and Fetch are UNIMPLEMENTED, as nobody uses them (B3.2).

    Differs from Istio: a stream for a secret that is not there yet stays open and gets it the
    moment it comes, instead of ending and coming back after Envoy's back-off.
    """

    def __init__(self) -> None:
        self.wanted: Latest[frozenset[str]] = Latest(frozenset())
        self._secrets: dict[str, Secret] = {}
        self._streams: set[_Stream] = set()
        self._settled = asyncio.Event()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the one method that is served to a gRPC server."""
        method = grpc.stream_stream_rpc_method_handler(
            self._stream_secrets,
            request_deserializer=DiscoveryRequest.FromString,
            response_serializer=DiscoveryResponse.SerializeToString,
        )
        handler = grpc.method_handlers_generic_handler(SERVICE, {"StreamSecrets": method})
        server.add_generic_rpc_handlers((handler,))

    async def publish(self, batch: Sequence[Secret]) -> None:
        """Replace secrets one after the other: each waits until Envoy took the one before.

        A stream that does not answer within a second holds nothing up.
        """
        for secret in batch:
            if self._secrets.get(secret.name) == secret:
                continue
            self._secrets[secret.name] = secret
            log.info("secret.published", name=secret.name, version=secrets.version(secret))
            for stream in self._streams:
                stream.wake.set()
            await self._settle(secret)

    async def confirmed(self, name: str) -> str:
        """Wait, however long, until every stream answered the secret as it is now.

        "", or why one of them rejected it.
        """
        while (known := self._secrets.get(name)) is not None and self._open(known):
            self._settled.clear()
            await self._settled.wait()
        sessions = [each.session for each in self._streams if name in each.session.names]
        return next((each.rejection for each in sessions if each.rejection), "")

    async def _settle(self, secret: Secret) -> None:
        try:
            async with asyncio.timeout(SETTLE.total_seconds()):
                while self._open(secret):
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            log.warning("secret.unconfirmed", name=secret.name)

    def _open(self, secret: Secret) -> bool:
        return any(not stream.session.settled(secret) for stream in self._streams)

    async def _stream_secrets(
        self, requests: AsyncIterator[DiscoveryRequest], context: Context
    ) -> None:
        stream = _Stream()
        self._streams.add(stream)
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(stream, context), name="sds-write")
                problem = await self._read(stream, requests)
                writer.cancel()
        finally:
            self._streams.discard(stream)
            self._settled.set()
        if problem:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)

    async def _read(self, stream: _Stream, requests: AsyncIterator[DiscoveryRequest]) -> str:
        """Take requests until Envoy ends the stream, or until one is wrong: then say why."""
        session = stream.session
        async for request in requests:
            try:
                received = session.receive(request)
            except secrets.UnknownSecret as error:
                return str(error)
            self._tell(session, received)
            files = frozenset(
                name for name in session.names if name not in {secrets.CERTIFICATE, secrets.ROOTS}
            )
            if files - self.wanted.value:
                self.wanted.publish(self.wanted.value | files)
            stream.wake.set()
            self._settled.set()
        return ""

    async def _write(self, stream: _Stream, context: Context) -> None:
        while True:
            stream.wake.clear()
            response = stream.session.respond(self._secrets)
            if response is not None:
                await context.write(response)
            await stream.wake.wait()

    @staticmethod
    def _tell(session: SdsSession, received: Received) -> None:
        facts: dict[str, Any] = {"names": sorted(session.names), "node": session.node_id}
        if received is Received.REJECTED:
            log.warning("secret.rejected", error=session.rejection, **facts)
        else:
            log.debug("secret.requested", meaning=received.name.lower(), **facts)
