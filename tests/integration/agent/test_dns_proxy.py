"""The DNS proxy over UDP and TCP, with upstream servers that are there, slow or gone (B8, D17)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

import pytest
from dnslib import EDNS0, QTYPE, RCODE, RR, A, DNSHeader, DNSQuestion, DNSRecord

from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.agent.api.dns import DnsProxy
from mast.agent.core.names import Names, names
from mast.agent.store.resolver import Upstream
from mast.common.process.telemetry import Metrics

KNOWN = "reviews.shop.svc.cluster.local"


@dataclass
class FakeServer:
    """An upstream server on UDP and TCP: answers every name with ``address``."""

    address: str
    port: int = 0
    silent: bool = False
    wrong_id: bool = False
    asked: list[str] = field(default_factory=list)

    def answer(self, data: bytes) -> bytes | None:
        query = DNSRecord.parse(data)
        self.asked.append(str(query.q.qname))
        if self.silent:
            return None
        header = DNSHeader(id=query.header.id ^ int(self.wrong_id), qr=1)
        reply = DNSRecord(header, q=query.q)
        reply.add_answer(RR(query.q.qname, QTYPE.A, rdata=A(self.address), ttl=5))
        return bytes(reply.pack())

    @asynccontextmanager
    async def serving(self, host: str) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._converse, host, self.port)
        self.port = server.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: Datagrams(self), local_addr=(host, self.port)
        )
        try:
            yield
        finally:
            transport.close()
            server.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        size = int.from_bytes(await reader.readexactly(2), "big")
        data = self.answer(await reader.readexactly(size))
        if data is not None:
            writer.write(len(data).to_bytes(2, "big") + data)
            await writer.drain()
        writer.close()


class Datagrams(asyncio.DatagramProtocol):
    """One UDP socket: of a fake server, or of a client that waits for one answer."""

    def __init__(self, server: FakeServer | None = None) -> None:
        self.server = server
        self.answers: asyncio.Queue[bytes] = asyncio.Queue(maxsize=10)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self.server is None:
            self.answers.put_nowait(data)
        elif (answer := self.server.answer(data)) is not None:
            self.transport.sendto(answer, addr)  # type: ignore[attr-defined]


async def over_udp(port: int, query: DNSRecord) -> DNSRecord:
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_datagram_endpoint(
        Datagrams, remote_addr=("127.0.0.1", port)
    )
    try:
        transport.sendto(query.pack())
        async with asyncio.timeout(30):
            return DNSRecord.parse(await client.answers.get())
    finally:
        transport.close()


async def over_tcp(port: int, *queries: DNSRecord) -> list[DNSRecord]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        answers = []
        async with asyncio.timeout(30):
            for query in queries:
                data = query.pack()
                writer.write(len(data).to_bytes(2, "big") + data)
                size = int.from_bytes(await reader.readexactly(2), "big")
                answers.append(DNSRecord.parse(await reader.readexactly(size)))
        return answers
    finally:
        writer.close()


def question(name: str, kind: str = "A") -> DNSRecord:
    return DNSRecord(q=DNSQuestion(name, getattr(QTYPE, kind)))


def table(ips: list[str]) -> Names:
    message = NameTable()
    entry = message.table[KNOWN]
    entry.ips.extend(ips)
    entry.shortname, entry.namespace, entry.registry = "reviews", "shop", "Kubernetes"
    return names(message, namespace="shop", domain="shop.svc.cluster.local", search=())


def upstream(*servers: str, port: int, parallel: bool = False) -> Upstream:
    return Upstream(
        servers=servers,
        timeout=timedelta(milliseconds=300),
        parallel=parallel,
        port=port,
        random=Random(1),  # noqa: S311
    )


@asynccontextmanager
async def proxied(resolver: Upstream, known: Names | None) -> AsyncIterator[tuple[int, Metrics]]:
    metrics = Metrics("test")
    proxy = DnsProxy(resolver.ask, metrics)
    proxy.names = known
    async with proxy.serving("127.0.0.1", 0) as port:
        yield port, metrics


async def test_own_names_over_udp_and_tcp() -> None:
    async with proxied(upstream(port=1), table(["10.0.0.1", "fd00::1"])) as (port, metrics):
        for name in (KNOWN, "reviews.shop", "reviews", "REVIEWS"):
            reply = await over_udp(port, question(name))
            assert [str(each.rdata) for each in reply.rr] == ["10.0.0.1"]
            assert (reply.header.aa, reply.rr[0].ttl) == (1, 30)
        first, second = await over_tcp(port, question("reviews"), question("reviews", "AAAA"))
        assert str(first.rr[0].rdata) == "10.0.0.1"
        assert str(second.rr[0].rdata) == "fd00::1"
        text = metrics.render()
        assert "istio_agent_dns_requests_total 6" in text
        assert "istio_agent_dns_upstream_requests_total" not in text.replace("# ", "")


async def test_addresses_rotate() -> None:
    async with proxied(upstream(port=1), table(["10.0.0.1", "10.0.0.2"])) as (port, _):
        firsts = {str((await over_udp(port, question("reviews"))).rr[0].rdata) for _ in range(4)}
        assert firsts == {"10.0.0.1", "10.0.0.2"}


async def test_large_answers_are_truncated_over_udp_only() -> None:
    many = [f"10.0.{number // 250}.{number % 250 + 1}" for number in range(300)]
    async with proxied(upstream(port=1), table(many)) as (port, _):
        plain = await over_udp(port, question("reviews"))
        assert plain.header.tc == 1
        assert 20 < len(plain.rr) < 50
        bigger = question("reviews")
        bigger.add_ar(EDNS0(udp_len=4096))
        extended = await over_udp(port, bigger)
        assert len(extended.rr) > 200
        (whole,) = await over_tcp(port, question("reviews"))
        assert (len(whole.rr), whole.header.tc) == (300, 0)


async def test_no_table_yet_is_a_failure() -> None:
    """Asking upstream could deny a name that the mesh is about to know."""
    async with proxied(upstream(port=1), None) as (port, _):
        assert (await over_udp(port, question(KNOWN))).header.rcode == RCODE.SERVFAIL
        assert (await over_udp(port, question("example.com"))).header.rcode == RCODE.SERVFAIL


@pytest.mark.parametrize("parallel", [False, True], ids=["in-turn", "parallel"])
async def test_the_rest_goes_upstream(parallel: bool) -> None:
    """Silent and wrong servers are passed over; both protocols work."""
    good, silent, forging = FakeServer("192.0.2.1"), FakeServer("x"), FakeServer("192.0.2.66")
    silent.silent = forging.wrong_id = True
    async with good.serving("127.0.0.2"):
        silent.port = forging.port = good.port
        async with silent.serving("127.0.0.3"), forging.serving("127.0.0.4"):
            resolver = upstream(
                "127.0.0.3", "127.0.0.4", "127.0.0.2", port=good.port, parallel=parallel
            )
            async with proxied(resolver, table(["10.0.0.1"])) as (port, metrics):
                for _ in range(3):
                    reply = await over_udp(port, question("example.com"))
                    assert str(reply.rr[0].rdata) == "192.0.2.1"
                (reply,) = await over_tcp(port, question("example.com"))
                assert str(reply.rr[0].rdata) == "192.0.2.1"
                assert (await over_udp(port, question(KNOWN, "MX"))).rr, "only A and AAAA are ours"
                assert "istio_agent_dns_upstream_requests_total 5" in metrics.render()
            assert silent.asked
            assert forging.asked


async def test_no_upstream_answers() -> None:
    async with proxied(upstream("127.0.0.9", port=9), table(["10.0.0.1"])) as (port, metrics):
        reply = await over_udp(port, question("example.com"))
        assert reply.header.rcode == RCODE.SERVFAIL
        assert "istio_agent_dns_upstream_failures_total 1" in metrics.render()


async def test_nonsense_is_ignored() -> None:
    async with proxied(upstream(port=1), table(["10.0.0.1"])) as (port, _):
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_datagram_endpoint(
            Datagrams, remote_addr=("127.0.0.1", port)
        )
        transport.sendto(b"nonsense")
        transport.sendto(question("reviews").reply().pack())
        transport.sendto(question("reviews").pack())
        async with asyncio.timeout(30):
            assert DNSRecord.parse(await client.answers.get()).rr
        transport.close()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x00\x03abc")
        writer.close()
        assert (await over_tcp(port, question("reviews")))[0].rr
