"""The certificate services of Istio, today's and that of 1.0 to 1.4 (citadel-and-agent.md A4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from grpc import aio

from istio.auth.v1 import ca_pb2, ca_pb2_grpc, ca_service_pb2, ca_service_pb2_grpc
from mast.citadel.api.authenticators import Authenticator
from mast.citadel.api.entrances import Transport, asked_by
from mast.citadel.api.issuance import Issuance, Request
from mast.citadel.api.status import CA_SERVICE, CERTIFICATE_SERVICE, Context, refusing
from mast.citadel.core.authn import Credentials

_LONGEST = 10**10

SERVICES = ("istio.v1.auth.IstioCertificateService", "istio.v1.auth.IstioCAService")


@dataclass(frozen=True)
class Entrance:
    """One way in: whom to try to recognise callers by, and what the transport proves of them."""

    authenticators: Sequence[Authenticator]
    transport: Transport


@dataclass(frozen=True)
class CertificateService(ca_pb2_grpc.IstioCertificateServiceServicer):
    """``IstioCertificateService``, as Istio's agents call it since 1.1."""

    issuance: Issuance
    entrance: Entrance

    async def CreateCertificate(
        self, request: ca_pb2.IstioCertificateRequest, context: Context
    ) -> ca_pb2.IstioCertificateResponse:
        """``cert_chain`` is the leaf, each intermediate, last the whole root bundle."""
        asked = request.metadata.fields["ImpersonatedIdentity"].string_value
        credentials = self.entrance.transport(context, asked)
        entrants = self.entrance.authenticators
        return await answer(request, context, credentials, self.issuance, entrants)


async def answer(
    request: ca_pb2.IstioCertificateRequest,
    context: Context,
    credentials: Credentials,
    issuance: Issuance,
    authenticators: Sequence[Authenticator],
) -> ca_pb2.IstioCertificateResponse:
    """The certificate for whom the credentials prove; ends the call if that is refused."""
    wanted = Request(
        peer=asked_by(credentials),
        credentials=credentials,
        csr_pem=request.csr.encode(),
        ttl=_ttl(request.validity_duration),
        signer=request.metadata.fields["CertSigner"].string_value,
    )
    async with refusing(context, CERTIFICATE_SERVICE):
        signed = await issuance.issue(wanted, authenticators)
    return ca_pb2.IstioCertificateResponse(cert_chain=signed.cert_chain)


@dataclass(frozen=True)
class CaService(ca_service_pb2_grpc.IstioCAServiceServicer):
    """``IstioCAService``, as node agents of 1.0 to 1.4 call it."""

    issuance: Issuance
    entrance: Entrance

    async def HandleCSR(
        self, request: ca_service_pb2.CsrRequest, context: Context
    ) -> ca_service_pb2.CsrResponse:
        """The leaf and, apart, the intermediates."""
        credentials = self.entrance.transport(context, "")
        wanted = Request(
            peer=asked_by(credentials),
            credentials=credentials,
            csr_pem=request.csr_pem,
            ttl=_ttl(60 * request.requested_ttl_minutes),
            needs_san=True,
        )
        async with refusing(context, CA_SERVICE):
            signed = await self.issuance.issue(wanted, self.entrance.authenticators)
        return ca_service_pb2.CsrResponse(
            is_approved=True,
            signed_cert=signed.leaf_pem.encode(),
            cert_chain="".join(signed.intermediates).encode(),
        )


def _ttl(seconds: int) -> timedelta:
    """Any int64 as a duration; centuries are too long whatever their number."""
    return timedelta(seconds=max(-_LONGEST, min(seconds, _LONGEST)))


def register(server: aio.Server, issuance: Issuance, entrance: Entrance) -> None:
    """Add both services to a server."""
    ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(
        CertificateService(issuance, entrance), server
    )
    ca_service_pb2_grpc.add_IstioCAServiceServicer_to_server(CaService(issuance, entrance), server)
