"""Who signs: the mesh's own CA, or one outside of it (A2, A4, A7).

Section numbers are those of citadel-and-agent.md.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

from cryptography import x509

from mast.citadel.core.authority import Authority, pem
from mast.citadel.core.csr import Csr
from mast.citadel.core.leaf import TtlPolicy, serial_number
from mast.citadel.core.refusals import CaNotReady, SigningFailed
from mast.citadel.core.remote_keys import KeyUnavailable, is_remote

SERIAL_BYTES = 16


@dataclass(frozen=True)
class Order:
    """What is to be signed: ``names`` are SANs, the first of which is the identity.

    ``subject`` is the common name of a dual-use leaf, ``signer`` the wish of the caller
    (``CertSigner``).
    """

    csr: Csr
    csr_pem: bytes
    names: tuple[str, ...]
    ttl: timedelta
    subject: str | None = None
    signer: str = ""


@dataclass(frozen=True)
class Signed:
    """A leaf, the intermediates above it (PEM, each apart), and the whole trust bundle.

    ``names`` are its SANs if those are not all that were ordered.
    """

    leaf: x509.Certificate
    intermediates: tuple[str, ...]
    roots_pem: str
    names: tuple[str, ...] = ()

    @property
    def leaf_pem(self) -> str:
        """The leaf alone."""
        return pem(self.leaf)

    @property
    def cert_chain(self) -> tuple[str, ...]:
        """The answer of ``CreateCertificate``: leaf, each intermediate, last the bundle (A4)."""
        return (self.leaf_pem, *self.intermediates, self.roots_pem)


class Signing(Protocol):
    """Makes leaves."""

    def check_ready(self) -> None:
        """Raise CaNotReady if nothing can be signed now."""
        ...

    async def sign(self, order: Order) -> Signed:
        """A leaf; raises TtlTooLong, BadCsr, CaNotReady or SigningFailed."""
        ...


@dataclass(frozen=True, kw_only=True)
class OwnSigning:
    """The authority of the mesh, None while it is not there or may not sign."""

    authority: Callable[[], Authority | None]
    now: Callable[[], datetime]
    entropy: Callable[[int], bytes]
    policy: TtlPolicy = field(default_factory=TtlPolicy)

    def check_ready(self) -> None:
        """Raise CaNotReady while there is no authority."""
        self._ready()

    async def sign(self, order: Order) -> Signed:
        """A leaf of the active slot."""
        authority = self._ready()
        issue = partial(
            authority.issue,
            order.csr,
            order.names,
            order.ttl,
            policy=self.policy,
            now=self.now(),
            serial=serial_number(self.entropy(SERIAL_BYTES)),
            subject=order.subject,
        )
        try:
            remote = is_remote(authority.active.key)
            leaf = await asyncio.to_thread(issue) if remote else issue()
        except (ValueError, TypeError, KeyUnavailable) as error:
            raise SigningFailed(str(error)) from error
        *intermediates, roots_pem = authority.chain_elements
        return Signed(leaf, tuple(intermediates), roots_pem)

    def _ready(self) -> Authority:
        authority = self.authority()
        if authority is None:
            raise CaNotReady("the CA is not ready")
        return authority
