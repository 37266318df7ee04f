"""HTTP as no library would write it: bytes of requests, whatever they are, and what comes back."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from tests.support.http_probe import SECONDS, serving

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Lines = Sequence[str | bytes]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 1, 3, 4, 7
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4


@dataclass(frozen=True)
class Seen:
    """A request as it reached an application: its header lines as they were written."""

    method: str
    path: str
    lines: Sequence[str]

    def values(self, name: str) -> Sequence[str]:
        """The values of all lines of a header."""
        split = (each.partition(":") for each in self.lines)
        return [value.strip() for key, _, value in split if key.lower() == name]


@dataclass
class Application:
    """Answers every request with 200, and keeps what it was asked."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
                method, _, rest = first.partition(" ")
                asked = Seen(method, rest.rpartition(" ")[0], lines)
                await _read_body(reader, asked)
                self.seen.append(asked)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
        writer.close()


async def _read_body(reader: asyncio.StreamReader, asked: Seen) -> None:
    if length := asked.values("content-length"):
        await reader.readexactly(int(length[0]))
    elif asked.values("transfer-encoding"):
        while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
            await reader.readexactly(size + 2)
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass


@asynccontextmanager
async def application() -> AsyncIterator[Application]:
    """An application on a port of its own."""
    made = Application()
    async with serving(made.serve) as made.port:
        yield made


def request(method: str, path: str, *lines: str | bytes, body: bytes = b"") -> bytes:
    """A request of HTTP/1.1 with exactly these header lines."""
    first = f"{method} {path} HTTP/1.1".encode("latin-1")
    written = [each.encode("latin-1") if isinstance(each, str) else each for each in lines]
    return b"\r\n".join([first, *written]) + b"\r\n\r\n" + body


async def statuses(connection: Connection, sent: bytes) -> list[int]:
    """Statuses of the answers to some bytes, up to the one that is said to be the last."""
    reader, writer = connection
    writer.write(sent)
    found = []
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        async with asyncio.timeout(SECONDS):
            last = False
            while not last:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                first, *lines = head.split("\r\n")
                found.append(int(first.split(" ")[1]))
                await _read_body(reader, Seen("", "", lines))
                last = "connection: close" in lines
    return found


async def http2_ends(connection: Connection, headers: Iterable[tuple[str, str]]) -> None:
    """Send one request of HTTP/2 with exactly these headers; back when its stream has ended.

    Headers are literals without any compression, so that no encoder has an opinion on them.
    """
    reader, writer = connection
    block = b"".join(_literal(name, value) for name, value in headers)
    writer.write(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
    writer.write(_frame(_HEADERS, _END_HEADERS | _END_STREAM, 1, block))
    async with asyncio.timeout(SECONDS):
        while not await _ended(reader, writer):
            pass


async def _ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Read one frame: whether the stream, or the connection, is over with it."""
    try:
        head = await reader.readexactly(9)
        kind, flags = head[3], head[4]
        await reader.readexactly(int.from_bytes(head[:3]))
    except (asyncio.IncompleteReadError, ConnectionError):
        return True
    if kind == _SETTINGS and not flags & _ACK:
        writer.write(_frame(_SETTINGS, _ACK, 0, b""))
    about_stream = int.from_bytes(head[5:9]) == 1
    return kind == _GOAWAY or (about_stream and (kind == _RST_STREAM or bool(flags & _END_STREAM)))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + struct.pack(">BBI", kind, flags, stream) + payload


def _literal(name: str, value: str) -> bytes:
    """A header field that is never indexed, neither part of it compressed (RFC 7541 §6.2.3)."""
    return b"\x10" + _string(name) + _string(value)


def _string(text: str) -> bytes:
    raw = text.encode("latin-1")
    assert len(raw) < 127
    return bytes([len(raw)]) + raw
