"""Reports of a real Envoy's access logs (mixer.md L 43, 44, 49)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc.aio
import pytest

from mast.mixer.api import access_log, ext_authz
from mast.mixer.core import metric_overrides
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.engine import CheckVerdict, Condition, Reference, Status
from mast.mixer.core.values import Attributes
from mast.mixer.core.workloads import Pod
from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.mixer.filters import MixerExtensions
from mast.pilot.core.telemetry.measuring import metric_tags
from mast.pilot.core.telemetry.policies import Measures
from tests.integration.mixer.bench import PLACE, clock
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.mixer_mesh import (
    Application,
    Pods,
    ScriptedEngine,
    admit_all,
    allow,
    application,
    bootstrap,
    mesh,
    mixer,
    spot,
)

DENIAL = CheckVerdict(Status(7, "no"), timedelta(seconds=5), 1000, ())


@dataclass
class Bench:
    """An Envoy whose access logs a scripted Mixer gets."""

    engine: ScriptedEngine
    app: Application
    envoy: EnvoyServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.envoy.ports['http']}"

    async def reports(self, count: int) -> list[Attributes]:
        """At least so many reports, waited for."""
        async with asyncio.timeout(20):
            while len(self.engine.reported) < count:
                await self.engine.reports.wait()
                self.engine.reports.clear()
        return self.engine.reported


@asynccontextmanager
async def running(
    directory: Path,
    engine: ScriptedEngine,
    direction: Direction = Direction.INBOUND,
    pods: dict[bytes, Pod] | None = None,
    measures: Measures | None = None,
    **settings: Any,
) -> AsyncIterator[Bench]:
    """An Envoy with reports; ``pods`` are the registry's by address."""

    registry = Pods(pods or {})

    def register(server: grpc.aio.Server) -> None:
        ext_authz.register(server, engine, registry, ClientConfig, admit_all(), clock)
        access_log.register(server, engine, registry, ClientConfig, admit_all(), clock)

    tags = metric_tags(measures or Measures())
    extensions = MixerExtensions(mesh(**settings)).with_metric_tags(tags)
    async with application() as app, mixer(register) as port:
        config = bootstrap(extensions, spot(direction), port, app.port)
        async with envoy_server(config, directory, concurrency=2, environment=PLACE) as envoy:
            yield Bench(engine, app, envoy)


