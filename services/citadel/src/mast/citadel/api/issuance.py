"""From a call to a certificate: every step of A4 in its order, and the audit of each decision.

Section numbers are those of citadel-and-agent.md.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from mast.citadel.api.authenticators import Authenticator, authenticated
from mast.citadel.api.impersonating import Impersonation
from mast.citadel.api.metrics import CitadelMetrics
from mast.citadel.api.signing import Order, Signed, Signing
from mast.citadel.core.authn import Caller, Credentials, OneUse, own_subject
from mast.citadel.core.csr import Csr, read_csr
from mast.citadel.core.identity import DnsNames, subject_names
from mast.citadel.core.issued import issued
from mast.citadel.core.leaf import common_name
from mast.citadel.core.limits import PeerLimits
from mast.citadel.core.refusals import (
    BadCsr,
    CredentialsUnverifiable,
    RateLimited,
    Refusal,
    SigningFailed,
    Unauthenticated,
)
from mast.common.etcd import EtcdError
from mastapi.citadel.v1 import issued_pb2

log = structlog.get_logger()


@dataclass(frozen=True)
class Request:
    """What is asked for, by whom and from where."""

    peer: str
    credentials: Credentials
    csr_pem: bytes
    ttl: timedelta
    needs_san: bool = False
    signer: str = ""


@dataclass(frozen=True)
class Limits:
    """How much each may ask for: peers, peers that have nothing but a token, identities (A12)."""

    signing: PeerLimits = field(default_factory=PeerLimits)
    attestation: PeerLimits = field(default_factory=lambda: PeerLimits(1, 100))
    identity: PeerLimits = field(default_factory=PeerLimits)


@dataclass
class _Decision:
    """What the audit line of a call says, as far as it has come."""

    peer: str
    ttl: timedelta
    caller: Caller | None = None
    names: tuple[str, ...] = ()
    spoken_for: bool = False

    def facts(self) -> dict[str, object]:
        """Keys of the line; those that were never found out are left out."""
        found: dict[str, object] = {"peer": self.peer}
        if self.caller is not None:
            found["authenticator"] = self.caller.authenticator
        if self.caller is not None and (self.spoken_for or not self.names):
            found["caller"] = ",".join(self.caller.identities)
        if self.names:
            found["identity"] = ",".join(self.names)
        return {**found, "ttl_seconds": int(self.ttl.total_seconds())}


@dataclass(frozen=True, kw_only=True)
class Issuance:
    """All that issuing needs.

    ``use`` uses a join token up and says whether it was the first to; ``record`` notes what was
    issued, without waiting.
    """

    signing: Signing
    use: Callable[[OneUse], Awaitable[bool]]
    record: Callable[[issued_pb2.IssuedCertificate], None]
    monotonic: Callable[[], float]
    metrics: CitadelMetrics
    impersonation: Impersonation
    dns_names: DnsNames = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    async def issue(self, request: Request, authenticators: Sequence[Authenticator]) -> Signed:
        """Authenticate, decide, sign; raises the Refusal that the caller is to be told.

        Whatever happens there is exactly one line in the log, ``certificate.issued`` or
        ``certificate.refused``, and it alone knows why.
        """
        self.metrics.received()
        decision = _Decision(request.peer, request.ttl)
        try:
            return await self._issue(request, authenticators, decision)
        except Refusal as refusal:
            self._refused(refusal, decision)
            raise
        except Exception as error:  # a bug must not tell the caller what it is, nor go unnoticed
            failure = SigningFailed(f"{type(error).__name__}: {error}")
            self._refused(failure, decision, error)
            raise failure from error

    def _refused(self, refusal: Refusal, decision: _Decision, bug: Exception | None = None) -> None:
        self.metrics.refused(refusal)
        line = log.error if bug else log.warning
        line(
            "certificate.refused",
            kind=type(refusal).__name__,
            reason=refusal.reason,
            **decision.facts(),
            **({"exc_info": bug} if bug else {}),
        )

    async def _issue(
        self, request: Request, authenticators: Sequence[Authenticator], decision: _Decision
    ) -> Signed:
        self._limit_peer(request)
        caller = await authenticated(authenticators, request.credentials)
        decision.caller = caller
        decision.names = await self._subject(caller, request, decision)
        self._limit("identity", self.limits.identity, decision.names[0])
        self.signing.check_ready()
        csr = self._csr(request)
        order = self._order(request, csr, decision.names)
        signed = await self.signing.sign(order)
        await self._use_up(caller)
        self._issued(order, signed, decision)
        return signed

    def _limit_peer(self, request: Request) -> None:
        self._limit("peer", self.limits.signing, request.peer)
        if request.credentials.attests:
            self._limit("attestation", self.limits.attestation, request.peer)

    def _limit(self, what: str, limits: PeerLimits, key: str) -> None:
        if not limits.allow(key, self.monotonic()):
            raise RateLimited(f"{what}: more than {limits.rate:g} a second")

    async def _subject(
        self, caller: Caller, request: Request, decision: _Decision
    ) -> tuple[str, ...]:
        impersonated = request.credentials.impersonated
        if not impersonated:
            return own_subject(caller)
        decision.spoken_for = True
        return (str(await self.impersonation.subject(caller, impersonated)),)

    def _csr(self, request: Request) -> Csr:
        csr = read_csr(request.csr_pem)
        if request.needs_san and not csr.has_san:
            self.metrics.without_id()
            raise BadCsr("CSR has no subject alternative name")
        return csr

    def _order(self, request: Request, csr: Csr, identities: tuple[str, ...]) -> Order:
        names = subject_names(identities, self.dns_names)
        name = common_name(names) if csr.has_common_name else None
        if csr.has_common_name and name is None:
            log.warning("common_name.left_out", identity=names[0], length=len(names[0]))
        return Order(csr, request.csr_pem, names, request.ttl, name, request.signer)

    def _issued(self, order: Order, signed: Signed, decision: _Decision) -> None:
        leaf, facts = signed.leaf, decision.facts()
        lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
        self.metrics.issued()
        self.record(
            issued(
                leaf,
                signed.names or order.names,
                order.csr.public_key,
                authenticator=str(facts["authenticator"]),
                peer=decision.peer,
                caller=str(facts.get("caller", "")),
            )
        )
        log.info(
            "certificate.issued",
            serial=f"{leaf.serial_number:x}",
            not_after=leaf.not_valid_after_utc.isoformat(),
            **{**facts, "ttl_seconds": int(lifetime.total_seconds())},
        )

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
