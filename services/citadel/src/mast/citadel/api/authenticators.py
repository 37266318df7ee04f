"""Who a caller is: one authenticator per kind of credential, tried in order (A5).

Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mast.citadel.core.authn import Caller, Credentials, OneUse
from mast.citadel.core.identity import own_identity
from mast.citadel.core.join_tokens import expired
from mast.citadel.core.refusals import CredentialsUnverifiable, Unauthenticated
from mast.common.etcd import EtcdError
from mast.common.spiffe import SpiffeId
from mastapi.citadel.v1 import citadel_pb2

FindToken = Callable[[str], Awaitable[tuple[citadel_pb2.JoinTokenRecord, OneUse] | None]]


class Authenticator(Protocol):
    """Recognises callers by one kind of credential."""

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Who presented these credentials.

        Raises Unauthenticated if they are not of this kind or not good, CredentialsUnverifiable
        if that cannot be told now.
        """
        ...


@dataclass(frozen=True)
class ClientCertificate:
    """A leaf of our own, which the TLS front has verified (A6)."""

    trust_domain: str
    aliases: Collection[str] = ()

    async def authenticate(self, credentials: Credentials) -> Caller:
        if not credentials.identities:
            raise Unauthenticated("client certificate: none")
        try:
            identities = tuple(
                own_identity(uri, self.trust_domain, self.aliases) for uri in credentials.identities
            )
        except ValueError as error:
            raise Unauthenticated(f"client certificate: {error}") from error
        return Caller("client certificate", identities)


@dataclass(frozen=True)
class JoinToken:
    """A one-use token of ours in ``authorization: Bearer``."""

    trust_domain: str
    find: FindToken
    now: Callable[[], datetime]
    aliases: Collection[str] = ()

    async def authenticate(self, credentials: Credentials) -> Caller:
        token = credentials.bearer_token
        if not token:
            raise Unauthenticated("join token: none")
        try:
            found = await self.find(token)
        except EtcdError as error:
            raise CredentialsUnverifiable(f"join token: {error}") from error
        if found is None:
            raise Unauthenticated("join token: unknown or used")
        record, one_use = found
        if expired(record, self.now()):
            raise Unauthenticated(f"join token: of {record.spiffe_id}, expired")
        return Caller("join token", (self._identity(record),), one_use=one_use)

    def _identity(self, record: citadel_pb2.JoinTokenRecord) -> SpiffeId:
        try:
            return own_identity(record.spiffe_id, self.trust_domain, self.aliases)
        except ValueError as error:
            raise Unauthenticated(f"join token: {error}") from error


@dataclass(frozen=True)
class AdminSocket:
    """Whoever could open the administrator's Unix socket: its file mode is the credential.

    Such a caller has no identity of its own and names one (``ImpersonatedIdentity``), as it could
    make a join token for it just as well.
    """

    async def authenticate(self, credentials: Credentials) -> Caller:
        if not credentials.impersonated:
            raise Unauthenticated("admin socket: no identity named")
        return Caller("admin socket", administrator=True)


async def authenticated(
    authenticators: Sequence[Authenticator], credentials: Credentials
) -> Caller:
    """The caller as the first authenticator that recognises it says (A5).

    Raises Unauthenticated with every authenticator's reason; CredentialsUnverifiable if one of
    them could not tell.
    """
    reasons: list[str] = []
    unverifiable = False
    for authenticator in authenticators:
        try:
            return await authenticator.authenticate(credentials)
        except Unauthenticated as error:
            reasons.append(error.reason)
        except CredentialsUnverifiable as error:
            reasons.append(error.reason)
            unverifiable = True
    kind = CredentialsUnverifiable if unverifiable else Unauthenticated
    raise kind("; ".join(reasons))
