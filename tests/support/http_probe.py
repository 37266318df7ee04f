"""A small HTTP/1.1 client and echo servers, to see what a proxy makes of requests."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

SECONDS = 10


class Closed(Exception):
    """The peer ended the connection without an answer."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer: header names in lower case, of repeated ones the values in order."""

    status: int
    headers: Mapping[str, list[str]]
    body: bytes

    def header(self, name: str) -> str:
        """The values of a header, joined by commas; empty if it is absent."""
        return ",".join(self.headers.get(name, []))

    @property
    def echo(self) -> "Echo":
        """What the echo server that answered had been sent."""
        return Echo(**json.loads(self.body))


@dataclass(frozen=True, kw_only=True)
class Echo:
    """A request as an echo server saw it."""

    server: str
    method: str
    path: str
    headers: Mapping[str, list[str]]

    def header(self, name: str) -> str:
        """The values of a header, joined by commas; empty if it is absent."""
        return ",".join(self.headers.get(name, []))


@dataclass
class EchoServer:
    """Answers with what it was asked. Paths below `/status/` choose the status, `/hang` is silent.

    `seen` holds all requests in order; `statuses` are given to the next requests before that;
    `delays` are seconds that answers take, by path.
    """

    name: str
    port: int = 0
    seen: list[Echo] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    delays: dict[str, float] = field(default_factory=dict)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def wait_for(self, count: int) -> list[Echo]:
        """All requests, once there are that many."""
        async with asyncio.timeout(SECONDS), self.arrived:
            await self.arrived.wait_for(lambda: len(self.seen) >= count)
            return list(self.seen)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                method, path, headers, _ = await _read_request(reader)
                await self._answer(
                    writer, Echo(server=self.name, method=method, path=path, headers=headers)
                )
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, echo: Echo) -> None:
        async with self.arrived:
            self.seen.append(echo)
            self.arrived.notify_all()
        if echo.path.startswith("/hang"):
            return
        await asyncio.sleep(self.delays.get(echo.path, 0))
        status = 200
        if echo.path.startswith("/status/"):
            status = int(echo.path.removeprefix("/status/")[:3])
        if self.statuses:
            status = self.statuses.pop(0)
        body = json.dumps(vars(echo)).encode()
        head = f"HTTP/1.1 {status} Said\r\ncontent-length: {len(body)}\r\nx-upstream: {self.name}"
        writer.write(f"{head}\r\n\r\n".encode() + (b"" if echo.method == "HEAD" else body))
        await writer.drain()


@asynccontextmanager
async def echo_server(name: str) -> AsyncIterator[EchoServer]:
    """An echo server on a port of its own."""
    server = EchoServer(name)
    async with serving(server.serve) as server.port:
        yield server


@asynccontextmanager
async def serving(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """A TCP server on 127.0.0.1; gives its port."""
    listening = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


@asynccontextmanager
async def dial(
    port: int,
    *,
    address: str = "127.0.0.1",
    captured_for: str = "",
    tls: ssl.SSLContext | None = None,
    server_name: str = "",
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection; `captured_for` is the IP:PORT that was dialled before capture.

    It travels in a PROXY protocol header, which stands for what iptables would tell.
    """
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(address, port)
    try:
        if captured_for:
            ip, _, number = captured_for.rpartition(":")
            writer.write(f"PROXY TCP4 192.0.2.1 {ip} 40000 {number}\r\n".encode())
        if tls:
            async with asyncio.timeout(SECONDS):
                await writer.start_tls(tls, server_hostname=server_name or None)
        yield reader, writer
    finally:
        writer.transport.abort()


async def fetch(
    port: int,
    host: str,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    captured_for: str = "",
    tls: ssl.SSLContext | None = None,
    server_name: str = "",
    seconds: float = SECONDS,
    address: str = "127.0.0.1",
) -> Reply:
    """Send one request and read the answer; raises `Closed` if none comes."""
    try:
        async with (
            asyncio.timeout(seconds),
            dial(
                port,
                address=address,
                captured_for=captured_for,
                tls=tls,
                server_name=server_name,
            ) as (reader, writer),
        ):
            lines = [f"{method} {path} HTTP/1.1", f"host: {host}"]
            lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            return await _read_reply(reader, method)
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError) as error:
        raise Closed(str(error)) from error


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, list[str]]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *rest = head.rstrip().split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in rest:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return first, headers


async def _read_request(
    reader: asyncio.StreamReader,
) -> tuple[str, str, dict[str, list[str]], bytes]:
    first, headers = await _read_head(reader)
    method, path, _ = first.split(" ", 2)
    body = await reader.readexactly(int(headers.get("content-length", ["0"])[0]))
    return method, path, headers, body


async def _read_reply(reader: asyncio.StreamReader, method: str) -> Reply:
    first, headers = await _read_head(reader)
    status = int(first.split(" ", 2)[1])
    body = b""
    if method != "HEAD":
        body = await reader.readexactly(int(headers.get("content-length", ["0"])[0]))
    return Reply(status=status, headers=headers, body=body)
