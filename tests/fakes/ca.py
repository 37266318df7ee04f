"""A certificate service that answers as it is told, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from mast.common.identity.ca_client import (
    CaClient,
)
from mast.common.identity.tls_front import Material, PeerTable, tls_front
from tests.support.pki import Ca

ME = "spiffe://cluster.local/ns/shop/sa/reviews"
HOUR = timedelta(hours=1)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass
class FakeCa(ca_pb2_grpc.IstioCertificateServiceServicer):
    """Answers as the script says, then with ``chain``; records what it was asked."""

    script: list[grpc.StatusCode] = field(default_factory=list)
    chain: Sequence[str] = ("leaf\n", "issuer\n", "roots\n")
    table: PeerTable | None = None
    requests: list[ca_pb2.IstioCertificateRequest] = field(default_factory=list)
    metadata: list[dict[str, str]] = field(default_factory=list)
    peers: list[str] = field(default_factory=list)
    identities: list[tuple[str, ...]] = field(default_factory=list)

    async def CreateCertificate(
        self, request: ca_pb2.IstioCertificateRequest, context: Context
    ) -> ca_pb2.IstioCertificateResponse:
        self.requests.append(request)
        self.metadata.append({k: str(v) for k, v in context.invocation_metadata() or ()})
        self.peers.append(context.peer())
        if self.table is not None:
            self.identities.append(self.table.identities(context.peer()))
        if self.script and (code := self.script.pop(0)) is not grpc.StatusCode.OK:
            await context.abort(code, "as the script says")
        return ca_pb2.IstioCertificateResponse(cert_chain=self.chain)


@dataclass
class Clock:
    """Time that moves only while somebody waits."""

    now: datetime = NOON
    waits: list[timedelta] = field(default_factory=list)

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, delay: timedelta) -> None:
        self.waits.append(delay)
        self.now += delay

    async def wait(self, wake: asyncio.Event, delay: timedelta) -> None:
        if not wake.is_set():
            await self.sleep(delay)


@asynccontextmanager
async def serving(ca: FakeCa, address: str = "127.0.0.1:0") -> AsyncIterator[int]:
    server = grpc.aio.server()
    ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(ca, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


def client_of(address: str, clock: Clock, **changes: Any) -> CaClient:
    client = CaClient(
        address=address,
        root_pem=lambda: b"",
        token=lambda: None,
        client_cert=lambda: None,
        now=clock,
        random=lambda: 0.5,
        sleep=clock.sleep,
    )
    return replace(client, **changes)


@asynccontextmanager
async def plain(ca: FakeCa, directory: Path, **changes: Any) -> AsyncIterator[CaClient]:
    """A client of a fake CA on a Unix socket."""
    address = f"unix:{directory}/ca.sock"
    async with serving(ca, address):
        yield client_of(address, changes.pop("clock", Clock()), **changes)


@asynccontextmanager
async def behind_tls(ca: FakeCa, authority: Ca, directory: Path) -> AsyncIterator[str]:
    """The address of a fake CA behind a TLS front with istiod's name."""
    own = authority.leaf(dns=["istiod.istio-system.svc"])
    material = Material(own.chain, own.key, {"cluster.local": authority.pem})
    async with (
        tls_front("127.0.0.1:0", directory / "grpc.sock", lambda: material) as front,
        serving(ca, f"unix:{directory}/grpc.sock"),
    ):
        ca.table = front.peers
        yield f"127.0.0.1:{front.port}"
