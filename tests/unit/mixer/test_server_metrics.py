"""gRPC calls are counted by method and status (mixer.md I)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from istio.mixer.v1 import mixer_pb2, mixer_pb2_grpc
from mast.common.process.serving import Listen, serving
from mast.mixer.api.server_metrics import Counting


class Servicer(mixer_pb2_grpc.MixerServicer):
    def __init__(self) -> None:
        self.entered = asyncio.Event()

    async def Check(self, request: mixer_pb2.CheckRequest, context: Any) -> mixer_pb2.CheckResponse:
        match request.deduplication_id:
            case "abort":
                await context.abort(grpc.StatusCode.INTERNAL, "no")
            case "bug":
                raise RuntimeError("bug")
            case "wait":
                self.entered.set()
                await asyncio.Event().wait()
        return mixer_pb2.CheckResponse()


class Server:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.news = asyncio.Event()
        self.servicer = Servicer()

    def served(self, method: str, status: str, seconds: float) -> None:
        assert seconds >= 0
        self.seen.append((method, status))
        self.news.set()


@asynccontextmanager
async def server() -> AsyncIterator[tuple[Server, mixer_pb2_grpc.MixerStub]]:
    counted = Server()
    loop = asyncio.get_running_loop()
    async with (
        serving(
            lambda s: mixer_pb2_grpc.add_MixerServicer_to_server(counted.servicer, s),
            [Listen("127.0.0.1:0")],
            interceptors=[Counting(counted.served, loop.time)],
        ) as running,
        grpc.aio.insecure_channel(f"127.0.0.1:{running.ports[0]}") as channel,
    ):
        yield counted, mixer_pb2_grpc.MixerStub(channel)


@pytest.mark.parametrize(("id", "status"), [("", "OK"), ("abort", "INTERNAL"), ("bug", "UNKNOWN")])
async def test_calls_are_counted_by_status(id: str, status: str) -> None:
    async with server() as (counted, stub):
        call = stub.Check(mixer_pb2.CheckRequest(deduplication_id=id), timeout=10)
        assert (await call.code()).name == status
        assert counted.seen == [("istio.mixer.v1.Mixer/Check", status)]


async def test_cancelled_calls_are_counted() -> None:
    async with asyncio.timeout(10), server() as (counted, stub):
        call = stub.Check(mixer_pb2.CheckRequest(deduplication_id="wait"), timeout=10)
        await counted.servicer.entered.wait()
        call.cancel()
        await counted.news.wait()
        assert counted.seen == [("istio.mixer.v1.Mixer/Check", "CANCELLED")]


async def test_methods_that_do_not_exist_stay_unimplemented() -> None:
    async with server() as (counted, stub):
        call = stub.Report(mixer_pb2.ReportRequest(), timeout=10)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert counted.seen == [("istio.mixer.v1.Mixer/Report", "UNIMPLEMENTED")]
