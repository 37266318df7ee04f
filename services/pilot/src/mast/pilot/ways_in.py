"""The ports that proxies come in by: ADS in plaintext, and behind TLS (wiring, with main)."""

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from grpc import aio

from mast.common.etcd import Store
from mast.common.identity.ca_client import (
    KeyPair,
    WorkloadCertificates,
    ca_roots,
    encrypted,
    service_certificates,
)
from mast.common.identity.mesh_trust import MeshTrust
from mast.common.identity.spiffe import SpiffeId
from mast.common.identity.tls_front import TlsFront, tls_front
from mast.common.process.serving import Listen, Serving, serving
from mast.pilot.api import ads, certificate_relay, csds
from mast.pilot.api.ads import AdsService, Door
from mast.pilot.api.certificate_relay import CertificateRelay
from mast.pilot.api.connections import Connections
from mast.pilot.api.credentials import Credentials
from mast.pilot.api.csds import ClientStatusService
from mast.pilot.clock import SystemClock
from mast.pilot.config import Config
from mast.pilot.core.model.index import Index
from mast.pilot.core.xds.report import Replica

_AGE_GRACE: Final = timedelta(seconds=10)


@dataclass(frozen=True, kw_only=True)
class WaysIn:
    """Opens the ports; `service` makes what answers at one of them, `index` is the mesh now."""

    config: Config
    store: Store
    clock: SystemClock
    connections: Connections
    replica: Replica
    index: Callable[[], Index]
    service: Callable[[Door], AdsService]

    async def serve(self, tasks: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Serve the plaintext port, and the TLS port once there is a certificate; until `stop`."""
        async with self._server([Listen(self.config.listen, name="grpc")], Door()) as running:
            secure = tasks.create_task(self._serve_securely(stop), name="secure")
            await self._ready_or(stop)
            await running.set_serving(True)
            await stop.wait()
            await running.leave(self.config.shutdown_delay)
            self.connections.drain(self.config.drain * 0.8, random.random)
        await secure

    async def _ready_or(self, stop: asyncio.Event) -> None:
        """Until there is a snapshot, or the process is asked to end."""
        async with asyncio.TaskGroup() as tasks:
            waiting = [
                tasks.create_task(self.connections.registered(0), name="first push"),
                tasks.create_task(stop.wait(), name="stop"),
            ]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()

    async def _serve_securely(self, stop: asyncio.Event) -> None:
        """ADS behind TLS that asks for client certificates (pilot.md A5)."""
        config = self.config
        if not config.ca_address:
            return
        known = MeshTrust(
            store=self.store,
            trust_domain=config.trust_domain,
            reporter=f"pilot.{self.replica.name}",
            now=self.clock.now,
            random=random.random,
        )
        certificates = self._certificates(lambda: known.roots)
        async with asyncio.TaskGroup() as tasks:
            trusting = tasks.create_task(known.run(certificates), name="trust")
            renewing = tasks.create_task(certificates.run(), name="certificates")
            getting = tasks.create_task(certificates.changed(None), name="first certificate")
            stopping = tasks.create_task(stop.wait(), name="stop")
            await asyncio.wait([getting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                roots = partial(ca_roots, config.ca_root_file, lambda: known.roots)
                await self._behind_tls(certificates, roots, getting.result(), stop)
            for each in (trusting, renewing, getting, stopping):
                each.cancel()

    async def _behind_tls(
        self,
        certificates: WorkloadCertificates,
        roots: Callable[[], bytes],
        first: KeyPair,
        stop: asyncio.Event,
    ) -> None:
        def current() -> KeyPair:
            return certificates.current or first

        material = Credentials(self.config.trust_domain, current, self.index)
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pilot-"))
            socket_path = Path(directory) / "ads"
            front = await stack.enter_async_context(
                tls_front(self.config.secure_listen, socket_path, material, name="grpc-tls")
            )
            door = Door(front.peers.identities, front.peers.address)
            listen = [Listen(f"unix:{socket_path}", name="grpc-behind-tls")]
            relay = self._relay(front, roots, current)
            running = await stack.enter_async_context(self._server(listen, door, relay))
            await self._ready_or(stop)
            await running.set_serving(True)
            await stop.wait()
            await running.leave(self.config.shutdown_delay)

    def _relay(
        self, front: TlsFront, roots: Callable[[], bytes], current: Callable[[], KeyPair]
    ) -> CertificateRelay | None:
        """None if Citadel is not behind TLS: it knows no relays there."""
        address = self.config.ca_address
        if not encrypted(address):
            return None
        return CertificateRelay(
            address=address, roots=roots, certificate=current, peers=front.peers
        )

    @asynccontextmanager
    async def _server(
        self, listen: Sequence[Listen], door: Door, relay: CertificateRelay | None = None
    ) -> AsyncIterator[Serving]:
        config, service = self.config, self.service(door)
        services = [ads.SERVICE] if door.identities is None else [ads.SERVICE, csds.SERVICE]
        services += [certificate_relay.SERVICE] if relay else []

        def register(server: aio.Server) -> None:
            service.register(server)
            if door.identities is not None:
                status = ClientStatusService(self.connections, door.identities, config.namespace)
                status.register(server)
            if relay is not None:
                relay.register(server)

        options = (
            ("grpc.max_receive_message_length", config.max_message_size),
            ("grpc.max_concurrent_streams", config.max_concurrent_streams),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # Agents ping every 30 seconds, stream or no stream.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 15_000),
            ("grpc.max_connection_age_ms", int(config.connection_age.total_seconds() * 1000)),
            ("grpc.max_connection_age_grace_ms", int(_AGE_GRACE.total_seconds() * 1000)),
        )
        async with serving(
            register,
            listen,
            services=services,
            grace=config.drain,
            options=options,
            public=door.identities is not None,
        ) as running:
            yield running

    def _certificates(self, mesh_roots: Callable[[], bytes]) -> WorkloadCertificates:
        config = self.config
        return service_certificates(
            address=config.ca_address,
            identity=SpiffeId(config.trust_domain, config.namespace, config.service_account),
            root_file=config.ca_root_file,
            token_file=config.ca_token_file,
            now=self.clock.now,
            mesh_roots=mesh_roots,
        )
