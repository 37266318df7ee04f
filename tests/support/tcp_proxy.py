"""A TCP proxy between a client and a server, to break the connection between them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class TcpProxy:
    """Forwards ``endpoint`` to a target until it is cut or stalled; ``connections`` counts."""

    def __init__(self, target: str) -> None:
        self.connections = 0
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._open = True
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._pipes: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def endpoint(self) -> str:
        if self._server is None:
            raise RuntimeError("the proxy does not listen")
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        self._open = False
        for writer in self._pipes:
            writer.transport.abort()

    def heal(self) -> None:
        """Forward again."""
        self._open = True
        self._flowing.set()

    def stall(self) -> None:
        """Keep connections open but forward nothing: a network that swallows packets."""
        self._flowing.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pipes.add(writer)
        try:
            if not self._open:
                return
            self.connections += 1
            with suppress(OSError):
                back, forth = await asyncio.open_connection(self._host, self._port)
                self._pipes.add(forth)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._pipe(reader, forth))
                    tasks.create_task(self._pipe(back, writer))
                self._pipes.discard(forth)
        finally:
            self._pipes.discard(writer)
            writer.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def tcp_proxy(target: str) -> AsyncIterator[TcpProxy]:
    """A proxy on a free port of 127.0.0.1 in front of ``target`` (``host:port``)."""
    proxy = TcpProxy(target)
    proxy._server = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)  # noqa: SLF001
    try:
        yield proxy
    finally:
        proxy.heal()
        proxy.cut()
        proxy._server.close()  # noqa: SLF001
        await proxy._server.wait_closed()  # noqa: SLF001
