"""What Envoys log, recorded as they sent it, and sent again as fast as it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import chain

import grpc
import grpc.aio
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

from mast.mixer.api.access_log import SERVICE
from tests.bench.load.grpc_stream import GrpcStream

METHOD = "StreamAccessLogs"


@dataclass
class Recording:
    """The messages of each stream; ``port`` is where to log to."""

    port: int = 0
    streams: list[list[bytes]] = field(default_factory=list)

    @property
    def entries(self) -> int:
        """How many entries all messages have."""
        return sum(map(len, map(_entries, chain.from_iterable(self.streams))))

    def varied(self, number: int, batch: int) -> list[bytes]:
        """One stream of so many entries, like the first recorded, to as many services."""
        message = StreamAccessLogsMessage.FromString(self.streams[0][0])
        sample = message.http_logs.log_entry[0]
        found: list[bytes] = []
        for start in range(0, number, batch):
            del message.http_logs.log_entry[:]
            for service in range(start, start + batch):
                sample.common_properties.custom_tags["destination.service.name"] = f"s-{service}"
                message.http_logs.log_entry.append(sample)
            found.append(message.SerializeToString())
            message.ClearField("identifier")
        return found


def _entries(message: bytes) -> Sequence[object]:
    return StreamAccessLogsMessage.FromString(message).http_logs.log_entry


@asynccontextmanager
async def recording() -> AsyncIterator[Recording]:
    """A server that keeps what it is sent."""
    found = Recording()

    async def keep(messages: AsyncIterator[bytes], _: object) -> bytes:
        stream: list[bytes] = []
        found.streams.append(stream)
        async for each in messages:
            stream.append(each)  # noqa: PERF401 - seen before the stream ends
        return b""

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler = grpc.stream_unary_rpc_method_handler(keep)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
    )
    found.port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield found
    finally:
        await server.stop(None)


@asynccontextmanager
async def replaying(
    port: int, streams: Sequence[Sequence[bytes]], times: int
) -> AsyncIterator[None]:
    """Send all messages so many times, one stream a connection; they stay open for the block."""
    loop = asyncio.get_running_loop()
    opened: list[GrpcStream] = []
    for messages in streams:
        _, stream = await loop.create_connection(
            lambda: GrpcStream(f"/{SERVICE}/{METHOD}", lambda _: None, lambda: None),
            "127.0.0.1",
            port,
        )
        opened.append(stream)
        for _ in range(times):
            for each in messages:
                stream.send(each)
                await stream.drained.wait()
    try:
        yield
    finally:
        for stream in opened:
            stream.close()
