"""A sidecar's outbound half in a real Envoy: every cluster answers with its own name."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.pilot.core import names
from mast.pilot.core.listeners import listeners
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.routes.routes import route_configuration
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.envoy_static import (
    black_hole,
    bootstrap,
    cluster,
    passthrough,
    route_names,
    told_destination,
    with_routes,
)
from tests.support.http_probe import Reply, dial, echo_server, fetch, serving
from tests.support.mesh_yaml import scope


@dataclass
class Outbound:
    """An Envoy with outbound listeners; every cluster answers with its own name."""

    envoy: EnvoyServer

    async def tcp(self, destination: str, *, sni: str = "", send: bytes = b"\0" * 32) -> str:
        """What answers bytes that are captured on their way to IP:PORT; empty if nobody does."""
        port = self.envoy.ports[names.VIRTUAL_OUTBOUND]
        payload = client_hello(sni) if sni else send
        async with dial(port, captured_for=destination) as (reader, writer):
            writer.write(payload)
            try:
                async with asyncio.timeout(30):
                    return (await reader.read(200)).decode(errors="replace")
            except ConnectionError:
                return ""

    async def http(
        self,
        destination: str,
        host: str,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, str]:
        """Status of a request that is captured on its way to IP:PORT, and who answered it."""
        reply = await self.fetch(destination, host, path, headers)
        return reply.status, reply.header("x-upstream")

    async def fetch(
        self,
        destination: str,
        host: str,
        path: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """The answer to a request that is captured on its way to IP:PORT."""
        port = self.envoy.ports[names.VIRTUAL_OUTBOUND]
        return await fetch(port, host, path, headers=headers, captured_for=destination)


def client_hello(sni: str) -> bytes:
    """The first bytes of a TLS client that asks for a server name."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=sni).do_handshake()
    return outgoing.read()


@asynccontextmanager
async def answering(name: str) -> AsyncIterator[int]:
    """A server that says its name once somebody has sent a byte; gives its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            writer.write(name.encode())
            await writer.drain()
        writer.close()

    async with serving(answer) as port:
        yield port


@asynccontextmanager
async def outbound_envoy(
    directory: Path, proxy: Proxy, *texts: str, tcp: Sequence[str] = (), http: Sequence[str] = ()
) -> AsyncIterator[Outbound]:
    """An Envoy with the outbound half of a proxy; `virtualOutbound` is told destinations.

    `tcp` and `http` name the clusters that there are, and what they speak.
    """
    seen = scope(proxy, *texts)
    made = listeners.outbound(seen, proxy)
    configurations = {
        name: found
        for name in route_names(made)
        if (found := route_configuration(name, seen, proxy)) is not None
    }
    async with AsyncExitStack() as stack:
        clusters = [cluster(name, await stack.enter_async_context(answering(name))) for name in tcp]
        for name in http:
            server = await stack.enter_async_context(echo_server(name))
            clusters.append(cluster(name, server.port))
        clusters += [passthrough(names.PASSTHROUGH), black_hole(names.BLACK_HOLE)]
        prepared = [bound_anywhere(each) for each in with_routes(made, configurations)]
        envoy = await stack.enter_async_context(
            envoy_server(bootstrap(prepared, clusters), directory)
        )
        yield Outbound(envoy)
        assert complaints(envoy.log.read_text()) == []


def bound_anywhere(each: Listener) -> Listener:
    """The listener; the one that captures is told destinations, on a port of its own choice."""
    return told_destination(each) if each.name == names.VIRTUAL_OUTBOUND else each
