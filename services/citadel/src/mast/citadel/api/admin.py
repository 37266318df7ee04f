"""``CitadelAdmin``: join tokens, the bundle and its CAs, on the administrator's socket only."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import grpc
import structlog
from grpc import aio

from mast.citadel.api import authorities
from mast.citadel.api.authorities import Commands, commanding
from mast.citadel.api.status import Context
from mast.citadel.core import join_tokens
from mast.citadel.core.authority import Authority
from mast.citadel.core.rotation import Overview
from mast.common.etcd import EtcdError
from mast.common.identity.spiffe import SpiffeId
from mastapi.citadel.v1 import citadel_pb2, citadel_pb2_grpc

log = structlog.get_logger()

SERVICE = "mastapi.citadel.v1.CitadelAdmin"

AddToken = Callable[[str, citadel_pb2.JoinTokenRecord], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class AdminService(citadel_pb2_grpc.CitadelAdminServicer):
    """Whoever can open the socket administers; ``add`` keeps the record of a token.

    ``commands`` rotate the stored CA, None if the CA is plugged in; ``seen`` tells who trusts a
    CA; ``passing`` are failures of both that may pass.
    """

    authority: Callable[[], Authority | None]
    add: AddToken
    commands: Callable[[], Commands | None]
    seen: Callable[[Authority], Awaitable[Overview]]
    passing: tuple[type[Exception], ...]
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

    async def GetAuthorities(
        self, request: citadel_pb2.GetAuthoritiesRequest, context: Context
    ) -> citadel_pb2.Authorities:
        """The CAs, and who trusts what is published."""
        authority = self.authority()
        if self.commands() is None and authority is not None:
            async with commanding(context, self.passing):
                return authorities.told(await self.seen(authority), plugged_in=True)
        async with self._commanding(context) as commands:
            seen = await commands.overview()
        return authorities.told(seen)

    async def PrepareAuthority(
        self, request: citadel_pb2.PrepareAuthorityRequest, context: Context
    ) -> citadel_pb2.Authorities:
        """One more CA, trusted from now on."""
        async with self._commanding(context) as commands:
            seen = await commands.prepare()
        return authorities.told(seen)

    async def ActivateAuthority(
        self, request: citadel_pb2.ActivateAuthorityRequest, context: Context
    ) -> citadel_pb2.Authorities:
        """The prepared CA signs; FAILED_PRECONDITION says who does not trust it yet."""
        async with self._commanding(context) as commands:
            seen = await commands.activate(request.slot, force=request.force)
        return authorities.told(seen)

    async def TaintAuthority(
        self, request: citadel_pb2.TaintAuthorityRequest, context: Context
    ) -> citadel_pb2.Authorities:
        """An old CA's certificates are replaced at once."""
        async with self._commanding(context) as commands:
            seen = await commands.taint(request.slot)
        return authorities.told(seen)

    async def RevokeAuthority(
        self, request: citadel_pb2.RevokeAuthorityRequest, context: Context
    ) -> citadel_pb2.Authorities:
        """A CA that signs nothing is no longer trusted."""
        async with self._commanding(context) as commands:
            seen = await commands.revoke(request.slot, force=request.force)
        return authorities.told(seen)

    async def RevokeCertificates(
        self, request: citadel_pb2.RevokeCertificatesRequest, context: Context
    ) -> citadel_pb2.Authorities:
        """Certificates are refused from now on; INVALID_ARGUMENT for a number that is none."""
        try:
            serials = authorities.serial_numbers(request.serials)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        async with self._commanding(context) as commands:
            seen = await commands.revoke_certificates(serials, request.slot)
        return authorities.told(seen)

    @asynccontextmanager
    async def _commanding(self, context: Context) -> AsyncIterator[Commands]:
        commands = self.commands()
        if self.authority() is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the CA is not ready")
        if commands is None:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                "the CA is plugged in: replace its files, and put revoked certificates into "
                "ca-crl.pem",
            )
        async with commanding(context, self.passing):
            yield commands


def register(server: aio.Server, service: AdminService) -> None:
    """Add the service to a server."""
    citadel_pb2_grpc.add_CitadelAdminServicer_to_server(service, server)
