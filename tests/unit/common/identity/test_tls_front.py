"""The TLS front, with real gRPC and TLS clients (citadel-and-agent.md A6)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from mast.common.identity.tls_front import (
    Limits,
    Material,
    PeerRefused,
    PeerTable,
    TlsFront,
    tls_front,
    verified_identities,
)
from tests.support.pki import DAY, Ca, Pair

ME = "spiffe://cluster.local/ns/shop/sa/reviews"
METHOD = "/test.Who/AmI"
SERVER_NAME = "istiod.istio-system.svc"


@dataclass
class World:
    """A front, the CAs around it, and a server behind it that tells callers who they are."""

    ca: Ca
    other: Ca
    material: Material
    directory: Path
    front: TlsFront = field(init=False)
    table: PeerTable = field(default_factory=PeerTable)

    @property
    def socket(self) -> Path:
        return self.directory / "grpc.sock"

    def channel(self, pair: Pair | None = None, roots: bytes | None = None) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            roots or self.ca.pem, pair.key if pair else None, pair.chain if pair else None
        )
        return grpc.aio.secure_channel(
            f"127.0.0.1:{self.front.port}",
            credentials,
            options=[
                ("grpc.ssl_target_name_override", SERVER_NAME),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )

    async def who(self, pair: Pair | None = None, roots: bytes | None = None) -> str:
        async with self.channel(pair, roots) as channel:
            return await ask(channel)

    async def deserted(self) -> None:
        """Return once nobody is connected."""
        connections = [
            task for task in asyncio.all_tasks() if task.get_name() == "tls_front.connection"
        ]
        if connections:
            await asyncio.wait(connections, timeout=10)
        assert len(self.front.peers) == 0
        assert list(self.directory.glob("peer-*/*")) == []


async def ask(channel: grpc.aio.Channel) -> str:
    method: Any = channel.unary_unary(METHOD)
    answer: bytes = await method(b"", timeout=10)
    return answer.decode()


def server_material(ca: Ca, trust: dict[str, bytes]) -> Material:
    pair = ca.leaf(dns=[SERVER_NAME])
    return Material(pair.chain, pair.key, trust)


@pytest.fixture
def world(directory: Path) -> World:
    ca, other = Ca.root("ours"), Ca.root("theirs")
    trust = {"cluster.local": ca.pem, "partner.example": other.pem}
    return World(ca, other, server_material(ca, trust), directory)


@asynccontextmanager
async def running(world: World, **limits: Any) -> AsyncIterator[World]:
    async with (
        tls_front(
            "127.0.0.1:0", world.socket, lambda: world.material, limits=Limits(**limits)
        ) as front,
        who_server(world.socket, front.peers),
    ):
        world.front = front
        yield world


@asynccontextmanager
async def who_server(socket: Path, table: PeerTable) -> AsyncIterator[None]:
    async def who(_: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        names = table.identities(context.peer())
        return f"{table.address(context.peer())} {','.join(names)}".encode()

    async def echo(
        requests: AsyncIterator[bytes], _: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request

    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "AmI": grpc.unary_unary_rpc_method_handler(who),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", handlers),))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(None)


def client_context(world: World, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=world.ca.pem.decode())
    context.set_alpn_protocols(["h2"])
    if version is not None:
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = version
    return context


def present(context: ssl.SSLContext, pair: Pair, directory: Path) -> None:
    (directory / "pair.pem").write_bytes(pair.key + pair.chain)
    context.load_cert_chain(directory / "pair.pem")


async def connect(
    world: World, context: ssl.SSLContext
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(
        "127.0.0.1", world.front.port, ssl=context, server_hostname=SERVER_NAME
    )


@asynccontextmanager
async def handshaken(
    world: World, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> AsyncIterator[ssl.SSLObject]:
    """A TLS session over a TCP connection that nobody reads any more."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=SERVER_NAME, session=session)
    reader, writer = await asyncio.open_connection("127.0.0.1", world.front.port)
    with closing(writer):
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65536))
            else:
                break
        writer.write(outgoing.read())
        yield tls


