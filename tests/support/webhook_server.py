"""Galley's webhooks alone: over TLS in this process, with a certificate that can be renewed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mast.common.identity.ca_client import Certificate, KeyPair
from mast.common.latest import Latest
from mast.common.process.telemetry import Metrics
from mast.galley.api.metrics import GalleyMetrics
from mast.galley.api.webhooks import Injection, Webhooks, webhook_server
from mast.galley.core.admission.injection import for_caller, verdict
from mast.galley.core.admission.review import Judge
from mast.galley.core.injection.settings import Settings
from mast.galley.core.objects import Defaults
from tests.support.pki import Ca

SERVICE = "istio-galley"
NAMESPACE = "istio-system"
SERVER_NAME = f"{SERVICE}.{NAMESPACE}.svc"


def key_pair(ca: Ca, name: str = SERVER_NAME) -> KeyPair:
    """A new certificate of the webhooks' Service."""
    leaf = ca.leaf(dns=[name])
    certificate = Certificate((leaf.chain.decode(),), ca.pem.decode())
    return KeyPair(
        leaf.key, certificate, leaf.leaf.not_valid_before_utc, leaf.leaf.not_valid_after_utc
    )


@dataclass
class RunningWebhooks:
    """Where they listen, what they present, what they counted."""

    ca: Ca
    pair: Latest[KeyPair]
    metrics: Metrics = field(default_factory=lambda: Metrics("galley"))
    port: int = 0

    def counted(self, start: str) -> dict[str, float]:
        """Series of the metrics whose lines begin like this."""
        lines = [line for line in self.metrics.render().splitlines() if line.startswith(start)]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def injecting(settings: Settings) -> Injection:
    """Injection by these settings."""

    def judge(cluster: str, network: str) -> Judge:
        told = for_caller(settings, cluster, network)
        return lambda asked: verdict(asked, told, {})

    return judge


@asynccontextmanager
async def running_webhooks(
    name: str = SERVER_NAME, **settings: Any
) -> AsyncIterator[RunningWebhooks]:
    """Webhooks whose certificate is for a name; ``settings`` are those of ``Webhooks``."""
    ca = Ca.root("mesh")
    first = key_pair(ca, name)
    running = RunningWebhooks(ca, Latest(first))
    settings.setdefault("injection", injecting(Settings()))
    webhooks = Webhooks(Defaults(), GalleyMetrics(running.metrics), **settings)
    async with webhook_server("127.0.0.1:0", first, running.pair.after, webhooks) as running.port:
        yield running
