"""Istio's certificate service at Pilot's address: Citadel is asked on the caller's behalf.

Agents of Istio know one address for configuration and certificates (citadel-and-agent.md B1,
``CA_ADDR``). Pilot decides nothing here and has no right that the caller has not: Citadel judges
the caller's token (docs/decisions/0057).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog
from grpc import aio

from istio.auth.v1 import ca_pb2, ca_pb2_grpc
from mast.common.identity.ca_client import KeyPair, server_name, tls_channel
from mast.common.identity.tls_front import PeerTable
from mastapi.citadel.v1 import relay_pb2_grpc

log = structlog.get_logger()

Context = aio.ServicerContext[Any, Any]

SERVICE: Final = "istio.v1.auth.IstioCertificateService"

MOST_SECONDS: Final = 10.0
"""Citadel is given as long as the caller waits, and never longer."""

_TOLD: Final = frozenset({"authorization", "clusterid"})
_OURS: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.UNKNOWN,
    }
)
"""What says that Citadel was not reached or does not take Pilot for a relay: the caller can only
try again."""


@dataclass(frozen=True, kw_only=True)
class CertificateRelay(ca_pb2_grpc.IstioCertificateServiceServicer):
    """Passes calls with a bearer token on to the CA at ``address``.

    Each call has a connection of its own, as an agent's would: they spread over replicas, and use
    the newest ``roots`` (raise OSError while there are none) and the newest certificate.
    """

    address: str
    roots: Callable[[], bytes]
    certificate: Callable[[], KeyPair]
    peers: PeerTable

    def register(self, server: aio.Server) -> None:
        """Add the service to a server."""
        ca_pb2_grpc.add_IstioCertificateServiceServicer_to_server(self, server)

    async def CreateCertificate(
        self, request: ca_pb2.IstioCertificateRequest, context: Context
    ) -> ca_pb2.IstioCertificateResponse:
        """Citadel's answer, or its refusal; UNAVAILABLE if it cannot be asked.

        Differs from Istio: a client certificate counts for nothing here, since Citadel does not
        see it (A5).
        """
        told = [(k, v) for k, v in context.invocation_metadata() or () if k in _TOLD]
        if not any(key == "authorization" for key, _ in told):
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "a token is needed here; by a certificate Citadel is asked itself, at "
                f"{self.address}",
            )
        told.append(("x-forwarded-for", self.peers.address(context.peer())))
        seconds = min(context.time_remaining() or MOST_SECONDS, MOST_SECONDS)
        try:
            return await self._asked(request, tuple(told), seconds)
        except OSError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except aio.AioRpcError as error:
            code, detail = error.code(), error.details() or ""
            if code in _OURS:
                log.warning("certificate.unrelayed", status=code.name, detail=detail)
                what = f"Citadel at {self.address} cannot be asked: {code.name}"
                await context.abort(grpc.StatusCode.UNAVAILABLE, what)
            await context.abort(code, detail)

    async def _asked(
        self, request: ca_pb2.IstioCertificateRequest, told: Any, seconds: float
    ) -> ca_pb2.IstioCertificateResponse:
        own = self.certificate()
        pair, name = (own.chain_pem, own.key_pem), server_name(self.address)
        async with tls_channel(self.address, self.roots(), pair, name) as channel:
            stub = relay_pb2_grpc.CertificateRelayStub(channel)
            return await stub.CreateCertificate(request, metadata=told, timeout=seconds)
