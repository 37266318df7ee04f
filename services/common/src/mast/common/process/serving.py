"""The gRPC server scaffold of every service: listeners, health, reflection, graceful stop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

log = structlog.get_logger()

LIMITS: Mapping[str, Any] = {
    "grpc.max_receive_message_length": 4 << 20,
    "grpc.max_metadata_size": 16 << 10,
    "grpc.absolute_max_metadata_size": 16 << 10,
    "grpc.max_concurrent_streams": 1_000,
    "grpc.max_allowed_incoming_connections": 20_000,
    "grpc.server_handshake_timeout_ms": 10_000,
}
"""What callers may cost, unless a service says otherwise: bytes of a message and of headers, calls
at a time on a connection, connections, milliseconds until a handshake is done."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to accept: ``host:port`` (0 picks a port) or ``unix:/path``; plaintext without tls."""

    address: str
    tls: grpc.ServerCredentials | None = None
    name: str = "grpc"


class Serving:
    """A running server: its ports (0 for Unix sockets), in the order of the listen addresses."""

    def __init__(
        self, ports: tuple[int, ...], health: health_aio.HealthServicer, services: Sequence[str]
    ) -> None:
        self.ports = ports
        self._health = health
        self._services = ("", *services)

    async def set_serving(self, serving: bool) -> None:
        """Answer health checks of every service with SERVING or NOT_SERVING from now on."""
        status = (
            health_pb2.HealthCheckResponse.SERVING
            if serving
            else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        for service in self._services:
            await self._health.set(service, status)

    async def leave(self, delay: timedelta) -> None:
        """Answer NOT_SERVING, but go on for ``delay``: callers hear of it before it ends."""
        await self.set_serving(False)
        await asyncio.sleep(delay.total_seconds())


@asynccontextmanager
async def serving(
    register: Callable[[grpc.aio.Server], None],
    listen: Sequence[Listen],
    *,
    services: Sequence[str] = (),
    grace: timedelta = timedelta(seconds=5),
    options: Sequence[tuple[str, Any]] = (),
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    public: bool = False,
) -> AsyncIterator[Serving]:
    """Serve what ``register`` adds to the server, with health beside it, and reflection.

    A ``public`` server, and one with TLS, does not list its services: callers may be strangers.

    Health is NOT_SERVING until :meth:`Serving.set_serving` says otherwise. On exit health turns
    NOT_SERVING, nothing new is accepted, running calls get ``grace`` to finish.
    ``options`` go before :data:`LIMITS`. ``services`` are the full service names for reflection and
    health. Raises OSError if an address cannot be bound. Unix sockets are made with mode 0600.
    """
    server = grpc.aio.server(
        options=[("grpc.so_reuseport", 0), *{**LIMITS, **dict(options)}.items()],
        interceptors=interceptors,
    )
    register(server)
    health = health_aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    if not public and all(where.tls is None for where in listen):
        names = (*services, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    ports = tuple(_bind(server, where) for where in listen)
    await server.start()
    for where, port in zip(listen, ports, strict=True):
        _announce(where, port)
    running = Serving(ports, health, services)
    await running.set_serving(False)
    try:
        yield running
    finally:
        await health.enter_graceful_shutdown()
        await server.stop(grace.total_seconds())


def _bind(server: grpc.aio.Server, where: Listen) -> int:
    unix = where.address.startswith("unix:")
    if unix:
        Path(where.address.removeprefix("unix:")).unlink(missing_ok=True)
    before = os.umask(0o177) if unix else None
    try:
        if where.tls is None:
            port = server.add_insecure_port(where.address)
        else:
            port = server.add_secure_port(where.address, where.tls)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {where.address} ({where.name}): {error}") from error
    finally:
        if before is not None:
            os.umask(before)
    return 0 if unix else port


def _announce(where: Listen, port: int) -> None:
    address = where.address
    if port:
        address = f"{where.address.rpartition(':')[0]}:{port}"
    log.info("service.listening", name=where.name, address=address, tls=where.tls is not None)