async def test_every_request_is_reported_once(tmp_path):
    engine = ScriptedEngine()
    total, clients = 2000, 8
    async with running(tmp_path, engine) as bench:

        async def client(number: int) -> None:
            async with aiohttp.ClientSession() as session:
                for at in range(total // clients):
                    async with session.get(f"{bench.url}/{number}/{at}") as answer:
                        assert answer.status == 200

        async with asyncio.TaskGroup() as tasks:
            for number in range(clients):
                tasks.create_task(client(number))
        reported = await bench.reports(total)
    paths = Counter(each["request.path"] for each in reported)
    assert len(paths) == total
    assert set(paths.values()) == {1}
    assert {each["response.code"] for each in reported} == {200}
    hits = Counter(each["check.cache_hit"] for each in reported)
    assert hits[False] == len(engine.checked)


async def test_a_report_of_an_inbound_request(tmp_path):
    engine = ScriptedEngine()
    peer = {"x-mast-peer": "kubernetes://reviews-1.shop,", "content-type": "application/grpc"}
    async with running(tmp_path, engine, disable_policy_checks=True) as bench:
        async with aiohttp.ClientSession(headers={"user-agent": "tests"}) as session:
            async with session.post(f"{bench.url}/a?x=1", data=b"12345", headers=peer):
                pass
        (found,) = map(dict, await bench.reports(1))
        port = bench.envoy.ports["http"]
    headers = found.pop("request.headers")
    assert found.pop("request.total_size") > 5
    assert found.pop("response.total_size") > 2
    assert found.pop("request.id") == headers.pop("x-request-id")
    start, duration = found.pop("request.time"), found.pop("response.duration")
    assert duration.ns > 0
    assert found.pop("response.time").ns == start.ns + duration.ns
    assert headers == {
        ":authority": f"127.0.0.1:{port}",
        ":method": "POST",
        ":path": "/a?x=1",
        "content-type": "application/grpc",
        "user-agent": "tests",
    }
    assert found == {
        "origin.ip": b"\x7f\0\0\1",
        "connection.mtls": False,
        "context.protocol": "grpc",
        "context.proxy_error_code": "-",
        "context.reporter.kind": "inbound",
        "context.reporter.uid": "kubernetes://ratings-1.default",
        "destination.ip": b"\x7f\0\0\1",
        "destination.namespace": "default",
        "destination.port": port,
        "destination.service.host": "ratings.default.svc.cluster.local",
        "destination.service.name": "ratings",
        "destination.service.namespace": "default",
        "destination.service.uid": "istio://default/services/ratings",
        "destination.uid": "kubernetes://ratings-1.default",
        "request.host": f"127.0.0.1:{port}",
        "request.method": "POST",
        "request.path": "/a?x=1",
        "request.query_params": {"x": "1"},
        "request.scheme": "http",
        "request.size": 5,
        "request.url_path": "/a",
        "request.useragent": "tests",
        "response.code": 200,
        "response.size": 2,
        "source.namespace": "shop",
        "source.uid": "kubernetes://reviews-1.shop",
    }


async def test_a_report_of_an_outbound_request(tmp_path):
    engine = ScriptedEngine()
    pods = {b"\x7f\0\0\1": Pod("ratings-9", "default", (b"\x7f\0\0\1",))}
    async with running(tmp_path, engine, Direction.OUTBOUND, pods) as bench:
        async with aiohttp.ClientSession() as session, session.get(bench.url):
            pass
        (found,) = await bench.reports(1)
    expected = {
        "context.reporter.kind": "outbound",
        "context.reporter.uid": "kubernetes://ratings-9.default",
        "source.uid": "kubernetes://ratings-9.default",
        "source.namespace": "default",
        "destination.ip": b"\x7f\0\0\1",
        "destination.port": bench.app.port,
        "destination.uid": "kubernetes://ratings-9.default",
        "destination.service.host": "ratings.default.svc.cluster.local",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "source.ip" not in found
    assert not engine.checked, "checks are made where the service is"
    assert bench.app.requests[0]["x-mast-peer"] == "kubernetes://ratings-1.default,127.0.0.1"


async def test_denials_are_reported_alike_on_hits_and_misses(tmp_path):
    engine = ScriptedEngine(lambda _: DENIAL)
    async with running(tmp_path, engine) as bench:
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                async with session.get(bench.url) as answer:
                    assert answer.status == 403
        miss, hit = await bench.reports(2)
    names = ("response.code", "context.proxy_error_code", "check.error_code", "check.error_message")
    expected = [403, "UAEX", 7, "no"]
    assert [miss[name] for name in names] == expected
    assert [hit[name] for name in names] == expected
    assert (miss["check.cache_hit"], hit["check.cache_hit"]) == (False, True)
    assert not {name for name in (*miss, *hit) if name.startswith(("envoy.", "istio."))}


async def test_a_request_without_a_response_counts_as_500(tmp_path):
    engine = ScriptedEngine()
    async with running(tmp_path, engine, disable_policy_checks=True) as bench:
        _, writer = await asyncio.open_connection("127.0.0.1", bench.envoy.ports["http"])
        writer.write(b"GET /silent HTTP/1.1\r\nhost: a\r\n\r\n")
        async with asyncio.timeout(10):
            while not await bench.envoy.stat("http.http.downstream_rq_total"):
                pass
        writer.close()
        (found,) = await bench.reports(1)
    assert found["response.code"] == 500
    assert "DC" in str(found["context.proxy_error_code"])


@pytest.mark.parametrize("checked", [True, False], ids=["checked", "unchecked"])
async def test_connections_are_reported_as_they_open_go_on_and_close(tmp_path, checked):
    engine = ScriptedEngine()
    request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    async with running(tmp_path, engine, disable_policy_checks=not checked) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.envoy.ports["tcp"])
        for _ in range(2):
            writer.write(request)
            await reader.readuntil(b"ok")
        opened = await bench.reports(2)
        assert [each["connection.event"] for each in opened[:2]] == ["open", "continue"]
        writer.write(request)
        await reader.readuntil(b"ok")
        writer.close()
        async with asyncio.timeout(20):
            while (last := engine.reported[-1])["connection.event"] != "close":
                await bench.reports(len(engine.reported) + 1)
    answered = len(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    assert sum(int(each["connection.received.bytes"]) for each in engine.reported) == 3 * len(
        request
    )  # type: ignore[call-overload]
    assert sum(int(each["connection.sent.bytes"]) for each in engine.reported) == 3 * answered  # type: ignore[call-overload]
    assert last["connection.received.bytes_total"] == 3 * len(request)
    assert last["connection.duration"].ns > 0  # type: ignore[union-attr]
    events = Counter(each["connection.event"] for each in engine.reported)
    assert (events["open"], events["close"]) == (1, 1)
    assert len({each["connection.id"] for each in engine.reported}) == 1
    assert "context.proxy_error_code" not in last


async def test_a_denied_connection_is_reported_as_closed_only(tmp_path):
    engine = ScriptedEngine(lambda _: DENIAL)
    async with running(tmp_path, engine) as bench:
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.envoy.ports["tcp"])
        writer.write(b"hello")
        with suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        (found,) = await bench.reports(1)
    assert found["connection.event"] == "close"
    assert (found["check.error_code"], found["check.error_message"]) == (7, "no")


async def test_the_cache_and_the_check_agree_on_who_calls(tmp_path):
    """A registered caller is known by its address, whatever its header says."""
    pods = {b"\x7f\0\0\1": Pod("real", "default", (b"\x7f\0\0\1",))}
    reference = Reference("source.uid", None, Condition.EXACT)
    engine = ScriptedEngine(lambda _: replace(allow(), referenced=(reference,)))
    async with running(tmp_path, engine, pods=pods) as bench:
        async with aiohttp.ClientSession() as session:
            for forged in ("", "", "kubernetes://other.default,", "kubernetes://other.default,"):
                async with session.get(bench.url, headers={"x-mast-peer": forged}):
                    pass
        reported = await bench.reports(4)
    assert {each["source.uid"] for each in engine.checked} == {"kubernetes://real.default"}
    assert {each["source.uid"] for each in reported} == {"kubernetes://real.default"}
    assert len(engine.checked) == 2


async def test_overrides_of_metrics_come_with_reports(tmp_path):
    """Telemetry's expressions are worked out by Envoy; one without a value is a label left out."""
    measures = Measures(
        disabled=frozenset({"istio_request_bytes"}),
        tags={
            "istio_requests_total": {
                "method": "request.method",
                "path": "request.url_path",
                "port": "string(upstream.port)",
                "agent": "request.headers['x-absent']",
                "response_flags": None,
            }
        },
    )
    async with running(tmp_path, ScriptedEngine(), measures=measures) as bench:
        async with aiohttp.ClientSession() as session, session.get(f"{bench.url}/a=b"):
            pass
        (report,) = await bench.reports(1)
    found = metric_overrides.overrides_of(report.get)
    assert found.disabled == {"istio_request_bytes"}
    assert found.labels == {
        "istio_requests_total": {
            "method": "GET",
            "path": "/a=b",
            "port": str(bench.app.port),
            "agent": "",
            "response_flags": "",
        }
    }
