"""Galley's wiring: settings, adapters, tasks."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from random import random
from typing import Final

import grpc
import structlog
from grpc import aio

from mast.common.etcd import Store, connect, etcd_config
from mast.common.identity.ca_client import CaClient, KeyPair, service_certificates
from mast.common.identity.mesh_trust import MeshTrust
from mast.common.identity.mutual_tls import mutual_tls
from mast.common.identity.spiffe import SpiffeId
from mast.common.latest import Latest
from mast.common.process.lifecycle import Jobs, run, until_asked
from mast.common.process.monitoring import Handler, Readiness, monitoring
from mast.common.process.serving import Listen, Serving, serving
from mast.common.process.settings import parse
from mast.common.process.telemetry import Metrics, configure_logging
from mast.common.sealing import sealing_key
from mast.galley.api import config_service, history_service
from mast.galley.api.access import ADMIN_SOCKET, Access
from mast.galley.api.clusters_page import clusters_page
from mast.galley.api.metrics import GalleyMetrics
from mast.galley.config import KUBERNETES_SOURCE, Config
from mast.galley.core.documents import TEXT_LIMIT_BYTES
from mast.galley.core.objects import Compat
from mast.galley.core.remote_clusters import Status
from mast.galley.distribution import SERVICES as DISTRIBUTED
from mast.galley.distribution import Distribution
from mast.galley.kubernetes.metrics import KubernetesMetrics
from mast.galley.platform import (
    config_source,
    keep_kubernetes,
    registrar,
    webhooks,
)
from mast.galley.several_clusters import clusters
from mast.galley.sources import Trees, later_than, with_mesh_sources
from mast.galley.store.configs import Configs
from mast.galley.store.history import Histories
from mast.galley.store.injection import InjectionSettings

log = structlog.get_logger()

# A text of the longest kind, and what a request puts around it.
_OPTIONS = (("grpc.max_receive_message_length", 2 * TEXT_LIMIT_BYTES),)
_COLLECTION: Final = (20_000, 3, 1_000)
"""A large cluster is a million objects that stay: looking at all of them for garbage takes half a
second, in which nobody is answered, and at the newest sixty thousand a fortieth of one."""
_SWITCH_SECONDS: Final = 0.001
"""How long a thread that reads a cluster may keep webhooks waiting."""
# The services that read configuration; another Galley, where this one is a source of it.
_FELLOWS = ("pilot", "mixer", "citadel", "galley")


def main(argv: Sequence[str] | None = None) -> None:
    """Run Galley until SIGTERM."""
    config = parse(Config, sys.argv[1:] if argv is None else argv, os.environ, prefix="GALLEY")
    try:
        config = with_mesh_sources(config)
    except (ValueError, OSError) as error:
        sys.exit(f"mast-galley: --mesh-config-file: {error}")
    configure_logging("galley", config.log_level, config.log_format)
    gc.set_threshold(*_COLLECTION)
    sys.setswitchinterval(_SWITCH_SECONDS)
    run(partial(serve, config))


def wall_clock() -> datetime:
    """The time; everything else is told it."""
    return datetime.now(tz=UTC)  # noqa: TID251


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set; etcd may be away, then calls end with UNAVAILABLE."""
    metrics = Metrics("galley")
    async with connect(etcd_config(config)) as store:
        kubernetes_metrics = KubernetesMetrics(metrics)
        galley = Galley(config, store, GalleyMetrics(metrics), kubernetes_metrics, stop)
        async with (
            monitoring(
                config.monitoring_listen,
                ready=galley.readiness,
                metrics=metrics,
                routes={"/debug/clusterz": galley.clusters_page()},
            ),
            asyncio.TaskGroup() as tasks,
            galley.admin_entrance(),
        ):
            leading: Jobs = {
                "sources": galley.follow_sources,
                "kubernetes": galley.keep_kubernetes,
                "history": galley.forget_history,
            }
            background = [
                tasks.create_task(galley.serve_securely(), name="secure"),
                tasks.create_task(until_asked(stop, leading), name="leading"),
                tasks.create_task(galley.await_store(), name="store"),
                tasks.create_task(galley.follow_injection(), name="injection"),
                tasks.create_task(galley.distribute(), name="distribution"),
            ]
            await stop.wait()
            await asyncio.sleep(config.shutdown_delay.total_seconds())
            for task in background:
                task.cancel()


