"""From a call to a certificate: every step of A4 in its order, and the audit of each decision.

Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from cryptography import x509

from mast.citadel.api.authenticators import Authenticator, authenticated
from mast.citadel.api.metrics import CitadelMetrics
from mast.citadel.core.authn import Caller, Credentials, OneUse, subject
from mast.citadel.core.authority import Authority, pem
from mast.citadel.core.csr import Csr, read_csr
from mast.citadel.core.identity import DnsNames, subject_names
from mast.citadel.core.leaf import TtlPolicy, common_name, serial_number
from mast.citadel.core.limits import PeerLimits
from mast.citadel.core.refusals import (
    BadCsr,
    CaNotReady,
    CredentialsUnverifiable,
    RateLimited,
    Refusal,
    SigningFailed,
    Unauthenticated,
)
from mast.common.etcd import EtcdError
from mast.common.spiffe import SpiffeId

log = structlog.get_logger()

SERIAL_BYTES = 16


@dataclass(frozen=True)
class Request:
    """What is asked for, by whom and from where."""

    peer: str
    credentials: Credentials
    csr_pem: bytes
    ttl: timedelta
    needs_san: bool = False


@dataclass(frozen=True)
class Issued:
    """A certificate and the authority that signed it."""

    leaf_pem: str
    authority: Authority


@dataclass(frozen=True, kw_only=True)
class Issuance:
    """All that issuing needs; ``use`` uses a join token up and says whether it was the first to."""

    authority: Callable[[], Authority | None]
    use: Callable[[OneUse], Awaitable[bool]]
    now: Callable[[], datetime]
    monotonic: Callable[[], float]
    entropy: Callable[[int], bytes]
    metrics: CitadelMetrics
    trust_domain: str
    dns_names: DnsNames = field(default_factory=dict)
    policy: TtlPolicy = field(default_factory=TtlPolicy)
    limits: PeerLimits = field(default_factory=PeerLimits)

    async def issue(self, request: Request, authenticators: Sequence[Authenticator]) -> Issued:
        """Authenticate, decide, sign; raises the Refusal that the caller is to be told."""
        self.metrics.received()
        facts = {"peer": request.peer}
        try:
            return await self._issue(request, authenticators, facts)
        except Refusal as refusal:
            self.metrics.refused(refusal)
            log.warning(
                "certificate.refused",
                kind=type(refusal).__name__,
                reason=refusal.reason,
                **facts,
            )
            raise

    async def _issue(
        self, request: Request, authenticators: Sequence[Authenticator], facts: dict[str, str]
    ) -> Issued:
        if not self.limits.allow(request.peer, self.monotonic()):
            raise RateLimited(f"more than {self.limits.rate:g} a second")
        caller = await authenticated(authenticators, request.credentials)
        facts["authenticator"] = caller.authenticator
        identity = subject(caller, request.credentials.impersonated, self.trust_domain)
        facts["identity"] = str(identity)
        authority = self.authority()
        if authority is None:
            raise CaNotReady("the CA is not ready")
        csr = self._csr(request)
        leaf = self._sign(authority, csr, identity, request.ttl)
        await self._use_up(caller)
        self.metrics.issued()
        log.info(
            "certificate.issued",
            serial=f"{leaf.serial_number:x}",
            not_after=leaf.not_valid_after_utc.isoformat(),
            **facts,
        )
        return Issued(pem(leaf), authority)

    def _csr(self, request: Request) -> Csr:
        csr = read_csr(request.csr_pem)
        if request.needs_san and not csr.has_san:
            self.metrics.without_id()
            raise BadCsr("CSR has no subject alternative name")
        return csr

    def _sign(
        self, authority: Authority, csr: Csr, identity: SpiffeId, ttl: timedelta
    ) -> x509.Certificate:
        names = subject_names(identity, self.dns_names)
        name = common_name(names) if csr.has_common_name else None
        if csr.has_common_name and name is None:
            log.warning("common_name.left_out", identity=str(identity), length=len(names[0]))
        try:
            return authority.issue(
                csr,
                names,
                ttl,
                policy=self.policy,
                now=self.now(),
                serial=serial_number(self.entropy(SERIAL_BYTES)),
                subject=name,
            )
        except (ValueError, TypeError) as error:
            raise SigningFailed(str(error)) from error

    async def _use_up(self, caller: Caller) -> None:
        """A token ends with the certificate it was good for; a failed CSR leaves it usable."""
        if caller.one_use is None:
            return
        try:
            first = await self.use(caller.one_use)
        except EtcdError as error:
            raise CredentialsUnverifiable(f"join token: {error}") from error
        if not first:
            raise Unauthenticated("join token: used meanwhile")
