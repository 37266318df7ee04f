"""Who calls, and for whom a certificate may be made (citadel-and-agent.md A3, A4, A5)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mast.citadel.core.refusals import ImpersonationRefused, Unauthenticated
from mast.common.spiffe import SpiffeId

_BEARER = "Bearer "


@dataclass(frozen=True)
class Credentials:
    """What a call brings: verified URI SANs of its certificate, and its gRPC metadata.

    ``impersonated`` is the identity that it asks for instead of its own, "" for none.
    """

    identities: tuple[str, ...] = ()
    metadata: Sequence[tuple[str, str | bytes]] = ()
    impersonated: str = ""

    @property
    def bearer_token(self) -> str | None:
        """The first ``authorization: Bearer`` token, None if there is none."""
        for key, value in self.metadata:
            if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
                return value.removeprefix(_BEARER)
        return None


@dataclass(frozen=True)
class OneUse:
    """A join token's record: its key and the revision at which it was seen unused."""

    key: str
    revision: int


@dataclass(frozen=True)
class Caller:
    """Whom an authenticator recognised. An administrator has no identity, but may name any.

    ``one_use`` ends with the certificate that is made on its word.
    """

    authenticator: str
    identities: tuple[SpiffeId, ...] = ()
    administrator: bool = False
    one_use: OneUse | None = None


def subject(caller: Caller, impersonated: str, trust_domain: str) -> SpiffeId:
    """The identity that the certificate is for: the caller's own, or the one it may name (A4).

    Raises ImpersonationRefused if the caller may not name one, or names none of ours;
    Unauthenticated if it has none and names none.
    """
    if not impersonated:
        if not caller.identities:
            raise Unauthenticated(f"{caller.authenticator}: no identity")
        return caller.identities[0]
    if not caller.administrator:
        raise ImpersonationRefused(f"{caller.authenticator}: not allowed to impersonate")
    try:
        identity = SpiffeId.parse(impersonated)
    except ValueError as error:
        raise ImpersonationRefused(str(error)) from error
    if identity.trust_domain != trust_domain:
        raise ImpersonationRefused(f"identity {impersonated!r}: trust domain is not {trust_domain}")
    return identity
