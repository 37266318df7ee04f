"""Adapter opentelemetry, with collectors over real gRPC and HTTP."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from aiohttp import web
from google.protobuf.json_format import ParseDict

from mast.common.expressions.types import ValueType
from mast.mixer.adapters.opentelemetry.adapter import adapter
from mast.mixer.adapters.opentelemetry.collector import headers
from mast.mixer.adapters.opentelemetry.messages import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Span,
    logs_service,
    metrics_service,
    trace_service,
)
from mast.mixer.adapters.opentelemetry.records import log_record, span
from mast.mixer.core.adapter import AdapterError, Batch, HandlerConfig, Instance, InstanceType
from mast.mixer.core.values import NANOS, Duration, Timestamp, Value
from tests.support.http_site import http_site
from tests.support.log_events import log_events
from tests.support.mixer_config import Clock, Rig
from tests.support.otlp_collector import OtlpCollector, otlp_collector, plain
from tests.support.pki import Ca
from tests.support.until import until

NAME = "m.instance.istio-system"
LOG = "l.instance.istio-system"
NOW = Timestamp(1_580_464_800 * NANOS)
TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"
SECONDS: dict[str, Any] = {"metric_interval": "3600s", "batch_interval": "3600s"}
SPANNED: dict[str, Any] = {
    "trace_id": TRACE,
    "span_id": SPAN,
    "parent_span_id": PARENT,
    "span_name": "reviews:9080/*",
    "start_time": Timestamp(NOW.ns + 1),
    "end_time": Timestamp(NOW.ns + 250_000_001),
    "span_tags": {"retries": 5, "a": "x", "none": None},
    "httpStatusCode": 404,
    "client_span": False,
    "rewrite_client_span_id": False,
    "source_name": "productpage",
    "source_ip": b"\x0a\0\0\x01",
    "destination_name": "reviews",
    "destination_ip": bytes(15) + b"\x01",
    "request_size": 10,
    "request_total_size": 100,
    "response_size": 0,
    "response_total_size": 300,
    "api_protocol": "http",
}


def config(types: Mapping[str, ValueType] | None = None, **params: Any) -> HandlerConfig:
    merged = type(DEFAULTS)()
    merged.CopyFrom(DEFAULTS)
    instances = (InstanceType(NAME, "metric", types or {}),)
    return HandlerConfig("h", "opentelemetry", ParseDict(params, merged), instances)


DEFAULTS: Any = adapter(lambda: NOW, Clock()).defaults


@asynccontextmanager
async def handler(address: str, *, closing: bool = True, **params: Any) -> AsyncIterator[Any]:
    """A handler that sends only when it is closed, unless the params say otherwise."""
    clock = params.pop("clock", Clock())
    types = params.pop("types", {"value": ValueType.INT64, "dimensions[app]": ValueType.STRING})
    found = adapter(lambda: NOW, clock)
    built: Any = found.build(config(types, address=address, **{**SECONDS, **params}))
    try:
        yield built
    finally:
        if closing:
            await built.close()


def metric(*values: Value | None, **dimensions: Value | None) -> Batch:
    return Batch(Instance(NAME, "metric", {"dimensions": dimensions}), values, len(values))


def entry(**fields: Any) -> Batch:
    whole = {"variables": {}, "timestamp": None, "severity": "info", **fields}
    return Batch(Instance(LOG, "logentry", whole))


def spanned(**fields: Any) -> Batch:
    return Batch(Instance("s", "tracespan", {**SPANNED, **fields}))


def kind(name: str, **more: Any) -> dict[str, Any]:
    return {"metrics": {NAME: {"name": "calls", "kind": name, **more}}}


# Metrics.


@pytest.mark.parametrize(
    ("name", "type", "values", "total"),
    [
        ("COUNTER", ValueType.INT64, (1, 2), ("sum", True, "as_int", 3)),
        ("COUNTER", ValueType.DOUBLE, (1.5, 2.0), ("sum", True, "as_double", 3.5)),
        ("UP_DOWN_COUNTER", ValueType.INT64, (5, -7), ("sum", False, "as_int", -2)),
        ("GAUGE", ValueType.INT64, (5, -7), ("gauge", None, "as_int", -7)),
        ("GAUGE", ValueType.INT64, ((1 << 63) - 1,), ("gauge", None, "as_int", (1 << 63) - 1)),
        ("GAUGE", ValueType.STRING, ("0.5",), ("gauge", None, "as_double", 0.5)),
        (
            "COUNTER",
            ValueType.DURATION,
            (Duration(1_500_000_000),),
            ("sum", True, "as_double", 1.5),
        ),
    ],
)
async def test_sums_and_gauges(
    name: str, type: ValueType, values: tuple[Value, ...], total: tuple[Any, ...]
) -> None:
    clock = Clock(100.0)
    async with otlp_collector() as collector:
        types = {"value": type, "dimensions[app]": ValueType.STRING}
        async with handler(collector.address, clock=clock, types=types, **kind(name)) as built:
            clock.now += 5
            assert built.report([metric(*values, app="web")]) == ()
            clock.now += 10
    (found,) = collector.metrics["calls"]
    form, monotonic, number, value = total
    data = getattr(found, form)
    (point,) = data.data_points
    assert (point.WhichOneof("value"), getattr(point, number)) == (number, value)
    assert plain(point.attributes) == {"app": "web"}
    assert point.start_time_unix_nano == NOW.ns + 5 * NANOS
    assert point.time_unix_nano == NOW.ns + 15 * NANOS
    if monotonic is not None:
        assert data.is_monotonic is monotonic
        assert data.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    assert found.unit == ("s" if type is ValueType.DURATION else "")


async def test_histogram() -> None:
    types = {"value": ValueType.DURATION}
    async with otlp_collector() as collector:
        shape = kind("HISTOGRAM", bounds=[0.1, 1], description="How long")
        async with handler(collector.address, types=types, **shape) as built:
            lengths = (Duration(100_000_000), Duration(500_000_000), Duration(5 * NANOS))
            assert built.report([metric(*lengths)]) == ()
    (found,) = collector.metrics["calls"]
    assert (found.description, found.unit) == ("How long", "s")
    assert found.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    (point,) = found.histogram.data_points
    assert list(point.explicit_bounds) == [0.1, 1]
    assert list(point.bucket_counts) == [1, 1, 1]
    assert (point.count, point.sum) == (3, 5.6)


async def test_attributes_keep_their_types() -> None:
    types = {
        "value": ValueType.INT64,
        "dimensions[code]": ValueType.INT64,
        "dimensions[tls]": ValueType.BOOL,
        "dimensions[share]": ValueType.DOUBLE,
        "dimensions[ip]": ValueType.IP_ADDRESS,
        "dimensions[gone]": ValueType.STRING,
    }
    dimensions = {"code": 200, "tls": True, "share": 0.5, "ip": b"\x0a\0\0\x01", "gone": None}
    async with otlp_collector() as collector:
        async with handler(collector.address, types=types, **kind("COUNTER")) as built:
            built.report([metric(1, **dimensions)])
        (found,) = collector.metrics["calls"]
    (point,) = found.sum.data_points
    told = plain(point.attributes)
    assert told == {"code": 200, "tls": True, "share": 0.5, "ip": "10.0.0.1"}
    assert told["tls"] is True


async def test_series_are_capped_and_what_is_dropped_is_counted() -> None:
    async with otlp_collector() as collector:
        async with handler(collector.address, max_series=2, **kind("COUNTER")) as built:
            built.report([metric(1, app=app) for app in ("a", "b", "c", "a", "d")])
    (found,) = collector.metrics["calls"]
    counts = {plain(each.attributes)["app"]: each.as_int for each in found.sum.data_points}
    assert counts == {"a": 2, "b": 1}
    dropped = collector.metrics["mast.mixer.series.dropped"][0]
    assert dropped.sum.data_points[0].as_int == 2
    assert dropped.sum.is_monotonic


async def test_series_expire_and_start_again() -> None:
    clock = Clock(0.0)
    async with otlp_collector() as collector:
        async with handler(
            collector.address, clock=clock, series_expiry="60s", **kind("COUNTER")
        ) as built:
            built.report([metric(1, app="old")])
            clock.now = 61
            await built.export()
            assert not collector.metrics
            built.report([metric(1, app="old")])
    (found,) = collector.metrics["calls"]
    (point,) = found.sum.data_points
    assert (point.as_int, point.start_time_unix_nano) == (1, NOW.ns + 61 * NANOS)


async def test_exports_are_split() -> None:
    async with otlp_collector() as collector:
        async with handler(collector.address, max_batch=2, **kind("COUNTER")) as built:
            built.report([metric(1, app=f"a{n}") for n in range(5)])
    sizes = [len(each.sum.data_points) for each in collector.metrics["calls"]]
    assert sizes == [2, 2, 1]


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        (metric("many"), f"metric {NAME}: could not convert metric value 'many' to a number"),
        (metric(-1), f"counter {NAME} cannot decrease"),
        (Batch(Instance("other", "metric", {}), [1]), "no metric is configured for other"),
    ],
)
async def test_values_that_do_not_count(batch: Batch, error: str) -> None:
    async with handler("127.0.0.1:1", closing=False, **kind("COUNTER")) as built:
        assert built.report([batch]) == (f"opentelemetry: {error}",)


# Log entries.


async def test_log_entries() -> None:
    at = Timestamp(NOW.ns - 5)
    async with otlp_collector() as collector:
        async with handler(collector.address) as built:
            variables = {"latency": Duration(1_500_000), "labels": {"a": "b"}, "gone": None}
            batches = [entry(timestamp=at, severity="Warning", variables=variables), entry()]
            assert built.report(batches) == ()
    first, second = collector.logs
    assert (first.time_unix_nano, second.time_unix_nano) == (at.ns, NOW.ns)
    assert (first.severity_text, first.severity_number) == ("Warning", 13)
    assert first.body.string_value == LOG
    assert plain(first.attributes) == {"latency": 0.0015, "labels": {"a": "b"}}


@pytest.mark.parametrize(
    ("trace", "own", "joined"),
    [
        (TRACE, SPAN, (TRACE, SPAN)),
        (TRACE[:16].upper(), SPAN, ("0" * 16 + TRACE[:16], SPAN)),
        (TRACE, "", ("", "")),
        ("0" * 32, SPAN, ("", "")),
        (TRACE[1:], SPAN, ("", "")),
        (7, SPAN, ("", "")),
    ],
)
def test_log_entries_join_their_trace(trace: Any, own: str, joined: tuple[str, str]) -> None:
    fields = {"trace_id": trace, "span_id": own, "path": "/"}
    (instance,) = entry(variables=fields).instances()
    record = log_record(instance, NOW)
    assert (record.trace_id.hex(), record.span_id.hex()) == joined
    left = {"path": "/"} if joined[0] else fields
    assert plain(record.attributes) == left


@pytest.mark.parametrize(("severity", "number"), [("ERR", 17), ("FATAL", 21), ("", 0), ("x", 0)])
def test_severities(severity: str, number: int) -> None:
    (instance,) = entry(severity=severity).instances()
    assert log_record(instance, NOW).severity_number == number


@pytest.mark.parametrize(("ns", "told"), [(-1, 0), (1 << 70, (1 << 64) - 1)])
def test_times_that_otlp_has_not(ns: int, told: int) -> None:
    (instance,) = entry(timestamp=Timestamp(ns)).instances()
    assert log_record(instance, NOW).time_unix_nano == told


# Spans.


async def test_spans_are_of_their_services() -> None:
    async with otlp_collector() as collector:
        async with handler(collector.address, resource_attributes={"k8s.cluster.name": "c"}) as b:
            assert b.report([spanned(), spanned(client_span=True), spanned(span_id="")]) == ()
    (server, served), (client, called) = collector.spans
    assert (server, client) == ("reviews", "productpage")
    assert (served.trace_id.hex(), served.span_id.hex()) == (TRACE, SPAN)
    assert served.parent_span_id.hex() == PARENT
    assert (served.name, served.kind) == ("reviews:9080/*", Span.SPAN_KIND_SERVER)
    assert served.end_time_unix_nano - served.start_time_unix_nano == 250_000_000
    assert plain(served.attributes) == {
        "a": "x",
        "retries": 5,
        "http.response.status_code": 404,
        "network.peer.address": "10.0.0.1",
        "peer.service": "productpage",
        "network.protocol.name": "http",
        "http.request.body.size": 10,
        "http.request.size": 100,
        "http.response.size": 300,
    }
    assert called.kind == Span.SPAN_KIND_CLIENT
    # 404 is an error of who asked, not of who answered.
    assert (served.status.code, called.status.code) == (0, 2)
    (request,) = collector.requests["TraceService"]
    resource = plain(request.resource_spans[0].resource.attributes)
    assert resource == {"service.name": "reviews", "k8s.cluster.name": "c"}


def test_spans_without_times_are_short() -> None:
    found = span({**SPANNED, "start_time": None, "end_time": None}, NOW)
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (NOW.ns, NOW.ns)


@pytest.mark.parametrize(("share", "sent"), [(0.0, 0), (0.5, 0), (0.6, 1), (1.0, 1)])
async def test_sampling(share: float, sent: int) -> None:
    async with otlp_collector() as collector:
        async with handler(collector.address, sample_probability=share) as built:
            built.report([spanned(trace_id="0" * 15 + "18" + "0" * 15)])
    assert len(collector.spans) == sent


# The collector.


async def test_it_goes_by_itself() -> None:
    often = {"metric_interval": "0.05s", "batch_interval": "0.05s"}
    async with (
        otlp_collector() as collector,
        handler(collector.address, **often, **kind("COUNTER")) as built,
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(built.run())
        built.report([metric(1, app="a"), entry(), spanned()])
        await until(lambda: bool(collector.metrics and collector.logs and collector.spans))
        running.cancel()


async def test_a_collector_may_go_and_come_back() -> None:
    """Totals lose nothing, log entries that nobody took are lost."""
    often = {"metric_interval": "0.05s", "batch_interval": "0.05s", "timeout": "2s"}
    async with otlp_collector() as first:
        address = first.address
        async with (
            handler(address, **often, **kind("COUNTER")) as built,
            asyncio.TaskGroup() as tasks,
        ):
            running = tasks.create_task(built.run())
            first.refusal = grpc.StatusCode.UNAVAILABLE
            before = len(first.metadata)
            built.report([metric(5, app="a"), entry(severity="lost")])
            await until(lambda: len(first.metadata) > before + 2)
            first.refusal = None
            built.report([metric(2, app="a"), entry(severity="kept")])
            await until(lambda: bool(first.logs and first.metrics))
            await until(lambda: _total(first) == 7)
            running.cancel()
    assert "kept" in {each.severity_text for each in first.logs}


def _total(collector: OtlpCollector) -> int:
    found: int = collector.metrics["calls"][-1].sum.data_points[0].as_int
    return found


async def _total_when_back(address: str) -> int | None:
    """The first total that a collector at an address is sent; None if it cannot be there."""
    try:
        async with otlp_collector(address=address) as back:
            await until(lambda: bool(back.metrics))
            return _total(back)
    except RuntimeError:
        return None


async def test_a_collector_that_was_not_there_gets_the_totals() -> None:
    often = {"metric_interval": "0.05s", "batch_interval": "0.05s", "timeout": "2s"}
    async with otlp_collector() as gone:
        address = gone.address
    async with (
        handler(address, **often, **kind("COUNTER")) as built,
        asyncio.TaskGroup() as tasks,
    ):
        with log_events() as logged:
            running = tasks.create_task(built.run())
            built.report([metric(5, app="a"), entry()])
            async with asyncio.timeout(30):
                failed = {(await logged.get())["adapter"] for _ in range(2)}
            assert failed <= {"opentelemetry logs", "opentelemetry metrics"}
            built.report([metric(2, app="a")])
            total = await _total_when_back(address)
            running.cancel()
    if total is None:
        pytest.skip("somebody has taken the port meanwhile")
    assert total == 7


CONFIGURATION = """
kind: attributemanifest
metadata: {name: m}
spec:
  attributes:
    source.uid: {valueType: STRING}
    response.code: {valueType: INT64}
    response.duration: {valueType: DURATION}
    request.time: {valueType: TIMESTAMP}
