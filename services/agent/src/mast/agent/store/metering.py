"""The agent's own metrics, under Istio's names (citadel-and-agent.md B3)."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from cryptography import x509

from mast.agent.store.credentials import Identity
from mast.agent.store.identity import Sign
from mast.common.identity.ca_client import CaError, Certificate
from mast.common.latest import Latest
from mast.common.process.telemetry import Metrics

CSR = "csr"


class Meters:
    """Instruments of the agent's outgoing calls and secrets; ``clock`` is monotonic seconds."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._clock = clock
        prefix = "istio_agent_"
        self._latency = metrics.histogram(f"{prefix}outgoing_latency", "Milliseconds of a call")
        self._requests = metrics.counter(f"{prefix}num_outgoing_requests", "Calls to Citadel")
        self._failures = metrics.counter(
            f"{prefix}num_failed_outgoing_requests", "Calls to Citadel that failed"
        )
        self._retries = metrics.counter(
            f"{prefix}num_outgoing_retries", "Calls to Citadel that were repeated"
        )
        self._expiry = metrics.gauge(
            f"{prefix}cert_expiry_seconds", "Seconds until the workload's certificate ends"
        )
        self._file_failures = metrics.counter(
            f"{prefix}num_file_secret_failures_total", "Secrets in files that cannot be used"
        )
        self._watch_failures = metrics.counter(
            f"{prefix}num_file_watcher_failures_total", "Files that cannot be watched"
        )

    def signing(self, sign: Sign) -> Sign:
        """The same call, measured."""

        async def measured(csr: bytes, ttl: timedelta) -> Certificate:
            self._requests.add(request_type=CSR)
            begun = self._clock()
            try:
                return await sign(csr, ttl)
            except (CaError, OSError):
                self._failures.add(request_type=CSR)
                raise
            finally:
                self._latency.record((self._clock() - begun) * 1000, request_type=CSR)

        return measured

    async def before_retry(self, delay: timedelta) -> None:
        """Count a repeated call and wait before it."""
        self._retries.add(request_type=CSR)
        await asyncio.sleep(delay.total_seconds())

    def file_failed(self) -> None:
        """Count a secret in a file that is missing or does not fit."""
        self._file_failures.add()

    def watch_failed(self) -> None:
        """Count a file that cannot be looked at."""
        self._watch_failures.add()

    def page(self, identity: Latest[Identity | None], now: datetime) -> str:
        """The metrics page, with the time that the certificate has left."""
        if identity.value is not None:
            leaf = x509.load_pem_x509_certificate(identity.value.chain)
            left = (leaf.not_valid_after_utc - now).total_seconds()
            self._expiry.set(left, resource_name="default")
        return self._metrics.render()