@pytest.mark.parametrize("dual", [True, False], ids=["both-families", "no-ipv6"])
async def test_every_address(world: World, monkeypatch: pytest.MonkeyPatch, dual: bool) -> None:
    if not dual:
        monkeypatch.setattr("socket.has_dualstack_ipv6", lambda: False)
    everywhere = tls_front("[::]:0", world.socket, lambda: world.material)
    async with everywhere as world.front, who_server(world.socket, world.front.peers):
        assert (await world.who()).startswith("127.0.0.1")


async def test_caller_without_certificate_has_no_identity(world: World) -> None:
    async with running(world):
        assert await world.who() == "127.0.0.1 "
        await world.deserted()


async def test_certificate_of_the_own_ca_is_seen(world: World) -> None:
    async with running(world):
        assert await world.who(world.ca.leaf(uris=[ME], dns=["ignored"])) == f"127.0.0.1 {ME}"
        await world.deserted()


async def test_chain_over_an_intermediate_is_seen(world: World) -> None:
    async with running(world):
        pair = world.ca.intermediate().leaf(uris=[ME])
        assert await world.who(pair) == f"127.0.0.1 {ME}"


async def test_callers_are_told_apart(world: World) -> None:
    async with running(world):
        names = [f"spiffe://cluster.local/ns/shop/sa/{n}" for n in range(5)]
        channels = [world.channel(world.ca.leaf(uris=[name])) for name in names]
        async with asyncio.TaskGroup() as tasks:
            answers = [tasks.create_task(ask(channel)) for channel in channels]
        assert [answer.result() for answer in answers] == [f"127.0.0.1 {n}" for n in names]
        assert len(world.front.peers) == 5
        for channel in channels:
            await channel.close()
        await world.deserted()


async def test_each_trust_domain_has_its_own_roots(world: World) -> None:
    theirs = "spiffe://partner.example/ns/a/sa/b"
    async with running(world):
        assert await world.who(world.other.leaf(uris=[theirs])) == f"127.0.0.1 {theirs}"


def expired(world: World) -> Pair:
    return world.ca.leaf(uris=[ME], valid=(-2 * DAY, -DAY))


@pytest.mark.parametrize(
    "pair_of",
    [
        pytest.param(lambda _: Ca.root("foreign").leaf(uris=[ME]), id="foreign-ca"),
        pytest.param(expired, id="expired"),
        pytest.param(lambda w: w.other.leaf(uris=[ME]), id="root-of-another-trust-domain"),
        pytest.param(lambda w: w.ca.leaf(uris=["spiffe://nobody/a"]), id="unknown-trust-domain"),
        pytest.param(lambda w: w.ca.leaf(uris=[ME, ME + "2"]), id="two-uri-sans"),
        pytest.param(lambda w: w.ca.leaf(dns=["reviews.shop"]), id="no-uri-san"),
        pytest.param(lambda w: w.ca.leaf(), id="no-san"),
        pytest.param(lambda w: w.ca.leaf(uris=["https://cluster.local/"]), id="no-spiffe-id"),
    ],
)
async def test_refused_certificates(world: World, pair_of: Any) -> None:
    async with running(world):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.who(pair_of(world))
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert await world.who() == "127.0.0.1 "
        await world.deserted()


async def test_a_revoked_certificate_is_refused(world: World) -> None:
    lost, good = (world.ca.leaf(uris=[ME]) for _ in range(2))
    below = world.ca.intermediate()
    gone = frozenset((lost.leaf.serial_number, below.certificate.serial_number))
    async with running(world):
        assert ME in await world.who(lost)
        world.material = replace(world.material, revoked=gone)
        for pair in (lost, below.leaf(uris=[ME])):
            with pytest.raises(grpc.aio.AioRpcError):
                await world.who(pair)
        assert ME in await world.who(good)


async def test_who_reaches_the_socket_past_the_front_has_no_identity(world: World) -> None:
    async with (
        running(world),
        world.channel(world.ca.leaf(uris=[ME])) as known,
        grpc.aio.insecure_channel(f"unix:{world.socket}") as direct,
    ):
        assert await ask(known) == f"127.0.0.1 {ME}"
        assert await ask(direct) == " "


