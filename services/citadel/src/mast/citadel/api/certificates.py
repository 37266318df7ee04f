"""The certificate services of Istio, today's and that of 1.0 to 1.4 (citadel-and-agent.md A4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from grpc import aio

from istio.auth.v1 import ca_pb2, ca_pb2_grpc, ca_service_pb2, ca_service_pb2_grpc
from mast.citadel.api.authenticators import Authenticator
from mast.citadel.api.issuance import Issuance, Issued, Request
from mast.citadel.api.status import CA_SERVICE, CERTIFICATE_SERVICE, Context, refusing
from mast.citadel.core.authn import Credentials
from mast.common.tls_front import PeerTable

_LONGEST = 10**10

SERVICES = ("istio.v1.auth.IstioCertificateService", "istio.v1.auth.IstioCAService")


@dataclass(frozen=True)
class Entrance:
    """One way in: whom to try to recognise callers by, and what the transport proved of them."""

    authenticators: Sequence[Authenticator]
    identities: Callable[[Context], tuple[str, ...]]
    address: Callable[[Context], str]

    def credentials(self, context: Context, impersonated: str = "") -> Credentials:
        """What a call brings."""
        metadata = tuple((str(k), v) for k, v in context.invocation_metadata() or ())
        return Credentials(self.identities(context), metadata, impersonated)


def tls_entrance(authenticators: Sequence[Authenticator], peers: PeerTable) -> Entrance:
    """Callers that came through a TLS front."""
    return Entrance(
        authenticators,
        lambda context: peers.identities(context.peer()),
        lambda context: peers.address(context.peer()),
    )


def socket_entrance(authenticators: Sequence[Authenticator]) -> Entrance:
    """Callers on a Unix socket of this machine."""
    return Entrance(authenticators, lambda _: (), lambda _: "unix")


@dataclass(frozen=True)
class CertificateService(ca_pb2_grpc.IstioCertificateServiceServicer):
    """``IstioCertificateService``, as Istio's agents call it since 1.1."""

    issuance: Issuance
    entrance: Entrance

    async def CreateCertificate(
        self, request: ca_pb2.IstioCertificateRequest, context: Context
    ) -> ca_pb2.IstioCertificateResponse:
        """``cert_chain`` is the leaf, each intermediate, last the whole root bundle."""
        impersonated = request.metadata.fields["ImpersonatedIdentity"].string_value
        asked = Request(
            peer=self.entrance.address(context),
            credentials=self.entrance.credentials(context, impersonated),
            csr_pem=request.csr.encode(),
            ttl=_ttl(request.validity_duration),
        )
        async with refusing(context, CERTIFICATE_SERVICE):
            issued = await self.issuance.issue(asked, self.entrance.authenticators)
        return ca_pb2.IstioCertificateResponse(
            cert_chain=[issued.leaf_pem, *issued.authority.chain_elements]
        )


@dataclass(frozen=True)
class CaService(ca_service_pb2_grpc.IstioCAServiceServicer):
    """``IstioCAService``, as node agents of 1.0 to 1.4 call it."""

    issuance: Issuance
    entrance: Entrance

    async def HandleCSR(
        self, request: ca_service_pb2.CsrRequest, context: Context
    ) -> ca_service_pb2.CsrResponse:
        """The leaf and, apart, the intermediates."""
        asked = Request(
            peer=self.entrance.address(context),
            credentials=self.entrance.credentials(context),
            csr_pem=request.csr_pem,
            ttl=_ttl(60 * request.requested_ttl_minutes),
            needs_san=True,
        )
        async with refusing(context, CA_SERVICE):
            issued = await self.issuance.issue(asked, self.entrance.authenticators)
        return ca_service_pb2.CsrResponse(
            is_approved=True,
            signed_cert=issued.leaf_pem.encode(),
            cert_chain=_intermediates(issued),
        )


def _ttl(seconds: int) -> timedelta:
    """Any int64 as a duration; centuries are too long whatever their number."""
    return timedelta(seconds=max(-_LONGEST, min(seconds, _LONGEST)))


def _intermediates(issued: Issued) -> bytes:
    return "".join(issued.authority.chain_elements[:-1]).encode()


def register(server: aio.Server, issuance: Issuance, entrance: Entrance) -> None:
    """Add both services to a server."""
    ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(
        CertificateService(issuance, entrance), server
    )
    ca_service_pb2_grpc.add_IstioCAServiceServicer_to_server(CaService(issuance, entrance), server)
