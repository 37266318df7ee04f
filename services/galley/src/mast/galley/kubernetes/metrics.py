"""Metrics of what is written into Kubernetes, under Istio's names.

Secrets of accounts: citadel-and-agent.md A11. Webhooks: galley-and-kubernetes.md A3.5.
"""

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


class WebhookMetrics:
    """How often webhook configurations were patched, and what went wrong."""

    def __init__(self, metrics: Metrics) -> None:
        name = "galley_validation_config_{}".format
        self._updated = metrics.counter(name("updates"), "Webhook configurations patched")
        self._failed = metrics.counter(
            name("update_error"), "Webhook configurations that could not be patched, by reason"
        )
        self._unloaded = metrics.counter(
            name("load_error"), "Times that there was no CA bundle to patch in, by reason"
        )

    def updated(self) -> None:
        """A configuration was patched."""
        self._updated.add()

    def failed(self, reason: str) -> None:
        """The API server did not take a patch; ``reason`` is its word for it."""
        self._failed.add(reason=reason)

    def unloaded(self, reason: str) -> None:
        """There is nothing to patch in."""
        self._unloaded.add(reason=reason)


class KubernetesMetrics:
    """Metrics of everything that the leader writes."""

    def __init__(self, metrics: Metrics) -> None:
        self.secrets = SecretMetrics(metrics)
        self.webhooks = WebhookMetrics(metrics)
