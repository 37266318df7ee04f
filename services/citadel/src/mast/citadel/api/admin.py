"""``CitadelAdmin``: join tokens and the trust bundle, on the administrator's socket only."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

import grpc
import structlog
from grpc import aio

from mast.citadel.api.status import Context
from mast.citadel.core import join_tokens
from mast.citadel.core.authority import Authority
from mast.common.etcd import EtcdError
from mast.common.spiffe import SpiffeId
from mastapi.citadel.v1 import citadel_pb2, citadel_pb2_grpc

log = structlog.get_logger()

SERVICE = "mastapi.citadel.v1.CitadelAdmin"

AddToken = Callable[[str, citadel_pb2.JoinTokenRecord], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class AdminService(citadel_pb2_grpc.CitadelAdminServicer):
    """Whoever can open the socket administers; ``add`` keeps the record of a token."""

    authority: Callable[[], Authority | None]
    add: AddToken
    trust_domain: str
    now: Callable[[], datetime]
    entropy: Callable[[int], bytes]

    async def CreateJoinToken(
        self, request: citadel_pb2.CreateJoinTokenRequest, context: Context
    ) -> citadel_pb2.CreateJoinTokenResponse:
        """A new token; INVALID_ARGUMENT names the field, UNAVAILABLE if etcd does not answer."""
        try:
            identity = SpiffeId(self.trust_domain, request.namespace, request.service_account)
            wish = request.ttl.ToTimedelta() if request.HasField("ttl") else None
            ttl = join_tokens.lifetime(wish)
        except (ValueError, OverflowError) as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        token = join_tokens.token_text(self.entropy(join_tokens.ENTROPY_BYTES))
        record = join_tokens.new_record(identity, ttl, self.now())
        try:
            await self.add(token, record)
        except EtcdError as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        log.info(
            "join_token.created",
            identity=record.spiffe_id,
            expires_at=record.expires_at.ToJsonString(),
        )
        return citadel_pb2.CreateJoinTokenResponse(
            token=token, expires_at=record.expires_at, spiffe_id=record.spiffe_id
        )

    async def GetBundle(
        self, request: citadel_pb2.GetBundleRequest, context: Context
    ) -> citadel_pb2.GetBundleResponse:
        """The roots that vouch for our trust domain; UNAVAILABLE before there is a CA."""
        authority = self.authority()
        if authority is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the CA is not ready")
        return citadel_pb2.GetBundleResponse(
            trust_domain=self.trust_domain, roots_pem=authority.roots_pem
        )


def register(server: aio.Server, service: AdminService) -> None:
    """Add the service to a server."""
    citadel_pb2_grpc.add_CitadelAdminServicer_to_server(service, server)
