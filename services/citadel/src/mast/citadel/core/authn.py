"""Who calls, and for whom a certificate may be made (citadel-and-agent.md A3, A4, A5)."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from mast.citadel.core.refusals import Unauthenticated

_BEARER = "Bearer "
_XFCC = "x-forwarded-client-cert"


class Way(Enum):
    """How a call came in, which decides what may be believed of it (A5, A6)."""

    TLS = "tls"  # through our TLS front, which verified the certificate if there was one
    FRONT = "front"  # on the socket of an Envoy beside us, which tells by XFCC what it verified
    PLAINTEXT = "plaintext"  # unencrypted from the network
    SOCKET = "socket"  # on a Unix socket of this machine


@dataclass(frozen=True)
class Credentials:
    """What a call brings.

    ``identities`` are the SANs of its verified certificate, the URI first; ``uid`` the user that
    opened a Unix socket; ``address`` the caller's IP address, "" on sockets. ``impersonated`` is
    the identity that it asks for instead of its own, "" for none.
    """

    identities: tuple[str, ...] = ()
    metadata: Sequence[tuple[str, str | bytes]] = ()
    impersonated: str = ""
    way: Way = Way.TLS
    address: str = ""
    uid: int | None = None

    @property
    def bearer_token(self) -> str | None:
        """The first ``authorization: Bearer`` token, None if there is none."""
        for value in self.values("authorization"):
            if value.startswith(_BEARER):
                return value.removeprefix(_BEARER)
        return None

    @property
    def cluster(self) -> str:
        """The cluster that the caller says it is in; "" unless it says exactly one."""
        named = self.values("clusterid")
        return named[0] if len(named) == 1 else ""

    @property
    def forwarded(self) -> str:
        """What a proxy says of the certificates that it verified (XFCC), "" for nothing."""
        return ",".join(self.values(_XFCC))

    @property
    def attests(self) -> bool:
        """Whether the call is by a token alone, which is more to check and is done less often."""
        return not self.identities and not self.forwarded and bool(self.bearer_token)

    def values(self, name: str) -> tuple[str, ...]:
        """All text values of a metadata key."""
        return tuple(v for k, v in self.metadata if k == name and isinstance(v, str))


@dataclass(frozen=True)
class OneUse:
    """A join token's record: its key and the revision at which it was seen unused."""

    key: str
    revision: int


@dataclass(frozen=True)
class PodRef:
    """The pod that a Kubernetes token is bound to, and the cluster that vouches for it.

    ``cluster`` is "" for the local one; ``name`` and ``uid`` are "" if the token is bound to none.
    """

    cluster: str
    namespace: str
    service_account: str
    name: str = ""
    uid: str = ""


@dataclass(frozen=True)
class Caller:
    """Whom an authenticator recognised. An administrator has no identity, but may name any.

    ``identities`` are SANs: SPIFFE IDs of our own trust domain, DNS names, IP addresses.
    ``one_use`` ends with the certificate that is made on its word.
    """

    authenticator: str
    identities: tuple[str, ...] = ()
    administrator: bool = False
    one_use: OneUse | None = None
    pod: PodRef | None = None


def own_subject(caller: Caller) -> tuple[str, ...]:
    """The identities that a certificate for the caller itself is for (A4).

    Raises Unauthenticated if it has none, as an administrator who names nobody.
    """
    if not caller.identities:
        raise Unauthenticated(f"{caller.authenticator}: no identity")
    return caller.identities
