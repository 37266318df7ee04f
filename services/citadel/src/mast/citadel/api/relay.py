"""Calls of workloads that came by way of another service (citadel-and-agent.md A4, A12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import grpc
from grpc import aio

from istio.auth.v1 import ca_pb2
from mast.citadel.api.authenticators import Authenticator
from mast.citadel.api.certificates import answer
from mast.citadel.api.entrances import plain_address
from mast.citadel.api.issuance import Issuance
from mast.citadel.api.status import Context
from mast.citadel.core.authn import Credentials
from mast.common.identity.tls_front import PeerTable
from mastapi.citadel.v1 import relay_pb2_grpc

SERVICE: Final = "mastapi.citadel.v1.CertificateRelay"

_ADDRESS: Final = "x-forwarded-for"
_TOLD: Final = frozenset({"authorization", "clusterid"})


@dataclass(frozen=True)
class RelayService(relay_pb2_grpc.CertificateRelayServicer):
    """Recognises workloads by the tokens that a relay passes on, never by the relay itself.

    ``relays`` are the SPIFFE IDs of relays, which are found in ``peers``. All they are believed is
    the address that limits count and the audit names.
    """

    issuance: Issuance
    authenticators: Sequence[Authenticator]
    peers: PeerTable
    relays: frozenset[str]

    async def CreateCertificate(
        self, request: ca_pb2.IstioCertificateRequest, context: Context
    ) -> ca_pb2.IstioCertificateResponse:
        """As `IstioCertificateService`; PERMISSION_DENIED for callers that are no relay."""
        if not self.relays.intersection(self.peers.identities(context.peer())):
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "the caller is no relay")
        given = tuple((str(k), v) for k, v in context.invocation_metadata() or ())
        address = plain_address(",".join(str(v) for k, v in given if k == _ADDRESS))
        if not address:
            what = f"metadata {_ADDRESS}: want one IP address"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, what)
        credentials = Credentials(
            metadata=tuple(each for each in given if each[0] in _TOLD),
            impersonated=request.metadata.fields["ImpersonatedIdentity"].string_value,
            address=address,
        )
        return await answer(request, context, credentials, self.issuance, self.authenticators)


def register(server: aio.Server, service: RelayService) -> None:
    """Add the service to a server."""
    relay_pb2_grpc.add_CertificateRelayServicer_to_server(service, server)