async def test_new_material_counts_for_new_connections_and_leaves_old_ones_alone(
    world: World,
) -> None:
    newer = Ca.root("newer")
    old_pair = world.ca.leaf(uris=[ME])
    async with running(world), world.channel(old_pair) as old:
        stream: Any = old.stream_stream("/test.Who/Echo")(timeout=30)
        await stream.write(b"before")
        assert await stream.read() == b"before"

        world.material = server_material(newer, {"cluster.local": newer.pem})

        new_pair = newer.leaf(uris=[ME])
        assert await world.who(new_pair, roots=newer.pem) == f"127.0.0.1 {ME}"
        for pair, roots in ((new_pair, world.ca.pem), (old_pair, newer.pem)):
            with pytest.raises(grpc.aio.AioRpcError):
                await world.who(pair, roots=roots)
        await stream.write(b"after")
        assert await stream.read() == b"after"
        assert await ask(old) == f"127.0.0.1 {ME}"
        stream.cancel()
    assert len(world.front.peers) == 0


async def test_material_that_does_not_load_is_logged_once_and_the_last_good_stays(
    world: World,
) -> None:
    async with running(world):
        world.material = Material(b"no certificate", b"no key", {})
        with capture_logs() as logs:
            assert await world.who() == "127.0.0.1 "
            assert await world.who(world.ca.leaf(uris=[ME])) == f"127.0.0.1 {ME}"
        events = [log["event"] for log in logs if log["log_level"] == "error"]
        assert events == ["tls_front.material_rejected"]


async def test_first_material_must_load(world: World) -> None:
    world.material = Material(b"no certificate", b"no key", {})
    with pytest.raises(OSError, match=r"PEM|SSL"):
        async with running(world):
            pass


async def test_sessions_are_never_resumed(world: World) -> None:
    context = client_context(world, ssl.TLSVersion.TLSv1_2)
    present(context, world.ca.leaf(uris=[ME]), world.directory)
    async with running(world):
        _, first = await connect(world, context)
        session = first.get_extra_info("ssl_object").session
        first.transport.abort()

        async with handshaken(world, context, session) as again:
            assert not again.session_reused


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_protocol_versions(world: World) -> None:
    async with running(world):
        for version, name in (
            (ssl.TLSVersion.TLSv1_2, "TLSv1.2"),
            (ssl.TLSVersion.TLSv1_3, "TLSv1.3"),
        ):
            _, writer = await connect(world, client_context(world, version))
            agreed = writer.get_extra_info("ssl_object")
            assert (agreed.version(), agreed.selected_alpn_protocol()) == (name, "h2")
            writer.transport.abort()
        old = client_context(world, ssl.TLSVersion.TLSv1_1)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with capture_logs() as logs, pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(world, old)
        assert "UNSUPPORTED_PROTOCOL" in logs[-1]["error"]


async def test_silent_and_nonsensical_callers_are_dropped(world: World) -> None:
    async with running(world, handshake=timedelta(milliseconds=200)):
        silent, silent_writer = await asyncio.open_connection("127.0.0.1", world.front.port)
        plain, plain_writer = await asyncio.open_connection("127.0.0.1", world.front.port)
        with closing(silent_writer), closing(plain_writer):
            plain_writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            async with asyncio.timeout(30):
                assert await silent.read() == b""
                await plain.read()
        assert await world.who() == "127.0.0.1 "


async def test_connections_over_the_limit_are_closed_at_once(world: World) -> None:
    async with running(world, connections=2):
        first, second = world.channel(), world.channel()
        assert [await ask(first), await ask(second)] == ["127.0.0.1 "] * 2
        with capture_logs() as logs:
            for _ in range(2):
                with pytest.raises(grpc.aio.AioRpcError):
                    await world.who()
        assert [log["event"] for log in logs].count("tls_front.full") == 1
        await first.close()
        await second.close()
        await world.deserted()
        async with asyncio.timeout(30):
            assert await world.who() == "127.0.0.1 "


async def test_server_down_ends_the_connection_and_up_again_serves(world: World) -> None:
    async with tls_front("127.0.0.1:0", world.socket, lambda: world.material) as front:
        world.front = front
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.who()
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        async with who_server(world.socket, front.peers):
            assert await world.who() == "127.0.0.1 "


