"""Adapter fluentd, with a server that reads the forward protocol (mixer.md G.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack  # type: ignore[import-untyped]
import pytest
from google.protobuf.json_format import ParseDict

from istio.mixer.adapter.fluentd.config.config_pb2 import Params
from mast.mixer.adapters import fluentd
from mast.mixer.core.adapter import Batch, HandlerConfig, Instance
from mast.mixer.core.values import Duration, Timestamp, Value

NAME = "log.instance.istio-system"
AT, NOW = Timestamp(1_580_464_800_123_456_789), Timestamp(7_000_000_000)
ADAPTER = fluentd.adapter(lambda: NOW)


def config(**params: Any) -> HandlerConfig:
    merged = Params()
    merged.CopyFrom(ADAPTER.defaults)  # type: ignore[arg-type]
    return HandlerConfig("h", "fluentd", ParseDict(params, merged))


def entry(timestamp: Timestamp | None = AT, **variables: Value | None) -> Batch:
    fields = {"severity": "warn", "timestamp": timestamp, "variables": variables}
    return Batch(Instance(NAME, "logentry", fields))


class Server:
    """Keeps the messages of all connections."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.connections = 0
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        unpacker = msgpack.Unpacker()
        while data := await reader.read(65_536):
            unpacker.feed(data)
            for message in unpacker:
                await self.messages.put(message)
        writer.close()

    async def next(self) -> tuple[str, list[Any]]:
        async with asyncio.timeout(30):
            tag, events = await self.messages.get()
        return tag, events


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    found = Server()
    async with await asyncio.start_server(found.serve, "127.0.0.1", 0) as listening:
        found.address = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield found


def build(**params: Any) -> fluentd.Fluentd:
    handler = ADAPTER.build(config(**params))
    assert isinstance(handler, fluentd.Fluentd)
    return handler


async def sent(*batches: Batch, **params: Any) -> tuple[str, list[Any]]:
    async with server() as running:
        handler = build(address=running.address, **params)
        assert handler.report(batches) == ()
        await handler.close()
        return await running.next()


async def test_entries() -> None:
    tag, ((time, record),) = await sent(
        entry(
            a="x", n=5, took=Duration(1_500_000), ip=b"\x0a\0\0\x01", at=AT, m={"k": "v"}, no=None
        )
    )
    assert tag == NAME
    assert (time.code, time.data) == (0, (1_580_464_800 << 32 | 123_456_789).to_bytes(8, "big"))
    assert record == {
        "a": "x",
        "at": "2020-01-31T10:00:00.123456Z",
        "ip": "10.0.0.1",
        "m": {"k": "v"},
        "n": 5,
        "no": None,
        "severity": "warn",
        "took": "1.5ms",
    }


async def test_durations_as_numbers() -> None:
    _, ((_, record),) = await sent(entry(took=Duration(1_999_999)), integerDuration=True)
    assert record["took"] == 1


async def test_a_variable_may_be_the_tag() -> None:
    tag, ((_, record),) = await sent(entry(tag="mesh.access", a="x"))
    assert tag == "mesh.access"
    assert record == {"a": "x", "name": NAME, "severity": "warn"}


async def test_without_a_time_it_is_now() -> None:
    _, ((time, _),) = await sent(entry(timestamp=None))
    assert time.data == (7 << 32).to_bytes(8, "big")


async def test_entries_of_a_tag_share_a_message_and_all_share_a_connection() -> None:
    async with server() as running:
        handler = build(address=running.address, maxBatchSizeBytes=1)
        handler.report([entry(tag="a", n=1), entry(tag="b", n=2)])
        await handler.close()
        first, second = await running.next(), await running.next()
        assert [(first[0], len(first[1])), (second[0], len(second[1]))] == [("a", 1), ("b", 1)]
        assert running.connections == 1
    async with server() as running:
        handler = build(address=running.address)
        handler.report([entry(tag="a", n=1), entry(tag="b", n=2), entry(tag="a", n=3)])
        await handler.close()
        tag, events = await running.next()
        assert (tag, [record["n"] for _, record in events]) == ("a", [1, 3])


async def test_full_batches_go_at_once() -> None:
    async with server() as running, asyncio.TaskGroup() as tasks:
        handler = build(address=running.address, maxBatchSizeBytes=1, pushIntervalDuration="3600s")
        worker = tasks.create_task(handler.run())
        handler.report([entry(n=1)])
        assert (await running.next())[0] == NAME
        worker.cancel()
        await handler.close()


async def test_a_server_may_come_back() -> None:
    handler = build(address="127.0.0.1:9")
    handler.report([entry(n=1)])
    await handler.close()  # lost, and said so in the log
    async with server() as running:
        handler = build(address=running.address)
        handler.report([entry(n=2)])
        await handler.close()
        _, ((_, record),) = await running.next()
        assert record["n"] == 2


def test_a_full_buffer_drops() -> None:
    handler = build(instanceBufferSize=1)
    assert handler.report([entry(), entry()]) == ("fluentd: 1 dropped, the backend is too slow",)


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"address": "nowhere"}, "address: 'nowhere' is not HOST:PORT"),
        ({"instanceBufferSize": "-1"}, "instance_buffer_size: -1 must be > 0"),
        ({"maxBatchSizeBytes": "-5"}, "max_batch_size_bytes: -5 must be > 0"),
        ({"pushIntervalDuration": "-1s"}, "push_interval_duration: must be > 0"),
        ({"pushTimeoutDuration": "0s"}, "push_timeout_duration: must be > 0"),
    ],
)
def test_problems(params: dict[str, Any], problem: str) -> None:
    assert list(ADAPTER.validate(config(**params))) == [problem]
