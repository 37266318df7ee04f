"""Citadel's own metrics, under Istio's names (citadel-and-agent.md A11)."""

from datetime import datetime

from mast.citadel.core.authority import Authority
from mast.citadel.core.refusals import (
    BadCsr,
    CredentialsUnverifiable,
    CsrError,
    ImpersonationRefused,
    Refusal,
    Unauthenticated,
)
from mast.common.process.telemetry import Metrics


class CitadelMetrics:
    """What was asked for, refused and issued, and when the CA's certificates end."""

    def __init__(self, metrics: Metrics) -> None:
        name = "citadel_server_{}".format
        self._csrs = metrics.counter(name("csr_count"), "CSRs received")
        self._unauthenticated = metrics.counter(
            name("authentication_failure_count"), "Calls that no authenticator let in"
        )
        self._unparsable = metrics.counter(
            name("csr_parsing_err_count"), "CSRs that were not readable or not acceptable"
        )
        self._without_id = metrics.counter(
            name("id_extraction_err_count"), "CSRs without the SAN that IstioCAService wants"
        )
        self._failed = metrics.counter(
            name("csr_sign_err_count"), "CSRs that were not signed, by error"
        )
        self._issued = metrics.counter(name("success_cert_issuance_count"), "Certificates issued")
        self._expiry = {
            what: (
                metrics.gauge(name(f"{what}_expiry_timestamp"), "Unix time of the expiry"),
                metrics.gauge(name(f"{what}_expiry_seconds"), "Seconds until the expiry"),
            )
            for what in ("root_cert", "cert_chain")
        }

    def received(self) -> None:
        """A CSR came."""
        self._csrs.add()

    def issued(self) -> None:
        """A certificate went out."""
        self._issued.add()

    def without_id(self) -> None:
        """A CSR had no SAN."""
        self._without_id.add()

    def refused(self, refusal: Refusal) -> None:
        """A CSR was refused."""
        if isinstance(refusal, Unauthenticated | ImpersonationRefused | CredentialsUnverifiable):
            self._unauthenticated.add()
        if isinstance(refusal, BadCsr):
            self._unparsable.add()
        if isinstance(refusal, CsrError):
            self._failed.add(error=refusal.label)

    def authority(self, authority: Authority, now: datetime) -> None:
        """Tell when the first root in force and the signing chain end."""
        active = authority.active
        for what, end in (
            ("root_cert", min(root.not_valid_after_utc for root in active.roots)),
            ("cert_chain", active.not_after),
        ):
            timestamp, seconds = self._expiry[what]
            timestamp.set(end.timestamp())
            seconds.set((end - now).total_seconds())