---
kind: handler
metadata: {name: otel}
spec:
  compiledAdapter: opentelemetry
  params:
    address: ADDRESS
    metrics:
      time.instance.istio-system: {name: mesh.time, kind: HISTOGRAM, bounds: [1]}
---
kind: instance
metadata: {name: time}
spec:
  compiledTemplate: metric
  params: {value: response.duration, dimensions: {code: response.code, from: source.uid | ""}}
---
kind: instance
metadata: {name: access}
spec:
  compiledTemplate: logentry
  params: {timestamp: request.time, severity: '"Info"', variables: {code: response.code}}
---
kind: rule
metadata: {name: r}
spec: {actions: [{handler: otel, instances: [time, access]}]}
"""


async def test_from_objects_to_the_collector() -> None:
    async with otlp_collector() as collector:
        rig = Rig(CONFIGURATION.replace("ADDRESS", collector.address))
        assert rig.problems == []
        told = {"response.duration": Duration(500_000_000), "request.time": NOW}
        errors = rig.report(*({"response.code": code, **told} for code in (200, 200, 404)))
        assert errors == ()
        for built in rig.handlers.values():
            await built.close()
    (found,) = collector.metrics["mesh.time"]
    assert found.unit == "s"
    points = {plain(each.attributes)["code"]: each for each in found.histogram.data_points}
    assert {code: each.count for code, each in points.items()} == {200: 2, 404: 1}
    assert points[200].sum == 1.0
    assert [plain(each.attributes) for each in collector.logs] == [
        {"code": 200},
        {"code": 200},
        {"code": 404},
    ]
    assert {each.body.string_value for each in collector.logs} == {"access.instance.istio-system"}


async def test_reports_do_not_wait_for_a_collector_that_is_gone() -> None:
    async with otlp_collector() as gone:
        address = gone.address
    async with handler(address, max_queued=2, timeout="1s", **kind("COUNTER")) as built:
        assert built.report([entry(), entry(), entry()]) == (
            "opentelemetry logs: 1 dropped, the backend is too slow",
        )
        assert built.report([spanned()] * 3) == (
            "opentelemetry spans: 1 dropped, the backend is too slow",
        )


async def test_headers_are_read_at_each_call(tmp_path: Path) -> None:
    file = tmp_path / "headers"
    async with otlp_collector() as collector:
        file.write_text("Authorization: Bearer one\n\nx-scope: mesh\n")
        async with handler(collector.address, headers_file=str(file), **kind("COUNTER")) as built:
            built.report([metric(1, app="a")])
            await built.export()
            file.write_text("authorization: Bearer two")
    told = [each["authorization"] for each in collector.metadata]
    assert told == ["Bearer one", "Bearer two"]
    assert collector.metadata[0]["x-scope"] == "mesh"


@pytest.mark.parametrize("line", ["secret", "a b: c", ": x", "grpc-timeout: 1", "x: \x01"])
def test_bad_headers_are_not_shown(line: str) -> None:
    with pytest.raises(AdapterError) as told:
        list(headers(["a: b", line]))
    assert str(told.value) == "headers_file: line 2 is not NAME: VALUE"


async def test_a_missing_headers_file_stops_nothing_but_exports(tmp_path: Path) -> None:
    async with otlp_collector() as collector:
        async with handler(collector.address, headers_file=str(tmp_path / "none")) as built:
            assert built.report([entry()]) == ()
    assert not collector.metadata


@pytest.mark.parametrize("shown", [True, False], ids=["certificate", "none"])
async def test_mutual_tls(tmp_path: Path, shown: bool) -> None:
    ca = Ca.root()
    server, own = ca.leaf(dns=["otel.example"]), ca.leaf(dns=["mixer"])
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    (tmp_path / "own.pem").write_bytes(own.chain)
    (tmp_path / "own.key").write_bytes(own.key)
    credentials = grpc.ssl_server_credentials(
        [(server.key, server.chain)], ca.pem, require_client_auth=True
    )
    tls = {"ca_certificates": str(tmp_path / "ca.pem"), "server_name": "otel.example"}
    if shown:
        tls["client_certificate"] = str(tmp_path / "own.pem")
        tls["private_key"] = str(tmp_path / "own.key")
    async with otlp_collector(credentials) as collector:
        async with handler(collector.address, tls=tls, timeout="5s") as built:
            built.report([entry()])
    assert len(collector.logs) == shown


# Over HTTP.


@asynccontextmanager
async def http_collector(tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpCollector]:
    """A collector of OTLP over HTTP below ``/otlp``."""
    found = HttpCollector()
    site = web.Application()
    site.router.add_post("/otlp/v1/{signal}", found.take)
    async with http_site(site, tls) as port:
        found.address = f"{'https' if tls else 'http'}://localhost:{port}/otlp"
        yield found


class HttpCollector:
    """What came by signal, and the headers of every call."""

    def __init__(self) -> None:
        self.address = ""
        self.taken: dict[str, Any] = {}
        self.headers: list[Mapping[str, str]] = []
        self.status = 200

    async def take(self, request: web.Request) -> web.Response:
        signal = request.match_info["signal"]
        self.headers.append(request.headers)
        if self.status != 200:
            return web.Response(status=self.status, headers={"location": "/elsewhere"})
        self.taken[signal] = _REQUESTS[signal].FromString(await request.read())
        return web.Response(body=b"", content_type="application/x-protobuf")


_REQUESTS: dict[str, Any] = {
    "metrics": metrics_service.ExportMetricsServiceRequest,  # type: ignore[attr-defined]
    "logs": logs_service.ExportLogsServiceRequest,  # type: ignore[attr-defined]
    "traces": trace_service.ExportTraceServiceRequest,  # type: ignore[attr-defined]
}


async def test_everything_over_http(tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("authorization: Bearer one")
    shown = {"headers_file": str(tmp_path / "headers")}
    async with http_collector() as collector:
        async with handler(f"{collector.address}/", **shown, **kind("COUNTER")) as built:
            built.report([metric(5, app="a"), entry(severity="warn"), spanned()])
    (metrics,) = collector.taken["metrics"].resource_metrics
    (counted,) = metrics.instrumentation_library_metrics[0].metrics
    assert counted.sum.data_points[0].as_int == 5
    (logs,) = collector.taken["logs"].resource_logs
    assert logs.instrumentation_library_logs[0].logs[0].severity_text == "warn"
    (spans,) = collector.taken["traces"].resource_spans
    assert spans.instrumentation_library_spans[0].spans[0].trace_id.hex() == TRACE
    for each in collector.headers:
        assert each["content-type"] == "application/x-protobuf"
        assert each["authorization"] == "Bearer one"


@pytest.mark.parametrize("status", [302, 400, 503])
async def test_what_is_not_taken_over_http_is_told(status: int) -> None:
    async with (
        http_collector() as collector,
        handler(collector.address, closing=False, **kind("COUNTER")) as built,
    ):
        collector.status = status
        built.report([metric(5, app="a")])
        with log_events() as logged:
            await built.export()
            assert f"answers {status}" in (await logged.get())["error"]
        collector.status = 200
        await built.export()
        assert "metrics" in collector.taken


@pytest.mark.parametrize("shown", [True, False], ids=["certificate", "none"])
async def test_mutual_tls_over_http(tmp_path: Path, shown: bool) -> None:
    ca = Ca.root()
    pairs = {"server": ca.leaf(dns=["otel.example"]), "own": ca.leaf(dns=["mixer"])}
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    for name, pair in pairs.items():
        (tmp_path / f"{name}.pem").write_bytes(pair.chain)
        (tmp_path / f"{name}.key").write_bytes(pair.key)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    server.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    server.verify_mode = ssl.CERT_REQUIRED
    tls = {"ca_certificates": str(tmp_path / "ca.pem"), "server_name": "otel.example"}
    if shown:
        tls["client_certificate"] = str(tmp_path / "own.pem")
        tls["private_key"] = str(tmp_path / "own.key")
    async with http_collector(server) as collector:
        async with handler(collector.address, tls=tls) as built:
            built.report([entry()])
    assert set(collector.taken) == ({"logs"} if shown else set())


# Validation.


def problems(types: Mapping[str, ValueType] | None = None, **params: Any) -> list[str]:
    return list(adapter(lambda: NOW, Clock()).validate(config(types, **params)))


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"series_expiry": "0s"},
        {"series_expiry": "61s"},
        {"address": "http://collector:4318"},
        {"address": "https://collector/otlp", "tls": {}},
    ],
)
def test_good_params(params: dict[str, Any]) -> None:
    assert problems(**params) == []


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({"address": "collector"}, "address: 'collector' is not HOST:PORT"),
        ({"address": "ftp://a/"}, "address: 'ftp://a/' is not http(s)://HOST[:PORT][/PATH]"),
        ({"address": "http://a:x"}, "address: 'http://a:x' is not http(s)://HOST[:PORT][/PATH]"),
        ({"address": "http://a?b"}, "address: 'http://a?b' is not http(s)://HOST[:PORT][/PATH]"),
        ({"address": "http://a", "tls": {}}, "tls: the address 'http://a' is without TLS"),
        ({"sample_probability": 2}, "sample_probability: 2 is not between 0 and 1"),
        ({"max_batch": 0}, "max_batch: 0 must be > 0"),
        ({"max_queued": -1}, "max_queued: -1 must be > 0"),
        ({"max_series": 0}, "max_series: 0 must be > 0"),
        ({"timeout": "0s"}, "timeout: must be > 0"),
        ({"metric_interval": "0s"}, "metric_interval: must be > 0"),
        ({"batch_interval": "-1s"}, "batch_interval: must be > 0"),
        (
            {"series_expiry": "60s"},
            "series_expiry: must be longer than metric_interval, or 0",
        ),
        (
            {"tls": {"private_key": "k"}},
            "tls: client_certificate and private_key belong together",
        ),
        (
            {"metrics": {"m": {}}},
            "metrics[m].kind: must be COUNTER, UP_DOWN_COUNTER, GAUGE or HISTOGRAM",
        ),
        (
            {"metrics": {"m": {"kind": "GAUGE", "name": "5x"}}},
            "metrics[m].name: '5x' is not a letter and up to 254 letters, digits and _ . / -",
        ),
        (
            {"metrics": {"m": {"kind": "GAUGE", "bounds": [1]}}},
            "metrics[m].bounds: only a HISTOGRAM has them",
        ),
        (
            {"metrics": {"m": {"kind": "HISTOGRAM", "bounds": [2, 1]}}},
            "metrics[m].bounds: must increase: [2.0, 1.0]",
        ),
        (
            {"metrics": {each: {"kind": "GAUGE", "name": "x"} for each in ("a", "b")}},
            "metrics: name 'x' is used 2 times",
        ),
    ],
)
def test_problems(params: dict[str, Any], problem: str) -> None:
    assert problems(**params) == [problem]


def test_a_value_must_be_a_number() -> None:
    found = problems({"value": ValueType.BOOL}, **kind("COUNTER"))
    assert found == [f"metrics[{NAME}].value: it gives BOOL, want a number or a duration"]
