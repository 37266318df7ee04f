"""Mixer behind Envoy: what a check costs a request, and what checks and reports cost Mixer.

A real Envoy serves one program: without policy, with verdicts from its cache, with a check for
every request. Then Mixer's faces work off checks and access logs without a network, on one core,
with Istio's default telemetry.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any

import grpc.aio
from envoy.config.core.v3.base_pb2 import Node
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from mast.common.process.telemetry import Metrics, configure_logging
from mast.mixer.adapters.catalog import Edges, adapters
from mast.mixer.api import ext_authz
from mast.mixer.api.access_log import AccessLogs
from mast.mixer.api.ext_authz import Authorization
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.config.snapshot import EMPTY, compile_snapshot
from mast.mixer.core.series import Registry
from mast.mixer.core.templates import TEMPLATES
from mast.mixer.core.workloads import Pod, Workloads, packed_ip
from mast.mixer.runtime.calls import Calls
from mast.mixer.runtime.engine import LiveEngine
from mast.mixer.runtime.handlers import Handlers
from mast.mixer.runtime.instruments import Instruments
from mast.pilot.core.mixer.filters import MixerExtensions
from tests.support.envoy_server import envoy_server
from tests.support.mixer_config import TELEMETRY, entries, no_answer
from tests.support.mixer_mesh import (
    ScriptedEngine,
    admit_all,
    allow,
    application,
    bootstrap,
    mesh,
    mixer,
    spot,
)

SECONDS = 3.0
CONNECTIONS = 4
BATCH = 100
CALLERS = 20
PLACE = {"POD_NAME": "ratings-1", "POD_NAMESPACE": "default", "INSTANCE_IP": "10.0.1.1"}


def now() -> datetime:
    """A time: nothing here depends on it."""
    return datetime(2026, 1, 1, tzinfo=UTC)


async def measure() -> AsyncIterator[dict[str, Any]]:
    """Everything, in the order of the lines printed."""
    async for result in requests():
        yield result
    async for result in faces():
        yield result


# Requests through Envoy


async def requests() -> AsyncIterator[dict[str, Any]]:
    """Rate and latency of the same Envoy with and without policy."""
    for name, uses, settings in (
        ("envoy without policy", 0, {"disable_policy_checks": True}),
        ("envoy with cached verdicts", -1, {}),
        ("envoy with a check for every request", 0, {}),
    ):
        engine = ScriptedEngine(lambda _, uses=uses: allow(uses=uses))  # type: ignore[misc]

        def register(server: grpc.aio.Server, engine: ScriptedEngine = engine) -> None:
            ext_authz.register(server, engine, Workloads(), ClientConfig, admit_all(), now)

        extensions = MixerExtensions(mesh(**settings))
        with tempfile.TemporaryDirectory() as directory:
            async with application() as app, mixer(register) as port:
                config = bootstrap(extensions, spot(), port, app.port)
                async with envoy_server(config, Path(directory), environment=PLACE) as envoy:
                    latencies = await _load(envoy.ports["http"])
        cuts = quantiles(latencies, n=100)
        yield {
            "name": name,
            "value": round(len(latencies) / SECONDS),
            "unit": "requests/s",
            "connections": CONNECTIONS,
            "p50_ms": round(cuts[49] * 1000, 3),
            "p99_ms": round(cuts[98] * 1000, 3),
            "checks": len(engine.checked),
        }


async def _load(port: int) -> list[float]:
    """Seconds that each request took, one after the other on each connection."""
    request = b"GET / HTTP/1.1\r\nhost: ratings\r\nuser-agent: bench\r\n\r\n"
    latencies: list[float] = []
    end = time.monotonic() + SECONDS

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.monotonic()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(2)
            latencies.append(time.monotonic() - begun)
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONNECTIONS):
            tasks.create_task(connection())
    return latencies


# Mixer's faces


class _Caller:
    """The context of a call that Envoy makes."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (
            ("x-mixer-reporter", "inbound"),
            ("x-mixer-uid", "kubernetes://ratings-1.default"),
            ("x-mixer-address", "10.0.1.1"),
        )


@asynccontextmanager
async def _engine(workloads: Workloads) -> AsyncIterator[LiveEngine]:
    """Mixer's engine with Istio's default telemetry and one denier."""
    instruments = Instruments(Metrics("mixer"))
    deny = (
        Path(__file__).parents[2] / "samples" / "bookinfo" / "policy" / "deny-reviews-v3.yaml"
    ).read_text()
    deny = deny.replace("metadata:\n", "metadata:\n  namespace: default\n")
    async with asyncio.TaskGroup() as tasks:
        handlers = Handlers(tasks, instruments)
        engine = LiveEngine(
            handlers, Calls(instruments, timedelta(seconds=5)), instruments, "istio-system"
        )
        edges = Edges(now, time.monotonic, no_answer, Registry(10_000), workloads)
        snapshot = compile_snapshot(entries(TELEMETRY, deny), TEMPLATES, adapters(edges), EMPTY)
        await engine.swap(snapshot)
        yield engine
        await engine.close()


def _workloads() -> Workloads:
    found = Workloads()
    labels = {"app": "ratings", "version": "v1"}
    found.put("r", Pod("ratings-1", "default", (packed_ip("10.0.1.1"),), labels))
    for number in range(CALLERS):
        address = (packed_ip(f"10.0.0.{number}"),)
        labels = {"app": "reviews", "version": f"v{number % 3}"}
        found.put(str(number), Pod(f"reviews-{number}", "default", address, labels))
    return found


