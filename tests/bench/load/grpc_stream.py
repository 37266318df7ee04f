"""One gRPC call over a connection of its own, as an Envoy makes it, for as little CPU as possible.

A load generator on the machine of the measured process must not compete with it, so this speaks
just enough HTTP/2 (RFC 9113) for one bidirectional stream without TLS: no library between the
socket and the bytes of a message, header blocks written once and never read. Windows are Envoy's.
"""

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5
STREAM: Final = 1
FRAME: Final = 16_384
STREAM_WINDOW: Final = 16 << 20
CONNECTION_WINDOW: Final = 24 << 20
DEFAULT_WINDOW: Final = 65_535
_LENGTHS: Final = struct.Struct(">BI")
_HEADER: Final = struct.Struct(">HBBBI")
_SETTING: Final = struct.Struct(">HI")


class GrpcStream(asyncio.Protocol):
    """Calls a method when the connection is made; `received` gets every message.

    `ended` is called once the stream is over, whoever ended it.
    """

    def __init__(
        self, path: str, received: Callable[[bytes], None], ended: Callable[[], None]
    ) -> None:
        self._path = path
        self._received = received
        self._ended = ended
        self._transport: asyncio.Transport | None = None
        self._input = bytearray()
        self._message = bytearray()
        self._unsent: deque[bytes] = deque()
        self._may_send = {0: DEFAULT_WINDOW, STREAM: DEFAULT_WINDOW}
        self._window = DEFAULT_WINDOW
        self._consumed = {0: 0, STREAM: 0}
        self.drained = asyncio.Event()
        """Set while everything has been sent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the stream at once; settings of the other side may come later (RFC 9113 3.4)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        settings = _SETTING.pack(INITIAL_WINDOW_SIZE, STREAM_WINDOW)
        more = struct.pack(">I", CONNECTION_WINDOW - DEFAULT_WINDOW)
        transport.write(
            PREFACE
            + _frame(SETTINGS, 0, 0, settings)
            + _frame(WINDOW_UPDATE, 0, 0, more)
            + _frame(HEADERS, END_HEADERS, STREAM, _request_headers(self._path))
        )

    def send(self, message: bytes) -> None:
        """Send a message, as soon as the other side's window allows."""
        self.drained.clear()
        body = _LENGTHS.pack(0, len(message)) + message
        self._unsent.extend(body[at : at + FRAME] for at in range(0, len(body), FRAME))
        self._flush()

    def close(self) -> None:
        """End the connection, as a killed proxy would."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        del exc
        self._ended()

    def data_received(self, data: bytes) -> None:
        """Take whole frames off the input."""
        kept = self._input
        kept += data
        at, size = 0, len(kept)
        while size - at >= 9:
            high, low, kind, flags, _ = _HEADER.unpack_from(kept, at)
            end = at + 9 + (high << 8 | low)
            if end > size:
                break
            if kind == DATA:
                self._take(kept[at + 9 : end])
            else:
                self._control(kind, flags, kept[at + 5 : at + 9], bytes(kept[at + 9 : end]))
            at = end
        del kept[:at]

    def _take(self, data: bytearray) -> None:
        self._message += data
        self._give_back(0, len(data), CONNECTION_WINDOW)
        self._give_back(STREAM, len(data), STREAM_WINDOW)
        while len(self._message) >= 5:
            _, length = _LENGTHS.unpack_from(self._message)
            if len(self._message) < 5 + length:
                return
            message = bytes(memoryview(self._message)[5 : 5 + length])
            del self._message[: 5 + length]
            self._received(message)

    def _give_back(self, stream: int, size: int, window: int) -> None:
        """Open the window again when half of it is used."""
        self._consumed[stream] += size
        if self._consumed[stream] >= window // 2:
            self._write(WINDOW_UPDATE, 0, stream, struct.pack(">I", self._consumed[stream]))
            self._consumed[stream] = 0

    def _control(self, kind: int, flags: int, stream: bytearray, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            for number, value in _SETTING.iter_unpack(payload):
                if number == INITIAL_WINDOW_SIZE:
                    self._may_send[STREAM] += value - self._window
                    self._window = value
            self._write(SETTINGS, ACK, 0, b"")
            self._flush()
        elif kind == PING and not flags & ACK:
            self._write(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            self._may_send[int.from_bytes(stream)] += int.from_bytes(payload)
            self._flush()
        elif kind in (RST_STREAM, GOAWAY) or (kind == HEADERS and flags & END_STREAM):
            self.close()

    def _flush(self) -> None:
        while self._unsent and len(self._unsent[0]) <= min(self._may_send.values()):
            part = self._unsent.popleft()
            for each in self._may_send:
                self._may_send[each] -= len(part)
            self._write(DATA, 0, STREAM, part)
        if not self._unsent:
            self.drained.set()

    def _write(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.write(_frame(kind, flags, stream, payload))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return _HEADER.pack(size >> 8, size & 255, kind, flags, stream) + payload


def _request_headers(path: str) -> bytes:
    """A header block without compression (RFC 7541 6.2.2); static names by their index."""
    text = (
        (b"\x04", path),
        (b"\x01", "pilot"),
        (b"\x0f\x10", "application/grpc"),  # content-type, index 31 in a four bit prefix
        (b"\x00\x02te", "trailers"),
    )
    encoded = b"".join(name + bytes([len(value)]) + value.encode() for name, value in text)
    return b"\x83\x86" + encoded  # :method POST, :scheme http