@asynccontextmanager
async def raw_server(world: World, serve: Any) -> AsyncIterator[World]:
    """A front before a plain Unix socket server."""
    server = await asyncio.start_unix_server(serve, world.socket)
    async with server, tls_front("127.0.0.1:0", world.socket, lambda: world.material) as front:
        world.front = front
        yield world


async def test_what_the_server_wrote_before_closing_arrives(world: World) -> None:
    size = 4 << 20

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * size)
        writer.close()

    async with raw_server(world, serve), asyncio.timeout(20):
        reader, writer = await connect(world, client_context(world))
        assert len(await reader.read()) == size
        writer.close()
        await writer.wait_closed()
        await world.deserted()


async def test_what_the_caller_wrote_before_closing_arrives(world: World) -> None:
    size = 4 << 20
    received: asyncio.Queue[int] = asyncio.Queue(1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(len(await reader.read()))
        writer.close()

    async with raw_server(world, serve), asyncio.timeout(20):
        _, writer = await connect(world, client_context(world))
        writer.write(b"x" * size)
        writer.close()
        assert await received.get() == size
        await world.deserted()


async def test_a_slow_server_stalls_the_caller(world: World) -> None:
    go = asyncio.Event()
    total = 64 << 20
    received: asyncio.Queue[int] = asyncio.Queue(1)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        count = 0
        while count < total:
            count += len(await reader.read(1 << 20))
        received.put_nowait(count)
        writer.close()

    async with raw_server(world, serve), asyncio.timeout(60):
        _, writer = await connect(world, client_context(world))
        sent = 0
        block = b"x" * (1 << 20)
        try:
            while True:
                writer.write(block)
                sent += len(block)
                async with asyncio.timeout(1):
                    await writer.drain()
        except TimeoutError:
            pass
        assert sent < total / 2  # socket and TLS buffers only
        go.set()
        writer.write(b"x" * (total - sent))
        assert await received.get() == total
        writer.close()


async def test_a_caller_that_does_not_close_lingers_no_longer_than_allowed(world: World) -> None:
    """It never answers the front's close_notify, nor ends the TCP connection."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_unix_server(serve, world.socket)
    limits = Limits(linger=timedelta(milliseconds=100))
    async with (
        server,
        tls_front("127.0.0.1:0", world.socket, lambda: world.material, limits=limits) as front,
        asyncio.timeout(30),
    ):
        world.front = front
        async with handshaken(world, client_context(world)):
            await world.deserted()


async def test_leaving_closes_open_connections(world: World) -> None:
    async with running(world):
        channel = world.channel()
        stream: Any = channel.stream_stream("/test.Who/Echo")()
        await stream.write(b"a")
        assert await stream.read() == b"a"
    with pytest.raises(grpc.aio.AioRpcError):
        await stream.read()
    await channel.close()
    assert sorted(path.name for path in world.directory.iterdir()) == []


async def test_unusable_addresses(world: World) -> None:
    async with running(world):
        taken = f"127.0.0.1:{world.front.port}"
        with pytest.raises(OSError, match=f"cannot listen on {taken}"):
            async with tls_front(taken, world.socket, lambda: world.material):
                pass
    long = world.directory / ("x" * 100)
    with pytest.raises(OSError, match="path too long"):
        async with tls_front("127.0.0.1:0", long, lambda: world.material):
            pass


async def test_ipv6(world: World) -> None:
    async with (
        tls_front("[::1]:0", world.socket, lambda: world.material) as front,
        who_server(world.socket, front.peers),
        grpc.aio.secure_channel(
            f"[::1]:{front.port}",
            grpc.ssl_channel_credentials(world.ca.pem),
            options=[("grpc.ssl_target_name_override", SERVER_NAME)],
        ) as channel,
    ):
        assert await ask(channel) == "::1 "


def test_chain_that_is_no_certificate_is_refused() -> None:
    with pytest.raises(PeerRefused, match="no readable SAN"):
        verified_identities([b"junk"], {})
