"""What a Service of Kubernetes is to its clients: one address, and connections to who is ready.

A connection is led to whoever has the fewest, and stays there: what it carries is not looked at.
That is kube-proxy with IPVS and `lc`; by chance, as with iptables, tests would fail by chance.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.service_process import ServiceProcess
from tests.support.until import until

_CHUNK = 65536


async def ready(replica: ServiceProcess) -> bool:
    """As a kubelet asks: whether it says so."""
    if replica.process.returncode is not None:
        return False
    try:
        return (await replica.get("/ready"))[0] == 200
    except OSError:
        return False


@dataclass
class ReadyService:
    """Leads to the listener of that ``name`` of its replicas."""

    name: str
    replicas: list[ServiceProcess] = field(default_factory=list)
    endpoint: str = ""
    _load: Counter[str] = field(default_factory=Counter)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def add(self, replica: ServiceProcess) -> None:
        """Lead to another one, once it is ready."""
        await replica.address(self.name)
        await until(lambda: ready(replica))
        self.replicas.append(replica)

    async def _chosen(self) -> str | None:
        """The address of the one with the fewest connections that is ready; None if none is."""
        found = [
            await each.address(self.name) for each in tuple(self.replicas) if await ready(each)
        ]
        return min(found, key=lambda each: self._load[each], default=None)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a connection to a replica, until either side ends it."""
        self._open.add(writer)
        try:
            if address := await self._chosen():
                self._load[address] += 1
                with suppress(OSError):
                    await self._join(reader, writer, address)
                self._load[address] -= 1
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
    ) -> None:
        host, _, port = address.rpartition(":")
        back, forth = await asyncio.open_connection(host, int(port))
        self._open.add(forth)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_pipe(reader, forth))
            tasks.create_task(_pipe(back, writer))
        self._open.discard(forth)

    def cut(self) -> None:
        """End every connection."""
        for each in tuple(self._open):
            each.transport.abort()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def ready_service(name: str) -> AsyncIterator[ReadyService]:
    """A Service on a free port of 127.0.0.1 that has no endpoints yet."""
    found = ReadyService(name)
    server = await asyncio.start_server(found.accept, "127.0.0.1", 0)
    found.endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        found.cut()
        await server.wait_closed()
