"""Upstream DNS servers: passes a query on as it is and brings the answer back (B8.3)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import cast

import structlog

from mast.agent.core.dns import Query, matches

log = structlog.get_logger()

PORT = 53


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """The servers of resolv.conf: asked one after the other in random order, or all at once.

    Each has ``timeout`` to answer. Every query takes a socket of its own, so its port is random.
    """

    servers: Sequence[str]
    timeout: timedelta
    parallel: bool = False
    port: int = PORT
    random: Random

    async def ask(self, query: Query, tcp: bool) -> bytes | None:
        """The first answer; None if no server gave one."""
        servers = list(self.servers)
        if self.parallel:
            return await self._ask_all(servers, query, tcp)
        self.random.shuffle(servers)
        for server in servers:
            answer = await self._ask_one(server, query, tcp)
            if answer is not None:
                return answer
        return None

    async def _ask_all(self, servers: Sequence[str], query: Query, tcp: bool) -> bytes | None:
        answered: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=len(servers) or 1)

        async def one(server: str) -> None:
            answered.put_nowait(await self._ask_one(server, query, tcp))

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(server), name=f"dns-{server}") for server in servers]
            answer = None
            for _ in servers:
                answer = await answered.get()
                if answer is not None:
                    break
            for task in tasks:
                task.cancel()
        return answer

    async def _ask_one(self, server: str, query: Query, tcp: bool) -> bytes | None:
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                if tcp:
                    return await self._over_tcp(server, query)
                return await self._over_udp(server, query)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError) as error:
            reason = f"{type(error).__name__}: {error}"
            log.info("dns.upstream_failed", server=server, error=reason)
            return None

    async def _over_udp(self, server: str, query: Query) -> bytes:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Exchange(query, answer), remote_addr=(server, self.port)
        )
        try:
            return await answer
        finally:
            transport.close()

    async def _over_tcp(self, server: str, query: Query) -> bytes:
        reader, writer = await asyncio.open_connection(server, self.port)
        try:
            writer.write(len(query.data).to_bytes(2, "big") + query.data)
            await writer.drain()
            size = int.from_bytes(await reader.readexactly(2), "big")
            data = await reader.readexactly(size)
        finally:
            writer.close()
        if not matches(query, data):
            raise ConnectionError("the answer is for another question")
        return data


class _Exchange(asyncio.DatagramProtocol):
    """Sends one query; takes the first datagram that answers it and no other."""

    def __init__(self, query: Query, answer: "asyncio.Future[bytes]") -> None:
        self._query = query
        self._answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python before 3.11.4 does not derive its datagram transport from this class.
        cast(asyncio.DatagramTransport, transport).sendto(self._query.data)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._answer.done() and matches(self._query, data):
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)