class Galley:
    """The parts of one process."""

    def __init__(
        self,
        config: Config,
        store: Store,
        metrics: GalleyMetrics,
        kubernetes_metrics: KubernetesMetrics,
        stop: asyncio.Event,
    ) -> None:
        self._config = config
        self._stop = stop
        self._store = store
        self._metrics = metrics
        self._kubernetes_metrics = kubernetes_metrics
        self._registrar: Latest[CaClient | None] = Latest(None)
        self._identity = f"{socket.gethostname()}-{os.getpid()}"
        key = None
        if config.secrets_key_file is not None:
            key = sealing_key(config.secrets_key_file, secrets.token_bytes)
        self._configs = Configs(store, wall_clock, config.max_txn_ops, key)
        self._histories = Histories(
            store, wall_clock, config.history_changes, config.history_age, config.max_txn_ops
        )
        self._distribution = Distribution(config, store)
        self._compat = Compat(config.compat)
        self._injection = InjectionSettings(
            store, config.revision, config.inject_config_file, config.inject_values_file
        )
        self._sources = Trees(config, self._configs, self._identity, metrics.source)
        self._cluster = config_source(
            config,
            self._configs,
            metrics.source,
            later_than(config, KUBERNETES_SOURCE),
        )
        self._services = clusters(config, store, self._identity, kubernetes_metrics.webhooks)
        self._certified = not config.ca_address
        self._reached = False

    def readiness(self) -> Readiness:
        """Ready once etcd was reached, sources stored, certificate and settings there (A7).

        The loss of etcd later does not change that: reads fail, the mesh does not.
        """
        health = self._store.health
        detail = {
            "etcd": "connected" if health.connected else f"disconnected: {health.detail}",
            "certificate": "there" if self._certified else "none yet",
        }
        detail |= self._sources.facts
        synced = self._sources.synced
        if self._cluster is not None:
            detail["kubernetes"] = "in sync" if self._cluster.synced else "not stored yet"
            synced = synced and self._cluster.synced
        if self._services is not None:
            detail["services"] = "in sync" if self._services.synced else "not stored yet"
            detail["remote_clusters"] = "settled" if self._services.settled else "not settled yet"
            synced = synced and self._services.synced and self._services.settled
        ready = self._reached and synced and self._certified and not self._stop.is_set()
        if self._config.webhook_listen:
            detail["injection"] = self._injection.problem or "configured"
            ready = ready and self._injection.ready
        return Readiness(ready, detail)

    def clusters_page(self) -> Handler:
        """The clusters whose services are read, and how far they have got."""

        def statuses() -> tuple[Status, ...]:
            return () if self._services is None else self._services.statuses.value

        return clusters_page(statuses, self._identity, self._config.revision)

    async def await_store(self) -> None:
        """Note the first time that etcd answers."""
        health = self._store.health
        while not health.connected:
            health = await self._store.health_after(health)
        self._reached = True

    @asynccontextmanager
    async def admin_entrance(self) -> AsyncIterator[None]:
        """The API on a Unix socket, for whoever can open it: mode 0600 in a directory of 0700."""
        path = self._config.admin_socket
        if path is None:
            yield
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with self._server(Listen(f"unix:{path}", name="admin"), ADMIN_SOCKET) as running:
            await running.set_serving(True)
            yield

    async def serve_securely(self) -> None:
        """Open the TLS port as soon as there is a certificate; until cancelled."""
        config = self._config
        if not config.ca_address:
            return
        trust = MeshTrust(
            store=self._store,
            trust_domain=config.trust_domain,
            reporter=f"galley-{self._identity}",
            now=wall_clock,
            random=random,
        )
        certificates = service_certificates(
            address=config.ca_address,
            identity=SpiffeId(config.trust_domain, config.namespace, config.service_account),
            root_file=config.ca_root_file,
            token_file=config.ca_token_file,
            now=wall_clock,
            mesh_roots=lambda: trust.roots,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(certificates.run(), name="certificates")
            tasks.create_task(trust.run(certificates), name="trust")
            first = await certificates.changed(None)
            self._registrar.publish(
                registrar(config, certificates, lambda: trust.roots, wall_clock)
            )

            def current() -> KeyPair:
                return certificates.current or first

            self._certify(current, lambda: trust.roots)
            tls = mutual_tls(current, lambda: trust.roots)
            listen = Listen(config.listen, tls, name="grpc-mtls")
            async with (
                self._server(listen, self._access()) as running,
                webhooks(
                    config,
                    certificates,
                    first,
                    self._injection.judge,
                    self._metrics,
                    self._stop.is_set,
                ),
            ):
                await running.set_serving(True)
                self._certified = True
                await self._stop.wait()
                await running.set_serving(False)
                await asyncio.Event().wait()

    async def keep_kubernetes(self) -> None:
        """What comes from Kubernetes, and what the leader does there; until cancelled."""
        await keep_kubernetes(
            self._config,
            self._store,
            self._identity,
            self._cluster,
            self._services,
            self._registrar,
            self._injection.kubelets,
            self._kubernetes_metrics,
            wall_clock,
        )

    async def follow_injection(self) -> None:
        """Keep what injection goes by, if there are webhooks; until cancelled."""
        if self._config.webhook_listen:
            await self._injection.run()

    async def forget_history(self) -> None:
        """Keep no more of the past than is wanted; until cancelled."""
        await self._histories.run(self._identity)

    async def distribute(self) -> None:
        """Tell other consumers what is stored; until cancelled."""
        await self._distribution.run()

    async def follow_sources(self) -> None:
        """Keep what directories and other control planes hold in the store; until cancelled."""
        await self._sources.run()

    def _certify(self, current: Callable[[], KeyPair], roots: Callable[[], bytes]) -> None:
        """From now on there is a certificate to call others with."""

        def credentials() -> grpc.ChannelCredentials:
            pair = current()
            trusted = roots() or pair.certificate.roots_pem.encode()
            return grpc.ssl_channel_credentials(trusted, pair.key_pem, pair.chain_pem)

        self._distribution.certified(credentials)
        self._sources.certified(credentials)

    def _access(self) -> Access:
        config = self._config
        fellows = (
            str(SpiffeId(config.trust_domain, config.namespace, f"istio-{name}-service-account"))
            for name in _FELLOWS
        )
        return Access(
            frozenset(config.allowed_readers or fellows), frozenset(config.allowed_writers)
        )

    def _server(self, listen: Listen, access: Access) -> AbstractAsyncContextManager[Serving]:
        configs = config_service.ConfigService(self._configs, access, self._metrics, self._compat)
        history = history_service.HistoryService(
            self._configs, self._histories, access, self._metrics, self._compat
        )

        def register(server: aio.Server) -> None:
            config_service.register(server, configs)
            history_service.register(server, history)
            self._distribution.register(server, access)

        return serving(
            register,
            [listen],
            services=[config_service.SERVICE, history_service.SERVICE, *DISTRIBUTED],
            grace=self._config.drain,
            options=_OPTIONS,
        )
