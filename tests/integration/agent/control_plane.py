"""A small control plane that speaks the real protocols: a CA and ADS on one TLS port.

It decides nothing: tests tell it what to sign and what to send, and read what it was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
    Resource,
)
from google.protobuf.message import Message

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from mast.common.identity.tls_front import Material, PeerTable, tls_front
from tests.support.pki import Ca, pem, wall_clock

TOKEN = "a-join-token"  # noqa: S105
CONTROL_PLANE = "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account"


class Certificates(ca_pb2_grpc.IstioCertificateServiceServicer):
    """Signs what comes with the token or with a certificate that it signed before."""

    def __init__(self, ca: Ca, peers: Callable[[], PeerTable], identity: str) -> None:
        self.ca = ca
        self.roots = ca.pem
        self.life = timedelta(hours=1)
        self.callers: list[tuple[str, ...]] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.requests: list[ca_pb2.IstioCertificateRequest] = []
        self.down = False
        self._peers = peers
        self._identity = identity

    async def CreateCertificate(
        self, request: ca_pb2.IstioCertificateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> ca_pb2.IstioCertificateResponse:
        if self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        proved = self._peers().identities(context.peer())
        metadata = dict(context.invocation_metadata() or ())
        if not proved and metadata.get("authorization") != f"Bearer {TOKEN}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "request authenticate failure")
        self.callers.append(proved)
        self.metadata.append(metadata)
        self.requests.append(request)
        chain = signed(self.ca, request.csr, proved[0] if proved else self._identity, self.life)
        return ca_pb2.IstioCertificateResponse(cert_chain=[chain, self.roots.decode()])


def signed(ca: Ca, csr_pem: str, identity: str, life: timedelta) -> str:
    """A leaf for the CSR's key, valid from now for ``life``."""
    csr = x509.load_pem_x509_csr(csr_pem.encode())
    now = wall_clock()
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(ca.certificate.subject)
        .public_key(csr.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(seconds=2))
        .not_valid_after(now + life)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True
        )
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .sign(ca.key, hashes.SHA256())
    )
    return pem(leaf).decode()


@dataclass(eq=False)
class _Stream:
    identities: tuple[str, ...]
    types: set[str] = field(default_factory=set)
    sent: dict[tuple[str, str], bytes] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    end: asyncio.Event = field(default_factory=asyncio.Event)


