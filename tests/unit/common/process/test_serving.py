"""The gRPC scaffold over real sockets: health, reflection, graceful stop, honest bind errors."""

import asyncio
import stat
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from mast.common.process.serving import Listen, serving

HEALTH = "grpc.health.v1.Health"
LOCAL = "127.0.0.1:0"


async def status(channel: grpc.aio.Channel, service: str = "") -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    return int(answer.status)


async def test_health_follows_set_serving() -> None:
    async with serving(lambda _: None, [Listen(LOCAL)], services=["demo.Demo"]) as running:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.ports[0]}") as channel:
            assert await status(channel, "demo.Demo") == health_pb2.HealthCheckResponse.NOT_SERVING
            await running.set_serving(True)
            assert await status(channel) == health_pb2.HealthCheckResponse.SERVING
            assert await status(channel, "demo.Demo") == health_pb2.HealthCheckResponse.SERVING


async def test_reflection_lists_the_services() -> None:
    async with serving(lambda _: None, [Listen(LOCAL)]) as running:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.ports[0]}") as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            call = stub.ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5
            )
            answer = await anext(aiter(call))
    names = {service.name for service in answer.list_services_response.service}
    assert HEALTH in names


async def test_strangers_are_told_no_services() -> None:
    async with serving(lambda _: None, [Listen(LOCAL)], public=True) as running:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.ports[0]}") as channel:
            ask = channel.unary_unary(f"/{reflection.SERVICE_NAME}/ServerReflectionInfo")
            assert await ask(b"", timeout=5).code() is grpc.StatusCode.UNIMPLEMENTED
            assert await status(channel) == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_unix_socket_is_private(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    async with serving(lambda _: None, [Listen(f"unix:{path}")]) as running:
        assert running.ports == (0,)
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            assert await status(channel) == health_pb2.HealthCheckResponse.NOT_SERVING


async def refused(channel: grpc.aio.Channel, **call: Any) -> grpc.StatusCode:
    """How a health check ends."""
    stub = health_pb2_grpc.HealthStub(channel)
    ended = stub.Check(call.pop("request", health_pb2.HealthCheckRequest()), timeout=10, **call)
    return await ended.code()


async def test_messages_and_headers_have_limits() -> None:
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    async with serving(lambda _: None, [Listen(LOCAL)]) as running:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.ports[0]}") as channel:
            large = health_pb2.HealthCheckRequest(service="x" * (5 << 20))
            assert await refused(channel, request=large) is exhausted
            assert await refused(channel, metadata=[("x", "y" * 20_000)]) is exhausted
            assert await refused(channel) is grpc.StatusCode.OK


async def test_connections_have_a_limit_that_services_choose() -> None:
    options = [("grpc.max_allowed_incoming_connections", 2)]
    apart = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(
            serving(lambda _: None, [Listen(LOCAL)], options=options)
        )
        codes = []
        for _ in range(3):
            address = f"127.0.0.1:{running.ports[0]}"
            channel = grpc.aio.insecure_channel(address, options=apart)
            codes.append(await refused(await stack.enter_async_context(channel)))
    assert codes == [grpc.StatusCode.OK, grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE]


async def test_stale_socket_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.touch()
    async with serving(lambda _: None, [Listen(f"unix:{path}")]):
        assert stat.S_ISSOCK(path.stat().st_mode)


async def test_a_taken_port_is_an_error_that_names_it() -> None:
    async with serving(lambda _: None, [Listen(LOCAL)]) as running:
        address = f"127.0.0.1:{running.ports[0]}"
        with pytest.raises(OSError, match=address):
            async with serving(lambda _: None, [Listen(address)]):
                pass


async def test_running_calls_finish_within_the_grace() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        entered.set()
        await release.wait()
        return request

    def register(server: grpc.aio.Server) -> None:
        methods = {"Slow": grpc.unary_unary_rpc_method_handler(slow)}
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("demo.Demo", methods)]
        )

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = serving(register, [Listen(LOCAL)], grace=timedelta(seconds=5))
        server = await running.__aenter__()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports[0]}") as channel:
            call = channel.unary_unary("/demo.Demo/Slow")(b"work", timeout=8)
            answer = tasks.create_task(_answer(call))
            await entered.wait()
            stopping = tasks.create_task(running.__aexit__(None, None, None))
            release.set()
            assert await answer == b"work"
            await stopping


async def _answer(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> bytes:
    return await call


async def test_who_leaves_says_so_and_still_serves() -> None:
    async with asyncio.TaskGroup() as tasks, serving(lambda _: None, [Listen(LOCAL)]) as running:
        await running.set_serving(True)
        leaving = tasks.create_task(running.leave(timedelta(hours=1)))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.ports[0]}") as channel:
            async with asyncio.timeout(30):
                while await status(channel) != health_pb2.HealthCheckResponse.NOT_SERVING:
                    pass
        assert not leaving.done()
        leaving.cancel()
