"""A TLS front before a gRPC server: client certificates that are optional, yet verified (A6).

grpcio either never asks for a client certificate or refuses callers without one. The front
terminates TLS itself and pipes the bytes to a gRPC server on a Unix socket. It binds its end of
every such connection to a path of its own, which the server sees as ``context.peer()``; the path
is the key under which :class:`PeerTable` keeps what the certificate proved.
Section numbers are those of citadel-and-agent.md.
"""

import asyncio
import itertools
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mast.common.spiffe import trust_domain_of

log = structlog.get_logger()

# Longest path of a Unix socket on Linux (unix(7)), less the terminating zero.
_LONGEST_PATH = 107


@dataclass(frozen=True)
class Material:
    """The server's certificate chain and key, and the roots (PEM) of each trust domain."""

    cert_chain_pem: bytes
    key_pem: bytes
    trust: Mapping[str, bytes]


@dataclass(frozen=True)
class Limits:
    """What a caller may cost before it has proved anything."""

    connections: int = 20_000
    handshake: timedelta = timedelta(seconds=10)
    # How long the second end of a connection may take to flush once the first is gone.
    linger: timedelta = timedelta(seconds=5)


@dataclass(frozen=True)
class _Peer:
    identities: tuple[str, ...]
    address: str


class PeerTable:
    """What is known of the callers that are connected through a front."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}

    def identities(self, grpc_peer: str) -> tuple[str, ...]:
        """The verified URI SANs of a caller; () without certificate or for an unknown path."""
        peer = self._find(grpc_peer)
        return peer.identities if peer else ()

    def address(self, grpc_peer: str) -> str:
        """The IP address of a caller, "" for an unknown path."""
        peer = self._find(grpc_peer)
        return peer.address if peer else ""

    def __len__(self) -> int:
        return len(self._peers)

    def _find(self, grpc_peer: str) -> _Peer | None:
        return self._peers.get(unquote(grpc_peer.removeprefix("unix:")))

    @asynccontextmanager
    async def _present(self, path: str, peer: _Peer) -> AsyncIterator[None]:
        self._peers[path] = peer
        try:
            yield
        finally:
            del self._peers[path]


@dataclass(frozen=True)
class TlsFront:
    """A running front: the TCP port it is bound to and the callers behind it."""

    port: int
    peers: PeerTable


class PeerRefused(Exception):
    """A client certificate that is valid in itself, but vouches for no identity here."""


@asynccontextmanager
async def tls_front(
    listen: str,
    upstream_path: Path,
    material: Callable[[], Material],
    *,
    limits: Limits | None = None,
    name: str = "tls_front",
) -> AsyncIterator[TlsFront]:
    """Accept TLS (>= 1.2, ALPN h2) on ``host:port`` and pipe it to the gRPC server at a Unix path.

    A caller may present a certificate; then exactly one URI SAN is wanted, and the chain must
    end in a root of that SAN's trust domain (A6). ``material`` is asked for every connection:
    return the same object while nothing changed. New material counts for new connections;
    material that does not load is logged, and the last good one stays. ``name`` is the
    listener's in the log. Raises OSError if the address cannot be bound, ValueError or OSError
    (SSLError) if the first material does not load.

    Enter it before the gRPC server and leave it after, so that the server drains its calls first.
    The directory of ``upstream_path`` should be private (0700): whoever can connect to that socket
    is a caller without certificate.
    """
    _check_length(upstream_path)
    trust = _Trust(material)
    trust.refresh()
    peers = PeerTable()
    with (
        _listening(listen) as listener,
        tempfile.TemporaryDirectory(prefix="peer-", dir=upstream_path.parent) as directory,
    ):
        front = _Front(trust, peers, upstream_path, Path(directory), limits or Limits())
        port = int(listener.getsockname()[1])
        async with asyncio.TaskGroup() as tasks:
            accepting = tasks.create_task(front.accept(listener, tasks), name="tls_front.accept")
            log.info(
                "service.listening",
                name=name,
                address=f"{listen.rpartition(':')[0]}:{port}",
                tls=True,
            )
            try:
                yield TlsFront(port, peers)
            finally:
                accepting.cancel()
                front.close()


def _listening(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server(
            (host, int(port)), family=family, backlog=1024, dualstack_ipv6=host == "::"
        )
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {listen}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def _check_length(path: Path) -> None:
    if len(os.fsencode(path)) + len("/peer-12345678/1234567890") > _LONGEST_PATH:
        raise OSError(f"Unix socket {path}: path too long, want at most 80 bytes")


def server_context(material: Material) -> ssl.SSLContext:
    """A context that asks for, but does not demand, a client certificate.

    Sessions are never resumed across contexts and tickets are off; the front makes one context per
    connection, since a resumed session would skip the verification against current roots.
    Raises ssl.SSLError (an OSError) if the PEM does not load.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["h2"])
    for roots in material.trust.values():
        context.load_verify_locations(cadata=roots.decode())
    # The ssl module reads keys from files only; this one lives in memory.
    pair = os.memfd_create("tls", os.MFD_CLOEXEC)
    try:
        os.write(pair, material.key_pem + b"\n" + material.cert_chain_pem)
        context.load_cert_chain(f"/proc/self/fd/{pair}")
    finally:
        os.close(pair)
    return context


