"""Who may use the API: anybody who can open the admin socket, else named SPIFFE identities."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from grpc import StatusCode

from mast.galley.api.problems import Context

_SANS = "x509_subject_alternative_name"


class Use(Enum):
    """What a call does."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True)
class Access:
    """SPIFFE IDs by what they may do; writers may read as well. ``everybody`` asks for none."""

    readers: frozenset[str] = frozenset()
    writers: frozenset[str] = frozenset()
    everybody: bool = False

    async def insist(self, context: Context, use: Use) -> None:
        """End the call with UNAUTHENTICATED or PERMISSION_DENIED unless its peer may do that."""
        if self.everybody:
            return
        peer = _identities(context)
        if not peer:
            await context.abort(StatusCode.UNAUTHENTICATED, "a SPIFFE certificate is required")
        allowed = self.writers if use is Use.WRITE else self.readers | self.writers
        if allowed.isdisjoint(peer):
            message = f"{', '.join(sorted(peer))} may not {use.value} configuration"
            await context.abort(StatusCode.PERMISSION_DENIED, message)

    def caller(self, context: Context) -> str:
        """Who calls, as history tells it."""
        return "admin socket" if self.everybody else ", ".join(sorted(_identities(context)))


# Whoever can open the Unix socket (mode 0600) administers.
ADMIN_SOCKET = Access(everybody=True)


def _identities(context: Context) -> frozenset[str]:
    """SPIFFE IDs in the client certificate that TLS has verified."""
    names = (name.decode() for name in context.auth_context().get(_SANS, ()))
    return frozenset(name for name in names if name.startswith("spiffe://"))
