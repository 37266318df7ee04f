"""Opens every way into Citadel: TLS, sockets, and a port without TLS if there is one (wiring)."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from grpc import aio

from mast.citadel.api import admin, certificates, ledger, relay
from mast.citadel.api.admin import AdminService
from mast.citadel.api.authenticators import Authenticator
from mast.citadel.api.certificates import Entrance
from mast.citadel.api.entrances import (
    Transport,
    in_plaintext,
    on_socket,
    through_front,
    through_tls,
)
from mast.citadel.api.ledger import LedgerService
from mast.citadel.api.relay import RelayService
from mast.citadel.callers import Callers
from mast.citadel.config import Config
from mast.common.identity.spiffe import SpiffeId
from mast.common.identity.tls_front import Limits, Material, PeerTable, socket_front, tls_front
from mast.common.process.serving import Listen, Serving, serving

# Connection age, grace and ping of CA and ADS ports (citadel-and-agent.md A6).
_CONNECTIONS = (
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 10_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_receive_message_length", 256 << 10),
)


@asynccontextmanager
async def open_ways(
    config: Config, callers: Callers, material: Callable[[], Material], service: AdminService
) -> AsyncIterator["Ways"]:
    """Serve at every address of the configuration while the block lasts.

    Raises OSError if one of them cannot be had.
    """
    async with AsyncExitStack() as stack:
        ways = Ways(config, callers, Path(stack.enter_context(_private_directory())), stack)
        await ways.tls(material)
        if config.front_socket is not None:
            await ways.front(config.front_socket)
        if config.plaintext_listen:
            where = Listen(config.plaintext_listen, name="plaintext")
            await ways.serve(where, callers.plaintext, in_plaintext())
        if config.workload_socket is not None:
            await ways.workload_socket(config.workload_socket)
        if config.admin_socket is not None:
            await ways.admin(config.admin_socket, service)
        yield ways


def _private_directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="mast-citadel-")


@dataclass(frozen=True)
class Ways:
    """The ways in that are open."""

    config: Config
    callers: Callers
    private: Path
    stack: AsyncExitStack
    servers: list[Serving] = field(default_factory=list)

    async def leave(self) -> None:
        """Have every server say that it is about to end, and go on for a time."""
        async with asyncio.TaskGroup() as tasks:
            for each in self.servers:
                tasks.create_task(each.leave(self.config.shutdown_delay), name="leave")

    async def tls(self, material: Callable[[], Material]) -> None:
        """The port for everybody, where client certificates are verified if there are any."""
        config, upstream = self.config, self.private / "tls.sock"
        limits = Limits(connections=config.max_connections)
        front = await self.stack.enter_async_context(
            tls_front(config.listen, upstream, material, limits=limits, name="ca")
        )
        where = Listen(f"unix:{upstream}", name="ca-upstream")
        relayed = self._relayed(front.peers) if config.relays else None
        await self.serve(where, self.callers.tls, through_tls(front.peers), relayed)

    def _relayed(self, peers: PeerTable) -> RelayService:
        relays = frozenset(str(SpiffeId.parse(each)) for each in self.config.relays)
        return RelayService(self.callers.issuance, self.callers.network, peers, relays)

    async def front(self, path: Path) -> None:
        """Where an Envoy beside us passes on what it took off TLS (A6), for our user only."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self.serve(Listen(f"unix:{path}", name="front"), self.callers.front, through_front())

    async def workload_socket(self, path: Path) -> None:
        """For programs of this machine, who are known by their user."""
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        upstream = self.private / "workload.sock"
        peers: PeerTable = await self.stack.enter_async_context(
            socket_front(path, upstream, name="workload-socket")
        )
        where = Listen(f"unix:{upstream}", name="workload-upstream")
        await self.serve(where, self.callers.workload_socket, on_socket(peers))

    async def admin(self, path: Path, service: AdminService) -> None:
        """Everything on one Unix socket, for whoever can open it: mode 0600 (A5)."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        entrance = Entrance(self.callers.admin_socket, on_socket())

        def register(server: aio.Server) -> None:
            certificates.register(server, self.callers.issuance, entrance)
            admin.register(server, service)
            ledger.register(server, LedgerService(self.callers.ledger.records))

        running = await self.stack.enter_async_context(
            serving(
                register,
                [Listen(f"unix:{path}", name="admin")],
                services=(*certificates.SERVICES, admin.SERVICE, ledger.SERVICE),
                grace=self.config.drain,
            )
        )
        self.servers.append(running)
        await running.set_serving(True)

    async def serve(
        self,
        where: Listen,
        entrants: Sequence[Authenticator],
        transport: Transport,
        relayed: RelayService | None = None,
    ) -> None:
        """The certificate services at an address."""
        entrance = Entrance(entrants, transport)

        def register(server: aio.Server) -> None:
            certificates.register(server, self.callers.issuance, entrance)
            if relayed is not None:
                relay.register(server, relayed)

        running = await self.stack.enter_async_context(
            serving(
                register,
                [where],
                services=(*certificates.SERVICES, *([relay.SERVICE] if relayed else ())),
                grace=self.config.drain,
                options=_CONNECTIONS,
                public=True,
            )
        )
        self.servers.append(running)
        await running.set_serving(True)
