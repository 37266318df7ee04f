"""Pilot's wiring: settings, adapters, tasks."""

import asyncio
import gc
import os
import random
import secrets
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from ipaddress import ip_network
from typing import Final

import structlog

from istio.networking.v1alpha3.workload_group_pb2 import WorkloadGroup
from mast.common.etcd import Store, connect, etcd_config
from mast.common.keys import proxy_status_key
from mast.common.latest import Latest
from mast.common.process.lifecycle import run, until_asked
from mast.common.process.monitoring import Readiness, http_server, monitoring
from mast.common.process.settings import parse
from mast.common.process.telemetry import Metrics, configure_logging
from mast.common.sealing import sealing_key
from mast.pilot.api.ads import AdsService, Door
from mast.pilot.api.asides import Asides
from mast.pilot.api.connection import Connection, Facilities
from mast.pilot.api.connections import Connections
from mast.pilot.api.debug import DebugPages, Gate
from mast.pilot.api.findings import Findings
from mast.pilot.api.instruments import BUCKETS, Instruments
from mast.pilot.api.pages import Pages, Sources
from mast.pilot.api.trust_report import TrustReport
from mast.pilot.api.worker import Worker
from mast.pilot.clock import SystemClock
from mast.pilot.config import Config
from mast.pilot.core.gateway_api.status import Translation
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.public_keys import KeyFetching
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.admission import TokenBucket, default_rate
from mast.pilot.core.xds.debounce import Debounce
from mast.pilot.core.xds.push import Push
from mast.pilot.core.xds.report import Replica, control_plane, proxy_status
from mast.pilot.store.changeover import Changeover
from mast.pilot.store.follow import Mirror, News
from mast.pilot.store.gateway_statuses import GatewayStatuses
from mast.pilot.store.key_fetch import KeyFetch
from mast.pilot.store.public_keys import PublicKeyKeeper
from mast.pilot.store.registrations import Registrations
from mast.pilot.store.self_check import SelfCheck
from mast.pilot.store.status import StatusPublisher, locate
from mast.pilot.ways_in import WaysIn
from mastapi.status.v1.status_pb2 import ProxyStatus

log = structlog.get_logger()

_COLLECTION: Final = (50_000, 20, 50)
"""The mesh is a million objects that stay: looking at all of them for garbage, which takes a third
of a second, must not happen in every other push."""

_GAUGES_EVERY: Final = timedelta(seconds=15)
_FINDINGS_EVERY: Final = timedelta(seconds=1)