@dataclass
class _Trust:
    """The material in force: the newest that loads."""

    source: Callable[[], Material]
    offered: Material | None = None
    current: Material = field(init=False)
    pools: Mapping[str, frozenset[bytes]] = field(init=False)

    def refresh(self) -> None:
        """Take up new material; raises ValueError or OSError if it does not load."""
        offered = self.source()
        if offered is self.offered:
            return
        self.offered = offered
        server_context(offered)
        self.pools = {domain: _ders(roots) for domain, roots in offered.trust.items()}
        self.current = offered

    def context(self) -> ssl.SSLContext:
        """A context for one connection, of new material if that loads."""
        try:
            self.refresh()
        except (OSError, ValueError) as error:
            log.error("tls_front.material_rejected", error=str(error))
        return server_context(self.current)


def _ders(roots_pem: bytes) -> frozenset[bytes]:
    return frozenset(
        root.public_bytes(Encoding.DER) for root in x509.load_pem_x509_certificates(roots_pem)
    )


_UNREADABLE = (
    ValueError,
    x509.InvalidVersion,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def verified_identities(
    chain: list[bytes], pools: Mapping[str, frozenset[bytes]]
) -> tuple[str, ...]:
    """The one URI SAN of a verified chain (DER, leaf first, root last); () for no chain.

    Raises PeerRefused unless the leaf has exactly one URI SAN, it is a SPIFFE ID, and the root is
    in the pool of its trust domain (A6).
    """
    if not chain:
        return ()
    try:
        names = x509.load_der_x509_certificate(chain[0]).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    except _UNREADABLE as error:
        raise PeerRefused(f"client certificate: no readable SAN: {error}") from error
    if len(uris) != 1:
        raise PeerRefused(f"client certificate: {len(uris)} URI SANs, want exactly one")
    try:
        domain = trust_domain_of(uris[0])
    except ValueError as error:
        raise PeerRefused(f"client certificate: {error}") from error
    if chain[-1] not in pools.get(domain, ()):
        raise PeerRefused(f"client certificate: {uris[0]} under a root of another trust domain")
    return (uris[0],)


def _verified_chain(transport: asyncio.BaseTransport) -> list[bytes]:
    ssl_object = transport.get_extra_info("ssl_object")
    if ssl_object.getpeercert(binary_form=True) is None:
        return []
    # Public from Python 3.13 on, there as a list of DER.
    raw: Any = ssl_object._sslobj  # noqa: SLF001
    chain = raw.get_verified_chain()
    if not chain:
        raise PeerRefused("client certificate: no verified chain")
    return [certificate.public_bytes(ssl._ssl.ENCODING_DER) for certificate in chain]  # type: ignore[attr-defined]  # noqa: SLF001


class _End(asyncio.Protocol):
    """One end of a connection: what it receives goes to the other end.

    Writing stalls reading of the other end; closing closes it after a flush.
    """

    def __init__(self, ended: asyncio.Event) -> None:
        self.transport: asyncio.Transport
        self.other: _End | None = None
        self.closed = asyncio.Event()
        self.ended = ended  # of the pair: either end is closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.pause_reading()  # until both ends are there

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self.ended.set()
        if self.other is not None:
            self.other.transport.close()


class _Front:
    """Accepts connections and joins each to one of its own to the gRPC server."""

    def __init__(
        self, trust: _Trust, peers: PeerTable, upstream: Path, directory: Path, limits: Limits
    ) -> None:
        self._trust = trust
        self._peers = peers
        self._upstream = upstream
        self._directory = directory
        self._limits = limits
        self._serial = itertools.count(1)
        self._open: set[asyncio.Task[None]] = set()
        self._full = False

    def close(self) -> None:
        for task in self._open:
            task.cancel()

    async def accept(self, listener: socket.socket, tasks: asyncio.TaskGroup) -> None:
        """Start a task per connection, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:  # out of file descriptors, or the caller is gone already
                log.warning("tls_front.accept_failed", error=str(error))
                await asyncio.sleep(0.1)
                continue
            if self._overloaded():
                connection.close()
                continue
            task = tasks.create_task(
                self._serve(connection, str(address[0])), name="tls_front.connection"
            )
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    def _overloaded(self) -> bool:
        full = len(self._open) >= self._limits.connections
        if full and not self._full:
            log.warning("tls_front.full", connections=len(self._open))
        self._full = full
        return full

    async def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            caller = await self._handshake(connection)
        except OSError as error:
            log.debug("tls_front.handshake_failed", address=address, error=str(error))
            return
        try:
            identities = verified_identities(_verified_chain(caller.transport), self._trust.pools)
            await self._pipe(caller, _Peer(identities, address))
        except PeerRefused as error:
            log.warning("tls_front.peer_refused", address=address, reason=str(error))
        except OSError as error:
            log.warning("tls_front.upstream_failed", path=str(self._upstream), error=str(error))
        finally:
            caller.transport.abort()
            await caller.closed.wait()

    async def _handshake(self, connection: socket.socket) -> _End:
        loop = asyncio.get_running_loop()
        try:
            connection.setblocking(False)
            _, caller = await loop.connect_accepted_socket(
                lambda: _End(asyncio.Event()),
                connection,
                ssl=self._trust.context(),
                ssl_handshake_timeout=self._limits.handshake.total_seconds(),
                ssl_shutdown_timeout=self._limits.linger.total_seconds(),
            )
        except BaseException:
            connection.close()
            raise
        return caller

    async def _pipe(self, caller: _End, peer: _Peer) -> None:
        path = str(self._directory / str(next(self._serial)))
        async with self._peers._present(path, peer):  # noqa: SLF001
            server = await self._connect(path, caller.ended)
            try:
                caller.other, server.other = server, caller
                if caller.closed.is_set():
                    return
                caller.transport.resume_reading()
                server.transport.resume_reading()
                await self._both_closed(caller, server)
            finally:
                server.transport.abort()
                await server.closed.wait()

    async def _connect(self, path: str, ended: asyncio.Event) -> _End:
        """A connection to the server from ``path``, which is unlinked again: its name suffices."""
        loop = asyncio.get_running_loop()
        upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            upstream.bind(path)
            try:
                async with asyncio.timeout(self._limits.handshake.total_seconds()):
                    await loop.sock_connect(upstream, str(self._upstream))
            finally:
                os.unlink(path)
            _, server = await loop.create_unix_connection(lambda: _End(ended), sock=upstream)
        except BaseException:
            upstream.close()
            raise
        return server

    async def _both_closed(self, caller: _End, server: _End) -> None:
        """Return when both ends are closed, the second at most ``linger`` after the first."""
        await caller.ended.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.linger.total_seconds()):
                await caller.closed.wait()
                await server.closed.wait()
