"""Accepts TLS connections and joins each to one of its own to the gRPC server (A6)."""

import asyncio
import itertools
import os
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol, cast

import structlog

from mast.common.identity.tls_front.peers import Peer, PeerTable
from mast.common.identity.tls_front.trust import (
    Material,
    PeerRefused,
    Trust,
    verified_chain,
)

log = structlog.get_logger()

# Longest path of a Unix socket on Linux (unix(7)), less the terminating zero.
_LONGEST_PATH = 107


@dataclass(frozen=True)
class Limits:
    """What a caller may cost before it has proved anything."""

    connections: int = 20_000
    handshake: timedelta = timedelta(seconds=10)
    # How long the second end of a connection may take to flush once the first is gone.
    linger: timedelta = timedelta(seconds=5)


@dataclass(frozen=True)
class TlsFront:
    """A running front: the TCP port it is bound to and the callers behind it."""

    port: int
    peers: PeerTable


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
    trust = Trust(material)
    trust.refresh()
    peers = PeerTable()
    with (
        _listening(listen) as listener,
        tempfile.TemporaryDirectory(prefix="peer-", dir=upstream_path.parent) as directory,
    ):
        within = limits or Limits()
        front = _Front(_TlsDoor(trust, within), peers, upstream_path, Path(directory), within)
        port = int(listener.getsockname()[1])
        address = f"{listen.rpartition(':')[0]}:{port}"
        async with _accepting(front, listener, name=name, address=address, tls=True):
            yield TlsFront(port, peers)


@asynccontextmanager
async def socket_front(
    path: Path,
    upstream_path: Path,
    *,
    mode: int = 0o666,
    limits: Limits | None = None,
    name: str = "socket_front",
) -> AsyncIterator[PeerTable]:
    """Accept on a Unix socket and pipe it to the gRPC server at another; the kernel says who calls.

    The table knows every caller's ``uid`` (SO_PEERCRED). The rest is as for ``tls_front``.
    """
    _check_length(upstream_path)
    peers = PeerTable()
    with (
        _listening_at(path, mode) as listener,
        tempfile.TemporaryDirectory(prefix="peer-", dir=upstream_path.parent) as directory,
    ):
        within = limits or Limits()
        front = _Front(_SocketDoor(), peers, upstream_path, Path(directory), within)
        async with _accepting(front, listener, name=name, address=f"unix:{path}", tls=False):
            yield peers


@asynccontextmanager
async def _accepting(
    front: "_Front", listener: socket.socket, *, name: str, address: str, tls: bool
) -> AsyncIterator[None]:
    failure: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        accepting = tasks.create_task(front.accept(listener, tasks), name="tls_front.accept")
        log.info("service.listening", name=name, address=address, tls=tls)
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised below, not as a group of one
            failure = error
        finally:
            accepting.cancel()
            front.close()
    if failure is not None:
        raise failure


def _listening(listen: str) -> socket.socket:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - every address of the one family there is
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server(
            (host, int(port)), family=family, backlog=1024, dualstack_ipv6=host == "::"
        )
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {listen}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def _listening_at(path: Path, mode: int) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        listener.bind(str(path))
        path.chmod(mode)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {path}: {error.strerror}") from error
    return listener


def _check_length(path: Path) -> None:
    if len(os.fsencode(path)) + len("/peer-12345678/1234567890") > _LONGEST_PATH:
        raise OSError(f"Unix socket {path}: path too long, want at most 80 bytes")


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
        # Python before 3.11.4 forgets what a TLS transport consists of when it is closed twice.
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.close()


class _Door(Protocol):
    """How callers come in, and what is known of them then."""

    async def meet(self, connection: socket.socket) -> _End:
        """The caller's end of a connection; OSError if it does not come about."""
        ...

    def peer(self, caller: _End, address: str) -> Peer:
        """Who that is; PeerRefused if it is nobody for us."""
        ...


@dataclass(frozen=True)
class _TlsDoor:
    trust: Trust
    limits: Limits

    async def meet(self, connection: socket.socket) -> _End:
        _, caller = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: _End(asyncio.Event()),
            connection,
            ssl=self.trust.context(),
            ssl_handshake_timeout=self.limits.handshake.total_seconds(),
            ssl_shutdown_timeout=self.limits.linger.total_seconds(),
        )
        return caller

    def peer(self, caller: _End, address: str) -> Peer:
        names = self.trust.names(verified_chain(caller.transport))
        return Peer(names[:1], address, names)


class _SocketDoor:
    async def meet(self, connection: socket.socket) -> _End:
        loop = asyncio.get_running_loop()
        _, caller = await loop.connect_accepted_socket(lambda: _End(asyncio.Event()), connection)
        return caller

    def peer(self, caller: _End, address: str) -> Peer:
        connection = caller.transport.get_extra_info("socket")
        size = struct.calcsize("3i")
        _, uid, _ = struct.unpack(
            "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        return Peer(address=address, uid=uid)


class _Front:
    """Accepts connections and joins each to one of its own to the gRPC server."""

    def __init__(
        self, door: "_Door", peers: PeerTable, upstream: Path, directory: Path, limits: Limits
    ) -> None:
        self._door = door
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
                # A socket of both families tells IPv4 callers as ::ffff:10.0.0.1.
                self._serve(connection, str(address[0]).removeprefix("::ffff:") if address else ""),
                name="tls_front.connection",
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
            caller = await self._met(connection)
        except OSError as error:
            log.debug("tls_front.handshake_failed", address=address, error=str(error))
            return
        try:
            await self._pipe(caller, self._door.peer(caller, address))
        except PeerRefused as error:
            log.warning("tls_front.peer_refused", address=address, reason=str(error))
        except OSError as error:
            log.warning("tls_front.upstream_failed", path=str(self._upstream), error=str(error))
        finally:
            if not caller.closed.is_set():
                caller.transport.abort()
            await caller.closed.wait()

    async def _met(self, connection: socket.socket) -> _End:
        try:
            connection.setblocking(False)
            return await self._door.meet(connection)
        except BaseException:
            connection.close()
            raise

    async def _pipe(self, caller: _End, peer: Peer) -> None:
        path = str(self._directory / str(next(self._serial)))
        with self._peers.present(path, peer):
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
