"""Mixer's wiring: settings, adapters, tasks."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from random import random
from uuid import uuid4

import structlog
from aiohttp import web
from grpc import aio

from mast.common.etcd import Store, connect, etcd_config
from mast.common.identity.ca_client import KeyPair, WorkloadCertificates, service_certificates
from mast.common.identity.mesh_trust import MeshTrust
from mast.common.identity.mutual_tls import mutual_tls
from mast.common.identity.spiffe import SpiffeId
from mast.common.latest import Latest
from mast.common.process.lifecycle import run
from mast.common.process.monitoring import Readiness, http_server, monitoring, process_metrics
from mast.common.process.serving import Listen, Serving, serving
from mast.common.process.settings import parse
from mast.common.process.telemetry import Metrics, configure_logging
from mast.mixer.adapters.catalog import Edges, adapters
from mast.mixer.adapters.fetching import fetch, token
from mast.mixer.adapters.remote.builder import RemoteAdapters
from mast.mixer.api import access_log, ext_authz, mixer, pages
from mast.mixer.api.admission import Admission
from mast.mixer.api.mixer import MixerServicer
from mast.mixer.api.server_metrics import Counting
from mast.mixer.config import Config, Probe
from mast.mixer.core.applied import mixer_status
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.mixer_role import MixerRole
from mast.mixer.core.series import Registry
from mast.mixer.core.shedding import LatencyLimiter, Mode, RateLimiter, Shedder
from mast.mixer.core.world import World
from mast.mixer.istio_flags import translated
from mast.mixer.runtime.calls import Calls
from mast.mixer.runtime.engine import LiveEngine
from mast.mixer.runtime.handlers import Handlers
from mast.mixer.runtime.instruments import Instruments
from mast.mixer.store.follow import Configuration
from mast.mixer.store.handover import StoredHandover
from mast.mixer.store.probe_files import fresh, keep_fresh
from mast.mixer.store.status import StatusPublisher
from mastapi.status.v1.status_pb2 import MixerStatus

log = structlog.get_logger()

PROMETHEUS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def main(argv: Sequence[str] | None = None) -> None:
    """Run Mixer until SIGTERM; `server` and `probe` are commands as of Istio's `mixs`."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["probe"]:
        sys.exit(0 if _probe(argv[1:]) else 1)
    try:
        istio = translated(argv[1:] if argv[:1] == ["server"] else argv)
    except ValueError as error:
        sys.stderr.write(f"mast-mixer: error: {error}\n")
        sys.exit(2)
    config = parse(Config, istio.flags, os.environ, prefix="MIXER")
    configure_logging("mixer", config.log_level, config.log_format)
    for flag, reason in istio.without_effect.items():
        log.warning("flag.without_effect", flag=f"--{flag}", reason=reason)
    run(partial(serve, config))


def _probe(argv: Sequence[str]) -> bool:
    probe = parse(Probe, argv, os.environ, prefix="MIXER", prog="mast-mixer probe")
    return fresh(probe.probe_path, probe.interval, wall_clock())


def _new_id() -> str:
    return str(uuid4())


def wall_clock() -> datetime:
    """The time; everything else is told it."""
    return datetime.now(tz=UTC)  # noqa: TID251


async def serve(config: Config, stop: asyncio.Event) -> None:
    """Serve until ``stop`` is set; then finish running calls and deliver what is buffered."""
    service = Mixer(config)
    async with (
        connect(etcd_config(config)) as store,
        monitoring(
            config.monitoring_listen,
            ready=partial(service.readiness, store),
            metrics=service.metrics,
            routes={"/metrics": service.own_metrics, pages.CONFIGURATION: service.configuration},
        ),
        service.series(),
        asyncio.TaskGroup() as tasks,
    ):
        await service.serve(store, tasks, stop)


