"""Metrics of the Secrets of accounts, under Istio 1.4's names (citadel-and-agent.md A11)."""

from __future__ import annotations

from mast.common.process.telemetry import Metrics


class SecretMetrics:
    """How many Secrets were made and removed, and what went wrong."""

    def __init__(self, metrics: Metrics) -> None:
        name = "citadel_secret_controller_{}".format
        self._created = metrics.counter(
            name("svc_acc_created_cert_count"), "Secrets made for service accounts"
        )
        self._deleted = metrics.counter(
            name("svc_acc_deleted_cert_count"), "Secrets removed with their service accounts"
        )
        self._restored = metrics.counter(
            name("secret_deleted_cert_count"), "Secrets that somebody deleted and that are remade"
        )
        self._no_csr = metrics.counter(name("csr_err_count"), "CSRs that could not be made")
        self._unsigned = metrics.counter(
            name("csr_sign_err_count"), "CSRs that Citadel did not sign, by error"
        )

    def account_created(self) -> None:
        """An account has a Secret now."""
        self._created.add()

    def account_deleted(self) -> None:
        """An account is gone, and its Secret with it."""
        self._deleted.add()

    def secret_deleted(self) -> None:
        """The Secret of an account that is there was deleted."""
        self._restored.add()

    def csr_failed(self) -> None:
        """There is no identity for an account."""
        self._no_csr.add()

    def signing_failed(self, error: str) -> None:
        """Citadel did not sign."""
        self._unsigned.add(error=error)
