"""Signing by a registration authority: CSRs of recognised callers go to a signer outside (A7).

Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from cryptography import x509

from mast.citadel.api.signing import Order, Signed
from mast.citadel.core.external import check_csr, external_chain, signer_name
from mast.citadel.core.leaf import TtlPolicy
from mast.common.identity.spiffe import SCHEME

Sign = Callable[[bytes, str, timedelta], Awaitable[bytes]]
"""CSR (PEM), signer and lifetime to a chain in PEM; raises SigningFailed."""

# Nothing is known of how long the signer's own certificate lives.
_UNLIMITED = timedelta(days=36500)


@dataclass(frozen=True, kw_only=True)
class ExternalSigning:
    """The caller is recognised and its CSR checked here; the certificate is made elsewhere.

    ``roots`` gives the roots of a signer, () if only its answers tell. ``signer`` and ``domain``
    are ``K8S_SIGNER`` and ``CERT_SIGNER_DOMAIN``.
    """

    sign_at: Sign
    roots: Callable[[str], Sequence[x509.Certificate]]
    signer: str = ""
    domain: str = ""
    policy: TtlPolicy = field(default_factory=TtlPolicy)

    def check_ready(self) -> None:
        """Whether the signer answers shows when it is asked."""

    async def sign(self, order: Order) -> Signed:
        """A leaf of the signer's, if what the CSR wants is what the caller may have."""
        identities = tuple(name for name in order.names if name.startswith(SCHEME))
        check_csr(order.csr_pem, identities)
        signer = signer_name(self.signer, self.domain, order.signer)
        ttl = self.policy.lifetime(order.ttl, _UNLIMITED)
        answer = await self.sign_at(order.csr_pem, signer, ttl)
        chain = external_chain(answer, self.roots(signer), order.csr_pem, identities)
        return Signed(chain.leaf, chain.intermediates_pem, chain.roots_pem, chain.identities)
