"""Keeps webhook configurations of this revision working: their trust, and when they close (A3.4).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from mast.common.etcd import Store
from mast.common.kubernetes import Api, ApiError, ApiFailure, Change, NotFound, Object, Patch
from mast.common.kubernetes import Resource as Kind
from mast.common.kubernetes.objects import (
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from mast.common.latest import Latest
from mast.galley.core.admission.configurations import (
    closing,
    probe,
    refused_by_us,
    selector,
    trusting,
)
from mast.galley.core.root_maps import Trust
from mast.galley.kubernetes.metrics import WebhookMetrics
from mast.galley.kubernetes.mirror import Mirror
from mast.galley.kubernetes.trust import follow_trust
from mast.galley.kubernetes.work import Work

log = structlog.get_logger()

GATEWAYS = Kind("networking.istio.io", "v1", "gateways", "Gateway")

FIRST_RETRY, LAST_RETRY = timedelta(milliseconds=100), timedelta(minutes=1)

Key = tuple[Kind, str]


class NotYet(Exception):
    """A configuration cannot be closed now; says why."""


@dataclass
class WebhookConfigurations:
    """One process of a revision does this at a time: whoever leads. ``kinds`` are looked after."""

    api: Api
    store: Store
    trust_domain: str
    namespace: str
    revision: str
    random: Callable[[], float]
    metrics: WebhookMetrics
    kinds: tuple[Kind, ...]
    _trust: Latest[Trust | None] = field(default_factory=lambda: Latest(None), init=False)

    async def run(self) -> None:
        """Patch what differs, for ever."""
        work: Work[Key] = Work(
            "webhook_configurations",
            self._keep,
            (ApiFailure, NotYet),
            self.random,
            first=FIRST_RETRY,
            last=LAST_RETRY,
        )
        self._mirrors = {
            kind: Mirror(self.api, kind, _adding(work, kind), labels=selector(self.revision))
            for kind in self.kinds
        }

        def everything() -> None:
            for kind, mirror in self._mirrors.items():
                for found in mirror:
                    work.add((kind, found["metadata"]["name"]))

        async with asyncio.TaskGroup() as tasks:
            for mirror in self._mirrors.values():
                tasks.create_task(mirror.run(), name="webhook configurations mirror")
            following = follow_trust(self.store, self.trust_domain, self._trust, everything)
            tasks.create_task(following, name="webhook configurations trust")
            for mirror in self._mirrors.values():
                await mirror.synced.wait()
            tasks.create_task(work.run(), name="webhook configurations work")

    async def _keep(self, key: Key) -> None:
        """Make one configuration what it must be."""
        kind, name = key
        found, trust = self._mirrors[kind].get("", name), self._trust.value
        if found is None or trust is None:
            return
        if not trust.roots_pem:
            self.metrics.unloaded("no roots")
            return
        if (change := trusting(found, trust.roots_pem)) is not None:
            found = await self._patched(kind, name, change)
            log.info("webhook.trust_patched", configuration=name)
        if kind == VALIDATING_WEBHOOK_CONFIGURATIONS and (change := closing(found)) is not None:
            await self._prove()
            await self._patched(kind, name, change)
            log.info("webhook.closed", configuration=name)

    async def _patched(self, kind: Kind, name: str, change: Object) -> Object:
        try:
            made = await self.api.patch(kind, name, change, how=Patch.STRATEGIC)
        except ApiFailure as error:
            self.metrics.failed(error.reason if isinstance(error, ApiError) else "Unreachable")
            raise
        self.metrics.updated()
        return made

    async def _prove(self) -> None:
        """See an invalid object refused, or raise NotYet: then nothing may depend on us yet."""
        try:
            await self.api.create(GATEWAYS, probe(self.namespace, self.revision), dry_run=True)
        except NotFound as error:
            if await self._are_gateways_known():
                raise NotYet(f"an invalid Gateway could not be tried: {error}") from error
        except ApiError as error:
            if not refused_by_us(error.message):
                raise NotYet(f"an invalid Gateway was refused by somebody else: {error}") from error
        else:
            raise NotYet("an invalid Gateway was let through: the webhook is not asked yet")

    async def _are_gateways_known(self) -> bool:
        """Whether their CRD is there. Without it nothing invalid can be stored (A3.4)."""
        try:
            await self.api.list(GATEWAYS, fields="metadata.name=invalid-gateway")
        except NotFound:
            return False
        return True


def _adding(work: Work[Key], kind: Kind) -> Callable[[Change], None]:
    return lambda change: work.add((kind, change.name))
