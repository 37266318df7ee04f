"""TLS to an adapter, through a Unix socket of our own that gRPC dials.

gRPC's own TLS takes no look at the identity in a certificate beside its DNS names; this does.
"""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

log = structlog.get_logger()

Context = Callable[[], ssl.SSLContext]
Accept = Callable[[ssl.SSLObject], str]
"""Why a server's certificate will not do, "" if it will."""

_CHUNK = 1 << 16
_SECONDS = 5.0
_LINGER = 1.0


class Tunnel:
    """Each connection to ``path`` becomes one of TLS to the server.

    ``context`` is made for each connection, so that renewed files count.
    """

    def __init__(self, address: str, server_name: str, context: Context, accept: Accept) -> None:
        """``address`` is ``HOST:PORT``; the certificate must be for ``server_name``."""
        host, _, port = address.rpartition(":")
        self._at = host.strip("[]"), int(port)
        self._server_name = server_name or self._at[0]
        self._context = context
        self._accept = accept
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Path]:
        """The socket to dial, within the block; connections end with it."""
        with tempfile.TemporaryDirectory(prefix="mast-mixer-") as directory:
            path = Path(directory, "adapter.sock")
            server = await asyncio.start_unix_server(self._serve, path)
            try:
                yield path
            finally:
                server.close()
                for task in self._connections:
                    task.cancel()
                if self._connections:
                    await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  a coroutine runs in one
        self._connections.add(task)
        try:
            async with _closing(writer):
                await self._carry(reader, writer)
        except asyncio.CancelledError:
            return  # the tunnel ends
        finally:
            self._connections.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                far_reader, far_writer = await self._dial()
        except (OSError, ValueError, TimeoutError) as error:
            log.warning("adapter.unreachable", server=self._server_name, error=str(error))
            return
        async with _closing(far_writer), asyncio.TaskGroup() as tasks:
            tasks.create_task(_copy(reader, far_writer))
            tasks.create_task(_copy(far_reader, writer))

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(
            *self._at, ssl=self._context(), server_hostname=self._server_name
        )
        complaint = self._accept(writer.get_extra_info("ssl_object"))
        if complaint:
            writer.transport.abort()
            raise OSError(complaint)
        return reader, writer


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Send what is still to be sent, if that does not take long, and close."""
    try:
        yield
    finally:
        writer.close()
        try:
            async with asyncio.timeout(_LINGER):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything that comes, until it ends; then nothing more goes the other way either."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()
