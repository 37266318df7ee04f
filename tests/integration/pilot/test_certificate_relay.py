"""Istio's certificate service at Pilot's port: what it tells Citadel, and callers (A5, A6)."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from mast.common.identity.ca_client import Certificate, KeyPair
from mast.common.identity.tls_front import Material, tls_front
from mast.pilot.api.certificate_relay import CertificateRelay
from mastapi.citadel.v1 import relay_pb2_grpc
from tests.support.pki import Ca, Pair

PILOT = "spiffe://cluster.local/ns/istio-system/sa/istio-pilot-service-account"
WEB = "spiffe://cluster.local/ns/shop/sa/web"
NAME = "istiod.istio-system.svc"
Status = grpc.StatusCode
TOKEN = ("authorization", "Bearer secret")


@dataclass
class Citadel(relay_pb2_grpc.CertificateRelayServicer):
    """Answers with a chain, or as it was told to refuse; remembers what it was asked."""

    refusal: tuple[grpc.StatusCode, str] | None = None
    asked: list[tuple[ca_pb2.IstioCertificateRequest, dict[str, Any], bytes]] = field(
        default_factory=list
    )

    async def CreateCertificate(
        self, request: ca_pb2.IstioCertificateRequest, context: aio.ServicerContext[Any, Any]
    ) -> ca_pb2.IstioCertificateResponse:
        metadata = {str(k): v for k, v in context.invocation_metadata() or ()}
        who, *_ = context.auth_context()["x509_subject_alternative_name"]
        self.asked.append((request, metadata, who))
        if self.refusal:
            await context.abort(*self.refusal)
        return ca_pb2.IstioCertificateResponse(cert_chain=["leaf", "root"])


@dataclass
class Site:
    """A port of Pilot's with nothing but the relay, and what is behind."""

    ca: Ca
    citadel: Citadel
    address: str

    async def ask(
        self, *metadata: tuple[str, str], pair: Pair | None = None
    ) -> ca_pb2.IstioCertificateResponse:
        """As an agent does."""
        given = grpc.ssl_channel_credentials(
            self.ca.pem, pair.key if pair else None, pair.chain if pair else None
        )
        options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
        request = ca_pb2.IstioCertificateRequest(csr="csr", validity_duration=3600)
        request.metadata.update({"CertSigner": "signer"})
        async with aio.secure_channel(self.address, given, options) as channel:
            stub = ca_pb2_grpc.IstioCertificateServiceStub(channel)
            return await stub.CreateCertificate(request, metadata=metadata, timeout=30)

    async def refused(
        self, *metadata: tuple[str, str], pair: Pair | None = None
    ) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(aio.AioRpcError) as caught:
            await self.ask(*metadata, pair=pair)
        return caught.value.code(), caught.value.details() or ""


@asynccontextmanager
async def served(ca: Ca, citadel: Citadel) -> AsyncIterator[int]:
    """A Citadel with mutual TLS; its port."""
    own = ca.leaf(dns=[NAME])
    server = aio.server()
    relay_pb2_grpc.add_CertificateRelayServicer_to_server(citadel, server)
    credentials = grpc.ssl_server_credentials(
        [(own.key, own.chain)], ca.pem, require_client_auth=True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@asynccontextmanager
async def site(*, roots: bytes | None = b"", reached: bool = True) -> AsyncIterator[Site]:
    """``roots`` other than the CA's; None if there are none yet."""
    ca, citadel = Ca.root(), Citadel()
    own = ca.leaf(uris=[PILOT], dns=[NAME])
    pair = KeyPair(
        own.key,
        Certificate((own.chain.decode(),), ca.pem.decode()),
        own.leaf.not_valid_before_utc,
        own.leaf.not_valid_after_utc,
    )

    def trusted() -> bytes:
        if roots is None:
            raise OSError("no roots yet")
        return roots or ca.pem

    material = Material(own.chain, own.key, {"cluster.local": ca.pem})
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "grpc"
        async with (
            served(ca, citadel) as port,
            tls_front("127.0.0.1:0", path, lambda: material) as front,
        ):
            relay = CertificateRelay(
                address=f"127.0.0.1:{port if reached else 1}",
                roots=trusted,
                certificate=lambda: pair,
                peers=front.peers,
            )
            server = aio.server()
            relay.register(server)
            server.add_insecure_port(f"unix:{path}")
            await server.start()
            try:
                yield Site(ca, citadel, f"127.0.0.1:{front.port}")
            finally:
                await server.stop(None)


async def test_citadel_is_told_the_token_and_the_address() -> None:
    async with site() as here:
        forged = [("x-forwarded-client-cert", f"URI={WEB}"), ("x-forwarded-for", "10.9.9.9")]
        answer = await here.ask(TOKEN, ("clusterid", "east"), *forged)
        assert list(answer.cert_chain) == ["leaf", "root"]
        ((request, metadata, who),) = here.citadel.asked
        assert (request.csr, request.validity_duration) == ("csr", 3600)
        assert request.metadata["CertSigner"] == "signer"
        ours = {k: v for k, v in metadata.items() if k != "user-agent"}
        assert ours == {
            "authorization": "Bearer secret",
            "clusterid": "east",
            "x-forwarded-for": "127.0.0.1",
        }
        assert who == PILOT.encode()


async def test_a_certificate_alone_is_nothing_here() -> None:
    async with site() as here:
        code, detail = await here.refused(pair=here.ca.leaf(uris=[WEB]))
        assert (code, here.citadel.asked) == (Status.UNAUTHENTICATED, [])
        assert "Citadel is asked itself, at 127.0.0.1:" in detail


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        pytest.param(
            (Status.UNAUTHENTICATED, "request authenticate failure"),
            (Status.UNAUTHENTICATED, "request authenticate failure"),
            id="unknown",
        ),
        pytest.param(
            (Status.RESOURCE_EXHAUSTED, "too often"),
            (Status.RESOURCE_EXHAUSTED, "too often"),
            id="limit",
        ),
        pytest.param(
            (Status.INVALID_ARGUMENT, "bad CSR"), (Status.INVALID_ARGUMENT, "bad CSR"), id="csr"
        ),
        pytest.param(
            (Status.PERMISSION_DENIED, "the caller is no relay"),
            (Status.UNAVAILABLE, "PERMISSION_DENIED"),
            id="no-relay",
        ),
    ],
)
async def test_refusals_are_passed_on(
    refusal: tuple[grpc.StatusCode, str], told: tuple[grpc.StatusCode, str]
) -> None:
    async with site() as here:
        here.citadel.refusal = refusal
        code, detail = await here.refused(TOKEN)
        assert code is told[0]
        assert detail.endswith(told[1])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"reached": False}, id="away"),
        pytest.param({"roots": Ca.root("stranger").pem}, id="foreign"),
        pytest.param({"roots": None}, id="no-roots"),
    ],
)
async def test_a_citadel_that_cannot_be_asked_may_be_asked_again(changes: dict[str, Any]) -> None:
    async with site(**changes) as here:
        code, _ = await here.refused(TOKEN)
        assert (code, here.citadel.asked) == (Status.UNAVAILABLE, [])