async def faces() -> AsyncIterator[dict[str, Any]]:
    """Checks and access-log entries per second of CPU time."""
    workloads = _workloads()
    async with _engine(workloads) as engine:
        batch = StreamAccessLogsMessage()
        for number in range(BATCH):
            batch.http_logs.log_entry.append(_entry(number))
        wire = batch.SerializeToString()
        logs = AccessLogs(engine, workloads, ClientConfig, admit_all(), now)
        counts = []
        for seconds in (0.5, SECONDS):  # The first warms up.
            count, cpu = await _entries(logs, wire, seconds)
            counts.append(count / cpu)
        yield {
            "name": "access-log entries",
            "value": round(counts[-1]),
            "unit": "entries/CPU s",
            "bytes_per_entry": len(wire) // BATCH,
        }
        authorization = Authorization(engine, workloads, ClientConfig, admit_all(), now)
        wires = [_check(number).SerializeToString() for number in range(CALLERS)]
        checks = 0
        begun = time.process_time()
        while (cpu := time.process_time() - begun) < SECONDS:
            for each in wires:
                request = CheckRequest.FromString(each)
                response = await authorization.Check(request, _Caller())  # type: ignore[arg-type]
                response.SerializeToString()
            checks += len(wires)
        yield {"name": "uncached checks", "value": round(checks / cpu), "unit": "checks/CPU s"}


async def _entries(logs: AccessLogs, wire: bytes, seconds: float) -> tuple[int, float]:
    """Entries worked off on one stream, and CPU seconds spent."""
    count = 0
    begun = time.process_time()

    async def messages() -> AsyncIterator[StreamAccessLogsMessage]:
        nonlocal count
        first = StreamAccessLogsMessage()
        first.identifier.log_name = "inbound"
        first.identifier.node.CopyFrom(Node(id="sidecar~10.0.1.1~ratings-1.default~d"))
        yield first
        while time.process_time() - begun < seconds:
            yield StreamAccessLogsMessage.FromString(wire)
            count += BATCH

    await logs.StreamAccessLogs(messages(), _Caller())  # type: ignore[arg-type]
    return count, time.process_time() - begun


def _entry(number: int) -> HTTPAccessLogEntry:
    """An entry as a sidecar with mutual TLS and a cached verdict logs it."""
    entry = HTTPAccessLogEntry()
    common = entry.common_properties
    for address, ip, port in _addresses(number):
        socket = getattr(common, address).socket_address
        socket.address, socket.port_value = ip, port
    peer = common.tls_properties.peer_certificate_properties.subject_alt_name.add()
    peer.uri = "spiffe://cluster.local/ns/default/sa/reviews"
    own = common.tls_properties.local_certificate_properties.subject_alt_name.add()
    own.uri = "spiffe://cluster.local/ns/default/sa/ratings"
    common.tls_properties.tls_sni_hostname = "outbound_.9080_._.ratings.default.svc.cluster.local"
    common.start_time.FromJsonString("2026-01-01T00:00:00Z")
    common.duration.FromMilliseconds(number % 50)
    common.upstream_cluster = "inbound|9080||"
    common.route_name = "default"
    for name, value in {
        "host": "ratings.default.svc.cluster.local",
        "name": "ratings",
        "namespace": "default",
        "uid": "istio://default/services/ratings",
    }.items():
        common.custom_tags[f"destination.service.{name}"] = value
    common.metadata.filter_metadata["istio.mixer"].update({"hit": True, "cache_hit": True})
    request, response = entry.request, entry.response
    request.request_method = 1
    request.scheme, request.authority, request.path = "http", "ratings:9080", f"/{number}"
    request.user_agent, request.request_id = "bench", f"id-{number}"
    request.request_headers_bytes = 500
    response.response_code.value = 200 if number % 10 else 503
    response.response_headers_bytes, response.response_body_bytes = 100, 1000 + number
    return entry


def _addresses(number: int) -> Iterator[tuple[str, str, int]]:
    yield "downstream_direct_remote_address", f"10.0.0.{number % CALLERS}", 40000 + number
    yield "downstream_remote_address", f"10.0.0.{number % CALLERS}", 40000 + number
    yield "downstream_local_address", "10.0.1.1", 9080
    yield "upstream_remote_address", "10.0.1.1", 9080


def _check(number: int) -> CheckRequest:
    request = CheckRequest()
    context = request.attributes
    context.source.address.socket_address.address = f"10.0.0.{number}"
    context.source.principal = "spiffe://cluster.local/ns/default/sa/reviews"
    context.destination.address.socket_address.address = "10.0.1.1"
    context.destination.address.socket_address.port_value = 9080
    http = context.request.http
    http.method, http.path, http.host, http.scheme = "GET", f"/{number}", "ratings:9080", "http"
    http.headers.update({f"x-header-{each}": "value" for each in range(12)})
    metadata = context.route_metadata_context.filter_metadata["istio.mixer"]
    metadata.update({"destination.service.host": "ratings.default.svc.cluster.local"})
    return request


async def _print() -> None:
    async for result in measure():
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Print one JSON object a line."""
    configure_logging("bench", "error")
    os.environ.update(PLACE)
    asyncio.run(_print())


if __name__ == "__main__":
    main()
