"""Metrics of what is written into Kubernetes, under Istio's names.

Secrets of accounts: citadel-and-agent.md A11. Webhooks: galley-and-kubernetes.md A3.5.
"""

from __future__ import annotations

from collections.abc import Mapping

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


class StatusMetrics:
    """How many statuses of objects were written, and what went wrong; Istio has no such metrics."""

    def __init__(self, metrics: Metrics) -> None:
        name = "galley_status_{}".format
        self._written = metrics.counter(name("updates"), "Statuses of objects written, by kind")
        self._failed = metrics.counter(
            name("update_error"), "Statuses that could not be written, by kind and reason"
        )

    def written(self, kind: str) -> None:
        """A status was patched."""
        self._written.add(kind=kind)

    def failed(self, kind: str, reason: str) -> None:
        """The API server did not take a patch; ``reason`` is its word for it."""
        self._failed.add(kind=kind, reason=reason)


class AnalysisMetrics:
    """What analysis of a cluster says and takes; Istio has no such metrics."""

    def __init__(self, metrics: Metrics) -> None:
        name = "galley_analysis_{}".format
        self._runs = metrics.counter(name("runs"), "Analyses of the cluster, by how they ended")
        self._seconds = metrics.histogram(name("seconds"), "How long an analysis took")
        self._messages = metrics.gauge(name("messages"), "What analysis says now, by code")
        self._codes: frozenset[str] = frozenset()

    def finished(self, seconds: float, messages: Mapping[str, int]) -> None:
        """An analysis came to its end; ``messages`` counts them by code."""
        self._runs.add(result="finished")
        self._seconds.record(seconds)
        for code in self._codes | messages.keys():
            self._messages.set(messages.get(code, 0), code=code)
        self._codes = frozenset(messages)

    def superseded(self) -> None:
        """A newer analysis made one void."""
        self._runs.add(result="superseded")


class ClusterMetrics:
    """Clusters whose services are read."""

    def __init__(self, metrics: Metrics) -> None:
        self._managed = metrics.gauge(
            "istiod_managed_clusters", "Clusters whose services are read, local and remote"
        )
        self._late = metrics.counter(
            "remote_cluster_sync_timeouts_total", "Clusters that were not listed within their time"
        )

    def managed(self, local: int, remote: int) -> None:
        """So many are read now."""
        self._managed.set(local, cluster_type="local")
        self._managed.set(remote, cluster_type="remote")

    def timed_out(self, clusters: int) -> None:
        """So many have had their time."""
        self._late.add(clusters)


class KubernetesMetrics:
    """Metrics of what is read of several clusters, and of everything that the leader writes."""

    def __init__(self, metrics: Metrics) -> None:
        self.secrets = SecretMetrics(metrics)
        self.webhooks = WebhookMetrics(metrics)
        self.statuses = StatusMetrics(metrics)
        self.analysis = AnalysisMetrics(metrics)
        self.clusters = ClusterMetrics(metrics)
