"""Citadel's wiring: settings, adapters, tasks."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from random import random

import structlog

from mast.citadel.api.admin import AdminService
from mast.citadel.api.bundle_endpoint import bundle_endpoint
from mast.citadel.api.liveness import prove_liveness
from mast.citadel.api.metrics import CitadelMetrics
from mast.citadel.api.server_certificate import OwnCertificate, ServerCertificates
from mast.citadel.api.signing import OwnSigning
from mast.citadel.callers import callers
from mast.citadel.config import Config
from mast.citadel.core.authority import Authority
from mast.citadel.core.bundle import Bundle
from mast.citadel.keeper import Keeper, keeper
from mast.citadel.own_certificate import server_certificates
from mast.citadel.store.bundles import Bundles
from mast.citadel.store.federation import Federation
from mast.citadel.store.housekeeping import keep_house
from mast.citadel.store.join_tokens import JoinTokens
from mast.citadel.store.rotation import FAILURES
from mast.citadel.ways_in import open_ways
from mast.common.etcd import Store, connect, etcd_config
from mast.common.identity.spiffe import trust_domain
from mast.common.latest import Latest
from mast.common.process.lifecycle import run, until_asked
from mast.common.process.monitoring import Readiness, monitoring
from mast.common.process.settings import parse
from mast.common.process.telemetry import Metrics, configure_logging

log = structlog.get_logger()

_GAUGES_EVERY = timedelta(seconds=15)


def main(argv: Sequence[str] | None = None) -> None:
    """Run Citadel until SIGTERM."""
    config = parse(Config, sys.argv[1:] if argv is None else argv, os.environ, prefix="CITADEL")
    configure_logging("citadel", config.log_level, config.log_format)
    run(partial(serve, config))


def wall_clock() -> datetime:
    """The time; everything else is told it."""
    return datetime.now(tz=UTC)  # noqa: TID251


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set; the certificate services open as soon as there is a CA."""
    metrics = Metrics("citadel")
    citadel = Citadel(config, CitadelMetrics(metrics), trust_domain(config.trust_domain))
    async with (
        connect(etcd_config(config)) as store,
        monitoring(
            config.monitoring_listen, ready=partial(citadel.readiness, store), metrics=metrics
        ),
        asyncio.TaskGroup() as tasks,
    ):
        federation = Federation(
            store=store,
            trust_domain=citadel.domain,
            now=wall_clock,
            random=random,
            roots=config.spiffe_bundle_roots.read_text() if config.spiffe_bundle_roots else "",
        )
        bundles = Bundles(store, federation.current)
        kept = keeper(config, store, bundles, citadel.domain, wall_clock)
        background = [
            tasks.create_task(citadel.keep_authority(kept), name="authority"),
            tasks.create_task(citadel.keep_gauges(), name="gauges"),
            tasks.create_task(federation.run(), name="federation"),
        ]
        leading = {
            "housekeeping": partial(
                keep_house, store, citadel.authority, bundles, wall_clock, others=federation.others
            )
        }
        if kept.rotation is not None:
            leading["rotation"] = partial(kept.rotation.run, citadel.authority)
        background.append(tasks.create_task(until_asked(stop, leading), name="leading"))
        authority = await _unless(stop, citadel.authority)
        if authority is not None:
            published = bundles.follow(citadel.domain, citadel.published)
            background.append(tasks.create_task(published, name="published bundle"))
            await citadel.serve(store, kept, authority, stop)
        for task in background:
            task.cancel()


async def _unless(stop: asyncio.Event, slot: Latest[Authority | None]) -> Authority | None:
    """The first authority that can sign; None if ``stop`` comes before."""
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(stop.wait()), tasks.create_task(_able(slot))]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
    return None if stop.is_set() else slot.value


async def _able(slot: Latest[Authority | None]) -> None:
    """Until the authority has its key, which may be lost: then another CA takes over."""
    seen = None
    while seen is None or seen.active.key is None:
        seen = await slot.after(seen)


