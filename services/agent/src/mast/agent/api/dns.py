"""The DNS proxy: answers names of the mesh over UDP and TCP, passes the rest on (B8)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import cast

import structlog

from mast.agent.core import dns
from mast.agent.core.dns import MOST_BYTES, NoQuery, Query
from mast.agent.core.names import Names
from mast.common.process.telemetry import Metrics

log = structlog.get_logger()

MOST_FORWARDED = 1000
"""Queries under way to upstream servers at one time; what comes on top is dropped, as by UDP."""

_IDLE = timedelta(seconds=30)

Forward = Callable[[Query, bool], Awaitable[bytes | None]]
"""Asks the upstream servers, over TCP if true; None if none of them answered."""


class DnsProxy:
    """Answers queries of this machine. ``names`` is None until the first table has come."""

    def __init__(self, forward: Forward, metrics: Metrics) -> None:
        self.names: Names | None = None
        self._forward = forward
        self._turn = 0
        self._requests = metrics.counter("istio_agent_dns_requests_total", "DNS queries")
        self._upstream = metrics.counter(
            "istio_agent_dns_upstream_requests_total", "DNS queries passed on"
        )
        self._failures = metrics.counter(
            "istio_agent_dns_upstream_failures_total", "DNS queries nobody answered"
        )

    def answer(self, query: Query, limit: int) -> bytes | None:
        """Our own answer at once; None if upstream servers must be asked."""
        self._requests.add()
        if self.names is None:
            return dns.packed(dns.failure(query), limit)
        self._turn += 1
        reply = dns.resolve(query, self.names, self._turn)
        return None if reply is None else dns.packed(reply, limit)

    async def forwarded(self, query: Query, *, tcp: bool) -> bytes:
        """The answer of an upstream server, unchanged; SERVFAIL if there is none."""
        self._upstream.add()
        data = await self._forward(query, tcp)
        if data is not None:
            return data
        self._failures.add()
        return dns.packed(dns.failure(query), MOST_BYTES)

    @asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[int]:
        """Serve UDP and TCP on one port of an address; 0 takes a free one, yields it."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            server = await asyncio.start_server(self._converse, host, port)
            bound = int(server.sockets[0].getsockname()[1])
            transport, datagrams = await loop.create_datagram_endpoint(
                lambda: _Datagrams(self, tasks), local_addr=(host, bound)
            )
            log.info("service.listening", name="dns", address=f"{host}:{bound}")
            try:
                yield bound
            finally:
                transport.close()
                server.close()
                await server.wait_closed()
                datagrams.give_up()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the queries of one TCP connection in turn (RFC 7766)."""
        try:
            while True:
                async with asyncio.timeout(_IDLE.total_seconds()):
                    size = int.from_bytes(await reader.readexactly(2), "big")
                    query = dns.query(await reader.readexactly(size))
                data = self.answer(query, MOST_BYTES) or await self.forwarded(query, tcp=True)
                writer.write(len(data).to_bytes(2, "big") + data)
                async with asyncio.timeout(_IDLE.total_seconds()):
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, NoQuery) as error:
            log.debug("dns.connection_ended", reason=f"{type(error).__name__}: {error}")
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """UDP: our own answers without a task, forwarded ones in a task of the server's group."""

    def __init__(self, proxy: DnsProxy, tasks: asyncio.TaskGroup) -> None:
        self._proxy = proxy
        self._tasks = tasks
        self._under_way: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python before 3.11.4 does not derive its datagram transport from this class.
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            query = dns.query(data)
        except NoQuery as error:
            log.debug("dns.ignored", reason=str(error))
            return
        answer = self._proxy.answer(query, query.udp_bytes)
        if answer is not None:
            self._transport.sendto(answer, addr)
        elif len(self._under_way) < MOST_FORWARDED:
            task = self._tasks.create_task(self._pass_on(query, addr), name="dns-forward")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    def give_up(self) -> None:
        """Leave queries that upstream servers have not answered yet."""
        for task in self._under_way:
            task.cancel()

    async def _pass_on(self, query: Query, addr: tuple[str, int]) -> None:
        answer = await self._proxy.forwarded(query, tcp=False)
        if not self._transport.is_closing():
            self._transport.sendto(answer, addr)
