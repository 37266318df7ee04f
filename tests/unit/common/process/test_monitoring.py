"""The monitoring endpoints over real HTTP."""

import asyncio
from datetime import timedelta

import aiohttp
import psutil
import pytest
from aiohttp import web

from mast.common.process.monitoring import Readiness, http_server, monitoring
from mast.common.process.telemetry import Metrics
from tests.support.ads_server import until


async def get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


async def test_ready_says_what_is_missing() -> None:
    state = Readiness(False, {"store": "connecting"})
    async with monitoring("127.0.0.1:0", ready=lambda: state, metrics=Metrics("t")) as port:
        code, body = await get(port, "/ready")
        assert (code, '"store": "connecting"' in body) == (503, True)
        state = Readiness(True)
        assert (await get(port, "/ready"))[0] == 200


async def test_metrics_version_health_and_own_routes() -> None:
    metrics = Metrics("t")
    metrics.counter("c").add(2)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="mine")

    routes = {"/debug/mine": page}
    ready = Readiness(True)
    async with monitoring(
        "127.0.0.1:0", ready=lambda: ready, metrics=metrics, routes=routes
    ) as port:
        assert "c 2" in (await get(port, "/metrics"))[1]
        assert "version" in (await get(port, "/version"))[1]
        assert (await get(port, "/healthz"))[0] == 200
        assert (await get(port, "/debug/mine"))[1] == "mine"
        assert (await get(port, "/nothing"))[0] == 404


async def test_every_address() -> None:
    ready = Readiness(True)
    async with monitoring("[::]:0", ready=lambda: ready, metrics=Metrics("t")) as port:
        assert (await get(port, "/ready"))[0] == 200


async def test_what_is_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many connections, and headers that are too long."""
    monkeypatch.setattr("mast.common.process.monitoring.CONNECTIONS", 2)
    async with monitoring(
        "127.0.0.1:0", ready=lambda: Readiness(True), metrics=Metrics("t")
    ) as port:
        url = f"http://127.0.0.1:{port}/healthz"
        async with aiohttp.ClientSession() as session:
            async with session.get(url, headers={"x": "y" * 10_000}) as answer:
                assert answer.status == 400
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get(url)
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        await until(lambda: serves(port))


async def serves(port: int) -> bool:
    try:
        return (await get(port, "/healthz"))[0] == 200
    except aiohttp.ClientConnectionError:
        return False


async def test_the_process_is_described() -> None:
    """As dashboards expect of every process."""
    process = psutil.Process()
    async with monitoring(
        "127.0.0.1:0", ready=lambda: Readiness(True), metrics=Metrics("t")
    ) as port:
        text = (await get(port, "/metrics"))[1]
    samples = dict(line.split() for line in text.splitlines() if not line.startswith("#"))
    assert float(samples["process_start_time_seconds"]) == pytest.approx(
        process.create_time(), abs=2
    )
    assert float(samples["process_resident_memory_bytes"]) == pytest.approx(
        process.memory_info().rss, rel=0.5
    )
    assert float(samples["process_cpu_seconds_total"]) > 0
    assert 0 < float(samples["process_open_fds"]) < float(samples["process_max_fds"])
    assert "# TYPE process_cpu_seconds_total counter" in text


async def test_whoever_keeps_connections_goes_when_the_server_leaves() -> None:
    leaving = False

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="page")

    async with (
        http_server("127.0.0.1:0", {"/": page}, leaving=lambda: leaving) as port,
        aiohttp.ClientSession() as session,
    ):
        for leaving in (False, True):
            async with session.get(f"http://127.0.0.1:{port}/") as answer:
                assert (answer.status, await answer.text()) == (200, "page")
                assert (answer.headers.get("connection") == "close") is leaving


async def test_running_answers_are_given_time() -> None:
    asked, answers = asyncio.Event(), asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        asked.set()
        await answers.wait()
        return web.Response(text="at last")

    async def call(port: int) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/") as answer,
        ):
            return await answer.text()

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        async with http_server("127.0.0.1:0", {"/": slow}, grace=timedelta(seconds=20)) as port:
            calling = tasks.create_task(call(port))
            await asked.wait()
            asyncio.get_running_loop().call_later(0.05, answers.set)
        assert await calling == "at last"
