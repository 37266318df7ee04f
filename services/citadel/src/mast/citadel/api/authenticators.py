"""Who a caller is: one authenticator per kind of credential, tried in order (A5).

Those by tokens of others are in `tokens`. Section numbers are those of citadel-and-agent.md.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mast.citadel.core import forwarded
from mast.citadel.core.authn import Caller, Credentials, OneUse, Way
from mast.citadel.core.identity import own_identity, own_name
from mast.citadel.core.join_tokens import expired
from mast.citadel.core.refusals import CredentialsUnverifiable, Unauthenticated
from mast.common.etcd import EtcdError
from mast.common.identity.spiffe import SpiffeId
from mastapi.citadel.v1 import citadel_pb2

FindToken = Callable[[str], Awaitable[tuple[citadel_pb2.JoinTokenRecord, OneUse] | None]]
Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]

# What our join tokens look like; anything else is not even looked for.
_JOIN_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")


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
    """A leaf of our own, which the TLS front has verified (A6): all its SANs."""

    trust_domain: str
    aliases: Collection[str] = ()

    async def authenticate(self, credentials: Credentials) -> Caller:
        if not credentials.identities:
            raise Unauthenticated("client certificate: none")
        return Caller(
            "client certificate",
            _own(credentials.identities, self.trust_domain, self.aliases, "client certificate"),
        )


@dataclass(frozen=True)
class ForwardedCertificate:
    """Certificates that a proxy verified, as it says in XFCC: if it is one of ours (A5).

    That is the Envoy beside us, on its own socket, or a peer in ``TRUSTED_GATEWAY_CIDR`` or, if
    there is any, on this machine. What others say in that header is not even read.
    """

    trust_domain: str
    networks: Networks = ()
    aliases: Collection[str] = ()

    async def authenticate(self, credentials: Credentials) -> Caller:
        if not self._trusted(credentials):
            raise Unauthenticated("XFCC: not from a trusted gateway")
        header = credentials.forwarded
        if not header:
            raise Unauthenticated("XFCC: none")
        try:
            found = forwarded.elements(header)
        except ValueError as error:
            raise Unauthenticated(str(error)) from error
        names = tuple(dict.fromkeys(name for each in found for name in forwarded.names(each)))
        identities = _own(names, self.trust_domain, self.aliases, "XFCC")
        if not identities:
            raise Unauthenticated("XFCC: no identity in it")
        return Caller("XFCC", identities)

    def _trusted(self, credentials: Credentials) -> bool:
        if credentials.way is Way.FRONT:
            return True
        if not self.networks or not credentials.address:
            return False
        address = ipaddress.ip_address(credentials.address)
        mapped = getattr(address, "ipv4_mapped", None)
        peer = mapped or address
        return peer.is_loopback or any(peer in network for network in self.networks)


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
        if not _JOIN_TOKEN.fullmatch(token):
            raise Unauthenticated("join token: does not look like one")
        try:
            found = await self.find(token)
        except EtcdError as error:
            raise CredentialsUnverifiable(f"join token: {error}") from error
        if found is None:
            raise Unauthenticated("join token: unknown or used")
        record, one_use = found
        if expired(record, self.now()):
            raise Unauthenticated(f"join token: of {record.spiffe_id}, expired")
        identities = _own((record.spiffe_id,), self.trust_domain, self.aliases, "join token")
        return Caller("join token", identities, one_use=one_use)


@dataclass(frozen=True)
class SocketUser:
    """A process of this machine by the user it runs as, which the kernel tells of a Unix socket."""

    users: Mapping[int, SpiffeId]

    async def authenticate(self, credentials: Credentials) -> Caller:
        if credentials.uid is None:
            raise Unauthenticated("socket user: not on a Unix socket")
        identity = self.users.get(credentials.uid)
        if identity is None:
            raise Unauthenticated(f"socket user: user {credentials.uid} has no identity")
        return Caller("socket user", (str(identity),))


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


def _own(
    names: Sequence[str], trust_domain: str, aliases: Collection[str], what: str
) -> tuple[str, ...]:
    """The names as SANs of ours; Unauthenticated if one is of a foreign trust domain."""
    try:
        found = [own_name(name, trust_domain, aliases) for name in names]
    except ValueError as error:
        raise Unauthenticated(f"{what}: {error}") from error
    return tuple(dict.fromkeys(name for name in found if name))


def users(entries: Sequence[str], trust_domain: str) -> Mapping[int, SpiffeId]:
    """Identities by user number from ``UID:NAMESPACE/ACCOUNT``; ValueError names the entry."""
    found: dict[int, SpiffeId] = {}
    for entry in entries:
        number, colon, account = entry.partition(":")
        namespace, slash, name = account.partition("/")
        if not (number.isdecimal() and colon and slash) or int(number) in found:
            raise ValueError(f"socket identity {entry!r}: want UID:NAMESPACE/ACCOUNT, a UID once")
        found[int(number)] = own_identity(
            str(SpiffeId(trust_domain, namespace, name)), trust_domain
        )
    return found


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
    raise kind("; ".join(reasons) or "nobody is recognised here")