def main(argv: Sequence[str] | None = None) -> None:
    """Run Pilot until SIGTERM."""
    config = parse(Config, sys.argv[1:] if argv is None else argv, os.environ, prefix="PILOT")
    configure_logging("pilot", config.log_level, config.log_format)
    gc.set_threshold(*_COLLECTION)
    run(partial(serve, config))


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then close streams one by one."""
    metrics = Metrics("pilot", buckets=BUCKETS)
    with ThreadPoolExecutor(1, thread_name_prefix="world") as thread:
        async with connect(etcd_config(config)) as store:
            pilot = Pilot(config, metrics, store, Worker(thread, SystemClock()), stop)
            async with (
                monitoring(
                    config.monitoring_listen,
                    ready=pilot.readiness,
                    metrics=metrics,
                    routes=pilot.debug.pages,
                ),
                http_server(config.http_listen, pilot.debug.routes(pilot.readiness), name="http"),
                asyncio.TaskGroup() as tasks,
            ):
                background = pilot.start(tasks)
                await pilot.serve(tasks)
                for task in background:
                    task.cancel()


class Pilot:
    """The parts of one process."""

    def __init__(
        self,
        config: Config,
        metrics: Metrics,
        store: Store,
        work: Worker,
        stop: asyncio.Event,
    ) -> None:
        self._config = config
        self._stop = stop
        self._store = store
        self._clock = SystemClock()
        self._started = self._clock.instant()
        self._replica = Replica(
            config.identity or f"{socket.gethostname()}-{os.getpid()}", version("mast-pilot")
        )
        self._work = work
        self._index = Index()
        self._indexes = Latest(self._index)
        self._snapshot: MeshSnapshot | None = None
        self._instruments = Instruments(metrics, self._replica.version)
        rate = default_rate(os.cpu_count() or 1)
        pushes = asyncio.Semaphore(config.pushes or rate)
        facilities = Facilities(work, self._clock, self._instruments, pushes, config.send_timeout)
        self._connections = Connections(facilities, control_plane(self._replica))
        stream_rate = config.stream_rate or rate
        self._admission = TokenBucket(stream_rate, burst=max(1.0, stream_rate))
        world = World(
            config.domain,
            sealing_key=_sealing_key(config),
            quic=config.enable_quic_listeners,
            key_fetching=KeyFetching.of(config.jwt_enable_remote_jwks),
            gradual=bool(config.mutual_tls_step),
        )
        self._follow(world)
        self._tell(world)

    def _follow(self, world: World) -> None:
        """What keeps the world as the store is."""
        config, store, told = self._config, self._store, self._instruments
        debounce = Debounce(config.debounce_quiet, config.debounce_longest, config.debounce_urgent)
        self._mirror = Mirror(
            store, world, self._work, self._clock, self._publish, told.updated, debounce
        )
        self._changeover = Changeover(
            lambda: self._snapshot,
            self._connections.followed,
            self._mirror.proceed,
            self._clock,
            config.mutual_tls_step,
        )
        done, repaired, every = told.self_checks.add, told.repairs.add, config.self_check
        self._self_check = SelfCheck(
            store, world, self._work, self._mirror, random.random, done, repaired, every
        )
        blocked = [ip_network(each, strict=False) for each in config.blocked_cidrs_in_jwks_uris]
        fetch = KeyFetch(roots_file=config.jwks_ca_file, blocked=blocked)
        self._keys = PublicKeyKeeper(
            store,
            fetch,
            self._indexes,
            self._clock,
            random.random,
            told.fetched_keys,
            self._replica.name,
            config.jwt_pub_key_refresh_interval,
        )
        self._registrations = Registrations(
            store,
            self._group,
            self._replica.name,
            self._clock,
            random.random,
            ttl=config.registration_ttl,
            grace=config.workload_entry_grace_period,
        )

    def _tell(self, world: World) -> None:
        """What says how things are: status records, findings, debug pages."""
        config, store = self._config, self._store
        self._statuses = StatusPublisher(
            store, random.random, config.status_interval, config.status_ttl
        )
        self._translations: Latest[Translation | None] = Latest(None)
        self._gateway_statuses = GatewayStatuses(
            store, self._translations, self._replica.name, random.random, config.status_interval
        )
        self._trust = TrustReport(
            self._replica.name, self._clock.now(), lambda: self._index, self._statuses.changed
        )
        self._findings = Findings(
            self._connections,
            lambda: self._snapshot,
            lambda: dict(world.rejected),
            partial(self._statuses.replace, "configuration"),
            self._replica.name,
        )
        sources = Sources(
            self._connections,
            lambda: self._snapshot,
            lambda: self._findings.current,
            partial(locate, store),
            self._replica,
            lambda: self._registrations.workloads,
        )
        self._pages = Pages(sources)
        gate = Gate(config.namespace, config.debug_token_file)
        self.debug = DebugPages(self._pages, gate, self._replica)

    def readiness(self) -> Readiness:
        """Ready once everything was read; etcd may be away afterwards (pilot.md N5)."""
        health = self._store.health
        push = self._connections.push
        return Readiness(
            push is not None and not self._stop.is_set(),
            {
                "etcd": "connected" if health.connected else f"disconnected: {health.detail}",
                "snapshot": "none yet" if push is None else f"revision {push.snapshot.revision}",
            },
        )

    def start(self, tasks: asyncio.TaskGroup) -> Sequence[asyncio.Task[None]]:
        """Begin what runs as long as the process."""
        return [
            tasks.create_task(self._mirror.run(), name="mirror"),
            tasks.create_task(self._changeover.run(), name="changeover"),
            tasks.create_task(self._statuses.run(), name="status"),
            tasks.create_task(self._registrations.run(), name="registrations"),
            tasks.create_task(self._findings.follow(_FINDINGS_EVERY), name="findings"),
            tasks.create_task(self._self_check.run(), name="self-check"),
            tasks.create_task(self._lead(), name="leading"),
            tasks.create_task(self._keep_gauges(), name="gauges"),
        ]

    async def _lead(self) -> None:
        """What one replica does for all: another one takes over as soon as this one is to end."""
        leading = {"gateway status": self._gateway_statuses.run, "public keys": self._keys.run}
        await until_asked(self._stop, leading)

    async def serve(self, tasks: asyncio.TaskGroup) -> None:
        """Serve proxies until the process is asked to end."""
        ways_in = WaysIn(
            config=self._config,
            store=self._store,
            clock=self._clock,
            connections=self._connections,
            replica=self._replica,
            index=lambda: self._index,
            service=self._service,
        )
        await ways_in.serve(tasks, self._stop)

    def _service(self, door: Door) -> AdsService:
        return AdsService(
            door,
            self._connections,
            self._admission,
            self._registrations,
            Asides(self._connections, self._pages, self._config.namespace),
            self._changed,
            self._closed,
        )

    async def _publish(self, news: News) -> None:
        """Hand a new snapshot to all streams."""
        push = Push(
            self._connections.next_number(), news.snapshot, news.started, registered=news.workloads
        )
        if self._index.trust is not news.snapshot.index.trust:
            self._trust.renewed()
        self._index = news.snapshot.index
        self._indexes.publish(self._index)
        self._snapshot = news.snapshot
        if self._translations.value is not news.snapshot.translation:
            self._translations.publish(news.snapshot.translation)
        instruments = self._instruments
        instruments.snapshot_time.record(news.seconds)
        instruments.debounce.record((self._clock.instant() - news.started).total_seconds())
        for kind in news.kinds:
            instruments.triggered(kind)
        instruments.services.set(len(self._index.services))
        virtual_services = self._index.collections.get(collection_names.VIRTUAL_SERVICES, ())
        instruments.virtual_services.set(len(virtual_services))
        await self._connections.publish(push)
        log.debug("push.started", number=push.number, revision=push.snapshot.revision)

    def _group(self, namespace: str, name: str) -> WorkloadGroup | None:
        """The WorkloadGroup of that name, for registrations."""
        groups = self._index.configs.get((collection_names.WORKLOAD_GROUPS, namespace), ())
        return next((each.spec for each in groups if each.meta.name == name), None)

    def _changed(self, connection: Connection) -> None:
        async def make() -> ProxyStatus:
            return await self._work(
                lambda: proxy_status(connection.stream, connection.session.state, self._replica)
            )

        self._statuses.changed(proxy_status_key(connection.proxy.node_id), connection, make)
        self._trust.observe(connection)

    def _closed(self, connection: Connection) -> None:
        self._trust.gone(connection)
        self._statuses.gone(proxy_status_key(connection.proxy.node_id), connection)

    async def _keep_gauges(self) -> None:
        while True:
            uptime = self._clock.instant() - self._started
            self._instruments.uptime.set(uptime.total_seconds())
            await asyncio.sleep(_GAUGES_EVERY.total_seconds())


def _sealing_key(config: Config) -> bytes | None:
    """The key that Galley seals Secrets with; raises OSError if the file cannot be used."""
    if config.secrets_key_file is None:
        return None
    return sealing_key(config.secrets_key_file, secrets.token_bytes)