class Discovery:
    """Delta ADS: sends the resources of every type that is asked for, and what changes of it."""

    def __init__(self, peers: Callable[[], PeerTable]) -> None:
        self.requests: list[DeltaDiscoveryRequest] = []
        self.streams: list[_Stream] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.down = False
        self._resources: dict[str, dict[str, Message]] = {}
        self._silent: set[str] = set()
        self._peers = peers
        self._asked = asyncio.Event()

    def set(self, type_url: str, resources: dict[str, Message]) -> None:
        """Replace all resources of a type and push what changed."""
        self._resources[type_url] = resources
        for stream in self.streams:
            stream.wake.set()

    def silence(self, type_url: str) -> None:
        """Do not answer requests for a type any more."""
        self._silent.add(type_url)

    def speak(self, type_url: str) -> None:
        """Answer requests for a type again, waiting ones too."""
        self._silent.discard(type_url)
        for stream in self.streams:
            stream.wake.set()

    def end_streams(self) -> None:
        """End every stream, as a server that restarts."""
        for stream in self.streams:
            stream.end.set()

    async def asked(
        self, condition: Callable[[DeltaDiscoveryRequest], bool], *, after: int = 0
    ) -> DeltaDiscoveryRequest:
        """The first request, from the ``after``-th on, that meets a condition."""
        async with asyncio.timeout(20):
            while True:
                for request in self.requests[after:]:
                    if condition(request):
                        return request
                self._asked.clear()
                await self._asked.wait()

    def register(self, server: grpc.aio.Server) -> None:
        """Serve both variants."""
        method = grpc.stream_stream_rpc_method_handler(
            self._delta,
            request_deserializer=DeltaDiscoveryRequest.FromString,
            response_serializer=DeltaDiscoveryResponse.SerializeToString,
        )
        service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        older = grpc.stream_stream_rpc_method_handler(
            self._sotw,
            request_deserializer=DiscoveryRequest.FromString,
            response_serializer=DiscoveryResponse.SerializeToString,
        )
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "DeltaAggregatedResources": method,
            "StreamAggregatedResources": older,
        }
        handler = grpc.method_handlers_generic_handler(service, methods)
        server.add_generic_rpc_handlers((handler,))

    async def _delta(
        self,
        request_iterator: AsyncIterator[DeltaDiscoveryRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        if self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        stream = _Stream(self._peers().identities(context.peer()))
        self.streams.append(stream)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(self._read(stream, request_iterator)),
                    tasks.create_task(self._write(stream, context)),
                ]
                await stream.end.wait()
                for task in work:
                    task.cancel()
        finally:
            self.streams.remove(stream)

    async def _read(self, stream: _Stream, requests: AsyncIterator[DeltaDiscoveryRequest]) -> None:
        async for request in requests:
            self.requests.append(request)
            self._asked.set()
            if not request.response_nonce:
                stream.types.add(request.type_url)
                stream.wake.set()
        stream.end.set()

    async def _write(self, stream: _Stream, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        answered: set[str] = set()
        count = 0
        while True:
            stream.wake.clear()
            for type_url in sorted(stream.types - self._silent):
                changed = list(self._changes(stream, type_url))
                if not changed and type_url in answered:
                    continue
                answered.add(type_url)
                count += 1
                response = DeltaDiscoveryResponse(
                    type_url=type_url, nonce=f"n{count}", resources=changed
                )
                await context.write(response)
            await stream.wake.wait()

    async def _sotw(
        self,
        request_iterator: AsyncIterator[DiscoveryRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """The state-of-the-world variant: the whole of a type with every change."""
        stream = _Stream(self._peers().identities(context.peer()))
        self.streams.append(stream)
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(self._read_sotw(stream, request_iterator)),
                    tasks.create_task(self._write_sotw(stream, context)),
                ]
                await stream.end.wait()
                for task in work:
                    task.cancel()
        finally:
            self.streams.remove(stream)

    async def _read_sotw(self, stream: _Stream, requests: AsyncIterator[DiscoveryRequest]) -> None:
        async for request in requests:
            stream.types.add(request.type_url)
            stream.wake.set()
        stream.end.set()

    async def _write_sotw(
        self, stream: _Stream, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        while True:
            stream.wake.clear()
            for type_url in sorted(stream.types):
                response = DiscoveryResponse(type_url=type_url)
                for message in self._resources.get(type_url, {}).values():
                    response.resources.add().Pack(message)
                data = response.SerializeToString(deterministic=True)
                if stream.sent.get((type_url, "")) != data:
                    stream.sent[type_url, ""] = data
                    response.nonce = response.version_info = str(hash(data))
                    await context.write(response)
            await stream.wake.wait()

    def _changes(self, stream: _Stream, type_url: str) -> Iterable[Resource]:
        for name, message in self._resources.get(type_url, {}).items():
            data = message.SerializeToString(deterministic=True)
            if stream.sent.get((type_url, name)) == data:
                continue
            stream.sent[type_url, name] = data
            resource = Resource(name=name, version=str(hash(data)))
            resource.resource.Pack(message)
            yield resource


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """A running one; ``root`` vouches for it and for what it signs."""

    host: str
    port: int
    root: Ca
    certificates: Certificates
    discovery: Discovery
    trusted: list[Material]

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def rotate(self, new: Ca) -> None:
        """Sign with a new root from now on; the old one stays trusted."""
        self.certificates.roots = self.root.pem + new.pem
        self.certificates.ca = new
        roots = {"cluster.local": self.certificates.roots}
        self.trusted[0] = replace(self.trusted[0], trust=roots)


@asynccontextmanager
async def control_plane(
    directory: Path,
    *,
    host: str = "127.0.0.1",
    identity: str = "spiffe://cluster.local/ns/shop/sa/reviews",
) -> AsyncIterator[ControlPlane]:
    """Serve both services behind a TLS front with optional client certificates."""
    root = Ca.root()
    own = root.leaf(uris=[CONTROL_PLANE], dns=["istiod.istio-system.svc", "localhost"])
    peers: list[PeerTable] = []
    certificates = Certificates(root, lambda: peers[0], identity)
    discovery = Discovery(lambda: peers[0])
    server = grpc.aio.server()
    ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(certificates, server)
    discovery.register(server)
    path = directory / "control-plane"
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    trusted = [Material(own.chain, own.key, {"cluster.local": root.pem})]
    try:
        async with tls_front(f"{host}:0", path, lambda: trusted[0]) as front:
            peers.append(front.peers)
            yield ControlPlane(
                host=host,
                port=front.port,
                root=root,
                certificates=certificates,
                discovery=discovery,
                trusted=trusted,
            )
            discovery.end_streams()
    finally:
        await server.stop(0.2)