class Citadel:
    """The parts of one process: the authority in force and what is made of it."""

    def __init__(self, config: Config, metrics: CitadelMetrics, domain: str) -> None:
        self.authority: Latest[Authority | None] = Latest(None)
        self.published: Latest[Bundle | None] = Latest(None)
        self._config = config
        self._metrics = metrics
        self.domain = domain
        self._aliases = tuple(map(trust_domain, config.trust_domain_aliases))
        self._open = False

    def readiness(self, store: Store) -> Readiness:
        """Ready while certificates can be signed and asked for; etcd may be away meanwhile."""
        authority, health = self.authority.value, store.health
        etcd = "connected" if health.connected else f"disconnected: {health.detail}"
        if authority is None:
            return Readiness(False, {"authority": "none yet", "etcd": etcd})
        end = authority.active.not_after
        detail = {"authority": f"valid until {end.isoformat()}", "etcd": etcd}
        return Readiness(self._open and wall_clock() < end, detail)

    async def keep_authority(self, kept: Keeper) -> None:
        """Put the authority in force, and every other one that replaces it."""
        async with aclosing(kept.changes()) as authorities:
            async for authority in authorities:
                self.authority.publish(authority)
                self._metrics.authority(authority, wall_clock())
                log.info(
                    "authority.loaded",
                    subject=authority.active.certificate.subject.rfc4514_string(),
                    not_after=authority.active.not_after.isoformat(),
                    roots=len(authority.roots),
                )

    async def keep_gauges(self) -> None:
        """Keep the seconds until expiry up to date."""
        while True:
            authority = await self.authority.after(None)
            if authority is not None:
                self._metrics.authority(authority, wall_clock())
            await asyncio.sleep(_GAUGES_EVERY.total_seconds())

    async def serve(
        self, store: Store, kept: Keeper, authority: Authority, stop: asyncio.Event
    ) -> None:
        """Open the ways in until ``stop``; then let running calls finish."""
        async with server_certificates(self._config, wall_clock) as own:
            certificate = Latest(await own.new(authority))
            await self._serve(store, kept, own, certificate, stop)

    async def _serve(
        self,
        store: Store,
        kept: Keeper,
        own: ServerCertificates,
        certificate: Latest[OwnCertificate],
        stop: asyncio.Event,
    ) -> None:
        signing = self._signing(store, kept)
        async with (
            self._bundle_endpoint(certificate),
            callers(self._config, store, self._metrics, signing, wall_clock) as known,
            asyncio.TaskGroup() as tasks,
            open_ways(
                self._config,
                known,
                lambda: certificate.value.material,
                self._administration(store, kept),
            ) as ways,
        ):
            keeping = [
                tasks.create_task(own.keep(self.authority, certificate), name="own cert"),
                tasks.create_task(self._prove_liveness(signing), name="liveness"),
            ]
            self._open = True
            await stop.wait()
            self._open = False
            await ways.leave()
            for task in keeping:
                task.cancel()

    @asynccontextmanager
    async def _bundle_endpoint(self, own: Latest[OwnCertificate]) -> AsyncIterator[None]:
        """Our bundle for other meshes, if they are to have it."""
        config = self._config
        if not config.spiffe_bundle_listen:
            yield
            return
        listen, hint = config.spiffe_bundle_listen, config.spiffe_refresh_hint
        async with bundle_endpoint(listen, own, lambda: self.published.value, hint):
            yield

    def _administration(self, store: Store, kept: Keeper) -> AdminService:
        return AdminService(
            authority=lambda: self.authority.value,
            add=JoinTokens(store).add,
            commands=lambda: kept.rotation,
            seen=kept.seen,
            passing=FAILURES,
            trust_domain=self.domain,
            now=wall_clock,
            entropy=secrets.token_bytes,
        )

    def _signing(self, store: Store, kept: Keeper) -> Callable[[], Authority | None]:
        """The authority while this replica may sign with it."""

        def signing() -> Authority | None:
            return self.authority.value if kept.may_sign(store.health, wall_clock()) else None

        return signing

    async def _prove_liveness(self, authority: Callable[[], Authority | None]) -> None:
        config = self._config
        if config.liveness_file is not None:
            own = OwnSigning(authority=authority, now=wall_clock, entropy=secrets.token_bytes)
            await prove_liveness(own, config.liveness_file, config.liveness_interval)