class Mixer:
    """The parts of one process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._role = MixerRole(config.role)
        self.metrics = Metrics("mixer")
        self._instruments = Instruments(self.metrics)
        self._registry = Registry(config.max_prometheus_series)
        self._world = World()
        self._status: Latest[MixerStatus | None] = Latest(None)
        self.configuration = pages.configuration(lambda: self._status.value)
        self._admission = _admission(config, self._instruments)
        self._intake = access_log.Intake(self._instruments.entries)
        self._open = False

    def readiness(self, store: Store) -> Readiness:
        """Ready once a complete configuration is in force; etcd may be away afterwards (D11)."""
        health = store.health
        etcd = "connected" if health.connected else f"disconnected: {health.detail}"
        state = "in force" if self._open else "none yet"
        return Readiness(
            self._open, {"role": self._role.value, "configuration": state, "etcd": etcd}
        )

    async def own_metrics(self, _: web.Request) -> web.Response:
        """Mixer's metrics about itself."""
        self._instruments.held(self._registry)
        return web.Response(
            text=self._instruments.render() + process_metrics(),
            headers={"content-type": PROMETHEUS_TYPE},
        )

    def series(self) -> AbstractAsyncContextManager[object]:
        """Serves the metrics of the prometheus adapter, where reports are taken."""
        if not self._role.reports:
            return nullcontext()
        pages = {"/metrics": self.scrape}
        return http_server(self._config.prometheus_listen, pages, name="prometheus")

    async def scrape(self, _: web.Request) -> web.Response:
        """The metrics of the prometheus adapter."""
        text = await asyncio.to_thread(self._registry.render)
        return web.Response(text=text, headers={"content-type": PROMETHEUS_TYPE})

    async def serve(self, store: Store, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Follow the configuration, open the ways in once it is complete, close after ``stop``."""
        config = self._config
        handlers = Handlers(tasks, self._instruments)
        calls = Calls(self._instruments, config.adapter_timeout)
        engine = LiveEngine(
            handlers, calls, self._instruments, config.config_default_namespace, role=self._role
        )
        edges = Edges(
            wall_clock,
            time.monotonic,
            fetch,
            self._registry,
            self._world.workloads,
            self._world.roles,
            store,
            new_id=_new_id,
        )
        configuration = Configuration(
            store,
            self._world,
            adapters(edges),
            engine.swap,
            config.config_gather,
            config.expression_language or os.environ.get("ISTIO_LANG", ""),
            RemoteAdapters(
                token,
                time.monotonic,
                _new_id,
                verify_identity="BYPASS_OOP_MTLS_SAN_VERIFICATION" not in os.environ,
            ),
        )
        background = [
            tasks.create_task(configuration.run(), name="configuration"),
            tasks.create_task(self._keep_status(engine), name="status"),
            tasks.create_task(StatusPublisher(store, self._status, random).run(), name="publish"),
            *self._probe_files(tasks),
        ]
        self._intake.handover = StoredHandover(store)
        if await self._configured(configuration, stop):
            await self._serve(store, engine, stop)
        for task in background:
            task.cancel()
        await engine.close()

    def _probe_files(self, tasks: asyncio.TaskGroup) -> Iterator[asyncio.Task[None]]:
        config = self._config
        for path, interval, well in (
            (config.liveness_probe_path, config.liveness_probe_interval, lambda: True),
            (config.readiness_probe_path, config.readiness_probe_interval, lambda: self._open),
        ):
            if path is not None:
                yield tasks.create_task(keep_fresh(path, interval, well), name=f"probe {path}")

    async def _configured(self, configuration: Configuration, stop: asyncio.Event) -> bool:
        """Wait for the first complete configuration; False if ``stop`` comes before (D11).

        Nothing is answered before: without rules every check would be allowed.
        """
        seconds = self._config.config_wait_timeout.total_seconds()
        async with asyncio.TaskGroup() as tasks:
            waiting = [
                tasks.create_task(stop.wait()),
                tasks.create_task(configuration.complete.wait()),
            ]
            done, _ = await asyncio.wait(
                waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            for task in waiting:
                task.cancel()
        if not done:
            raise TimeoutError(f"no complete configuration from etcd within {seconds:g} s")
        return not stop.is_set()

    async def _serve(self, store: Store, engine: LiveEngine, stop: asyncio.Event) -> None:
        listen = [Listen(self._config.listen, name="grpc")]
        async with asyncio.TaskGroup() as tasks, self._server(engine, listen) as running:
            secure = tasks.create_task(self._serve_securely(store, engine, stop), name="secure")
            await running.set_serving(True)
            self._open = True
            await stop.wait()
            self._open = False
            await running.leave(self._config.shutdown_delay)
            tasks.create_task(self._hand_over(), name="hand over")
            secure.cancel()

    async def _hand_over(self) -> None:
        """Leave open connections to another Mixer, as many as can be while calls finish."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain.total_seconds()):
                await self._intake.close()

    async def _serve_securely(self, store: Store, engine: LiveEngine, stop: asyncio.Event) -> None:
        """Open the port with mutual TLS as soon as there is a certificate; until cancelled."""
        config = self._config
        if not config.ca_address:
            return
        trust = MeshTrust(
            store=store,
            trust_domain=config.trust_domain,
            reporter=f"mixer-{socket.gethostname()}-{os.getpid()}",
            now=wall_clock,
            random=random,
        )
        certificates = _certificates(config, lambda: trust.roots)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(certificates.run(), name="certificates")
            tasks.create_task(trust.run(certificates), name="trust")
            first = await certificates.changed(None)

            def current() -> KeyPair:
                return certificates.current or first

            tls = mutual_tls(current, lambda: trust.roots)
            listen = [Listen(config.secure_listen, tls, name="grpc-mtls")]
            async with self._server(engine, listen) as running:
                await running.set_serving(True)
                await stop.wait()
                await running.set_serving(False)
                await asyncio.Event().wait()

    def _server(
        self, engine: LiveEngine, listen: Sequence[Listen]
    ) -> AbstractAsyncContextManager[Serving]:
        config, role = self._config, self._role
        services = [mixer.SERVICE]
        services += [ext_authz.SERVICE] if role.checks else []
        services += [access_log.SERVICE] if role.reports else []

        def register(server: aio.Server) -> None:
            mixer.register(server, MixerServicer(engine, self._admission, role))
            workloads = self._world.workloads

            def client() -> ClientConfig:
                return self._world.client

            faces = (engine, workloads, client, self._admission, wall_clock)
            if role.checks:
                ext_authz.register(server, *faces, config.verdict_lifetime)
            if role.reports:
                access_log.register(server, *faces, self._intake)

        return serving(
            register,
            listen,
            services=services,
            grace=config.drain,
            interceptors=[Counting(self._instruments.served, time.perf_counter)],
            options=(
                ("grpc.max_receive_message_length", config.max_message_size),
                ("grpc.max_concurrent_streams", config.max_concurrent_streams),
            ),
        )

    async def _keep_status(self, engine: LiveEngine) -> None:
        """Say what is in force, each time it changes."""
        applied = engine.applied.value
        while True:
            applied = await engine.applied.after(applied)
            self._status.publish(
                mixer_status(
                    applied,
                    replica=f"{socket.gethostname()}-{os.getpid()}",
                    version=version("mast-mixer"),
                    role=self._role.value,
                    since=wall_clock(),
                )
            )


def _admission(config: Config, instruments: Instruments) -> Admission:
    shedder = Shedder(
        Mode(config.loadshedding_mode),
        RateLimiter(config.max_requests_per_second, config.burst_size),
        LatencyLimiter(
            config.average_latency_threshold.total_seconds(),
            config.latency_sample_halflife.total_seconds(),
            config.latency_enforcement_threshold,
        ),
    )

    def refused(cost: float) -> None:
        instruments.throttled.add()
        instruments.shed_cost.add(cost)

    return Admission(shedder, time.monotonic, refused)


def _certificates(config: Config, mesh_roots: Callable[[], bytes]) -> WorkloadCertificates:
    return service_certificates(
        address=config.ca_address,
        identity=SpiffeId(config.trust_domain, config.namespace, config.service_account),
        root_file=config.ca_root_file,
        token_file=config.ca_token_file,
        now=wall_clock,
        mesh_roots=mesh_roots,
    )
