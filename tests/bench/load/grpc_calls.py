"""Unary gRPC calls over one connection, some at a time, from a process of its own, for little CPU.

Like `grpc_stream` this speaks just enough HTTP/2, and answers are not read: count them on the side
that gives them.
"""

import asyncio
import os
import struct
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from tests.bench.load.http_calls import Taken

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE: Final = 4
WINDOW: Final = 1 << 30
DEFAULT_WINDOW: Final = 65_535
FRAME: Final = 16_384
_HEADER: Final = struct.Struct(">HBBBI")
_SECONDS: Final = 30


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Calls of a method, with these messages in turn, ``at_once`` of them under way.

    ``metadata`` goes with every call; ``core`` is where the process runs.
    """

    port: int
    path: str
    messages: Sequence[bytes]
    seconds: float
    at_once: int = 8
    metadata: tuple[tuple[str, str], ...] = ()
    core: int | None = None


def run(calls: Calls) -> Taken:
    """Make calls for a while; for a process that does nothing else."""
    if calls.core is not None:
        os.sched_setaffinity(0, {calls.core})
    return asyncio.run(_run(calls))


async def _run(calls: Calls) -> Taken:
    loop = asyncio.get_running_loop()
    _, caller = await loop.create_connection(lambda: _Caller(calls), "127.0.0.1", calls.port)
    begun = time.perf_counter()
    async with asyncio.timeout(calls.seconds + _SECONDS):
        await caller.over.wait()
    caller.taken.seconds = time.perf_counter() - begun
    if caller.failed:
        raise SystemExit(caller.failed)
    return caller.taken


class _Caller(asyncio.Protocol):
    """A connection with some streams open; each new one replaces one that is done."""

    def __init__(self, calls: Calls) -> None:
        self.over = asyncio.Event()
        self.taken = Taken()
        self.failed = ""
        self._calls = calls
        self._bodies = [list(_body(each)) for each in calls.messages]
        self._headers = _frame(HEADERS, END_HEADERS, 0, _request_headers(calls))
        self._numbers = count()
        self._begun: dict[int, float] = {}
        self._input = bytearray()
        self._window = DEFAULT_WINDOW
        self._unsent: deque[int] = deque()
        self._end = time.perf_counter() + calls.seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the windows wide, and the first streams."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, WINDOW)
        transport.write(
            PREFACE
            + _frame(SETTINGS, 0, 0, settings)
            + _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW))
        )
        for _ in range(self._calls.at_once):
            self._unsent.append(next(self._numbers))
        self._flush()

    def _flush(self) -> None:
        while self._unsent:
            number = self._unsent[0]
            body = self._bodies[number % len(self._bodies)]
            size = sum(map(len, body)) - 9 * len(body)
            if size > self._window:
                return
            self._unsent.popleft()
            self._window -= size
            stream = (2 * number + 1).to_bytes(4)
            self._begun[2 * number + 1] = time.perf_counter()
            frames = (self._headers, *body)
            self._transport.write(b"".join(each[:5] + stream + each[9:] for each in frames))

    def data_received(self, data: bytes) -> None:
        """Take whole frames off the input."""
        kept = self._input
        kept += data
        at, size = 0, len(kept)
        while size - at >= 9:
            high, low, kind, flags, stream = _HEADER.unpack_from(kept, at)
            end = at + 9 + (high << 8 | low)
            if end > size:
                break
            if kind == HEADERS and flags & END_STREAM:
                self._done(stream)
            elif kind not in (DATA, HEADERS):
                self._control(kind, flags, stream, bytes(kept[at + 9 : end]))
            at = end
        del kept[:at]
        self._flush()

    def _done(self, stream: int) -> None:
        now = time.perf_counter()
        self.taken.latencies.append(now - self._begun.pop(stream))
        if now < self._end:
            self._unsent.append(next(self._numbers))
        elif not self._begun:
            self._finish("")

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._transport.write(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._transport.write(_frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(payload)
        elif kind in (RST_STREAM, GOAWAY):
            self._finish(f"{self._calls.path}: stream {stream} was ended: {payload!r}")

    def _finish(self, why: str) -> None:
        self.failed = why
        self.over.set()
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side must not close."""
        if not self.over.is_set():
            self._finish(f"{self._calls.path}: the connection was closed: {exc}")


def _body(message: bytes) -> Iterator[bytes]:
    """The frames of one message, for stream 0."""
    body = struct.pack(">BI", 0, len(message)) + message
    for at in range(0, len(body), FRAME):
        last = END_STREAM if at + FRAME >= len(body) else 0
        yield _frame(DATA, last, 0, body[at : at + FRAME])


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _HEADER.pack(size >> 8, size & 255, kind, flags, stream) + payload


def _request_headers(calls: Calls) -> bytes:
    """A header block without compression (RFC 7541 6.2.2); static names by their index."""
    text = [
        (b"\x04", calls.path),
        (b"\x01", "mixer"),
        (b"\x0f\x10", "application/grpc"),  # content-type, index 31 in a four bit prefix
        (b"\x00\x02te", "trailers"),
    ]
    text += [(b"\x00" + bytes([len(name)]) + name.encode(), each) for name, each in calls.metadata]
    encoded = b"".join(name + bytes([len(value)]) + value.encode() for name, value in text)
    return b"\x83\x86" + encoded  # :method POST, :scheme http
