"""The default telemetry configuration (mixer.md H, H1 to H3; checklist 36, 43)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry, TCPAccessLogEntry

from mast.common.expressions.tree import EvaluationError
from mast.mixer.adapters.lines import Lines
from mast.mixer.core.envoy_reports import HttpReports, Stream
from mast.mixer.core.metric_overrides import put_overrides
from mast.mixer.core.tcp_flows import Flows
from mast.mixer.core.values import Attributes, Duration, Timestamp
from mast.mixer.core.workloads import Pod, Workloads
from tests.support.access_logs import received
from tests.support.messages import made
from tests.support.mixer_config import ACCESS_LOG, NOW, TELEMETRY, Rig, documents
from tests.support.scrape import scraped
from tests.unit.mixer.test_stdio import Memory

UNSPECIFIED = "0.0.0.0"  # noqa: S104  an attribute, nothing is bound to it
HTTP_LABELS = {
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "request_protocol",
    "response_code",
    "response_flags",
    "permissive_response_code",
    "permissive_response_policyid",
    "connection_security_policy",
}
TCP_LABELS = HTTP_LABELS - {
    "request_protocol",
    "response_code",
    "permissive_response_code",
    "permissive_response_policyid",
}


def test_it_compiles_without_problems() -> None:
    counts = Rig(TELEMETRY, ACCESS_LOG).snapshot.counts
    assert (counts.attributes, counts.rules, counts.instances) == (90, 8, 11)
    assert Rig(TELEMETRY, ACCESS_LOG).problems == []


INSTANCES = [
    each
    for text in (TELEMETRY, ACCESS_LOG)
    for each in documents(text)
    if each["kind"] == "instance"
]


@pytest.mark.parametrize("document", INSTANCES, ids=lambda each: each["metadata"]["name"])
def test_every_expression_has_a_value_for_an_empty_request(document: dict[str, Any]) -> None:
    expressions = Rig(TELEMETRY).snapshot.expressions
    spec = document["spec"]
    texts = _leaves(spec["params"])
    failing = set()
    for text in texts:
        try:
            expressions.compile(text).evaluate({}.get)
        except EvaluationError:
            failing.add(text)
    assert failing <= {"request.time", "response.time"}
    assert texts


def _leaves(params: dict[str, Any]) -> list[str]:
    return [
        leaf
        for each in params.values()
        for leaf in (_leaves(each) if isinstance(each, dict) else [each])
    ]


def test_no_match_applies_to_an_empty_request() -> None:
    rig = Rig(TELEMETRY, ACCESS_LOG)
    assert rig.report({}) == ()
    assert rig.registry.size == 0
    assert {rule for rule, _ in rig.notes.match_errors} == {
        f"{name}.rule.istio-system"
        for name in (
            "promhttp",
            "promtcp",
            "promtcpconnectionclosed",
            "promtcpconnectionopen",
            "stdio",
            "stdiotcp",
            "tcpkubeattrgenrulerule",
        )
    }


def workloads() -> Workloads:
    found = Workloads()
    for name, app, address in (("web-1", "web", 1), ("reviews-1", "reviews", 2)):
        labels = {"app": app, "version": "v1"}
        found.put(
            name,
            Pod(
                name,
                "shop",
                (bytes([10, 0, 0, address]),),
                labels,
                workload=f"{app}-v1",
                owner=f"kubernetes://owner-of-{app}",
            ),
        )
    return found


HTTP: Attributes = {
    "context.protocol": "http",
    "context.reporter.kind": "inbound",
    "source.ip": bytes([10, 0, 0, 1]),
    "source.principal": "cluster.local/ns/shop/sa/web",
    "destination.uid": "kubernetes://reviews-1.shop",
    "destination.principal": "cluster.local/ns/shop/sa/reviews",
    "destination.service.host": "reviews.shop.svc.cluster.local",
    "destination.service.name": "reviews",
    "destination.service.namespace": "shop",
    "connection.mtls": True,
    "request.size": 11,
    "response.size": 2000,
    "response.code": 503,
    "response.duration": Duration(30_000_000),
    "context.proxy_error_code": "UH",
}


def series(rig: Rig) -> dict[str, dict[str, Any]]:
    """Samples by name: labels and value of each; of histograms the count and sum."""
    found: dict[str, dict[str, Any]] = {}
    for line in rig.registry.render().splitlines():
        if line.startswith("#") or "_bucket" in line:
            continue
        name, labels, value = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line).groups()  # type: ignore[union-attr]
        found[name] = {**dict(re.findall(r'(\w+)="([^"]*)"', labels)), "": float(value)}
    return found


def test_http_requests() -> None:
    rig = Rig(TELEMETRY, workloads=workloads())
    assert rig.report(HTTP, HTTP) == ()
    found = series(rig)
    assert set(found) == {
        "istio_requests_total",
        "istio_request_duration_seconds_sum",
        "istio_request_duration_seconds_count",
        "istio_request_bytes_sum",
        "istio_request_bytes_count",
        "istio_response_bytes_sum",
        "istio_response_bytes_count",
    }
    assert found["istio_requests_total"] == {
        "": 2,
        "reporter": "destination",
        "source_workload": "web-v1",
        "source_workload_namespace": "shop",
        "source_principal": "cluster.local/ns/shop/sa/web",
        "source_app": "web",
        "source_version": "v1",
        "destination_workload": "reviews-v1",
        "destination_workload_namespace": "shop",
        "destination_principal": "cluster.local/ns/shop/sa/reviews",
        "destination_app": "reviews",
        "destination_version": "v1",
        "destination_service": "reviews.shop.svc.cluster.local",
        "destination_service_name": "reviews",
        "destination_service_namespace": "shop",
        "request_protocol": "http",
        "response_code": "503",
        "response_flags": "UH",
        "permissive_response_code": "none",
        "permissive_response_policyid": "none",
        "connection_security_policy": "mutual_tls",
    }
    assert found["istio_request_duration_seconds_sum"][""] == pytest.approx(0.06)
    assert found["istio_request_bytes_sum"][""] == 22
    assert found["istio_response_bytes_count"][""] == 2
    for name, labels in found.items():
        assert set(labels) - {""} == HTTP_LABELS, name


def test_outbound_requests_of_an_unknown_source() -> None:
    rig = Rig(TELEMETRY)
    rig.report({**HTTP, "context.reporter.kind": "outbound", "source.ip": bytes([9, 9, 9, 9])})
    labels = series(rig)["istio_requests_total"]
    assert labels["reporter"] == "source"
    assert labels["connection_security_policy"] == "unknown"
    assert labels["source_workload"] == labels["source_app"] == "unknown"


@pytest.mark.parametrize("agent", ["kube-probe/1.14", "Prometheus/2.0"])
def test_probes_are_not_counted(agent: str) -> None:
    rig = Rig(TELEMETRY)
    rig.report({**HTTP, "request.useragent": agent})
    assert series(rig) == {}


def test_pass_through() -> None:
    rig = Rig(TELEMETRY)
    rig.report(
        {
            "context.protocol": "http",
            "destination.service.name": "PassthroughCluster",
            "request.host": "example.com",
        }
    )
    labels = series(rig)["istio_requests_total"]
    assert labels["destination_service"] == "example.com"
    assert labels["destination_service_name"] == "PassthroughCluster"


def test_a_tcp_connection() -> None:
    rig = Rig(TELEMETRY)
    base: Attributes = {
        "context.protocol": "tcp",
        "destination.service.host": "db",
        "connection.mtls": False,
    }
    rig.report(
        {**base, "connection.event": "open", "connection.sent.bytes": 1,
         "connection.received.bytes": 10},
        {**base, "connection.event": "continue", "connection.sent.bytes": 2,
         "connection.received.bytes": 20},
        {**base, "connection.event": "close", "connection.sent.bytes": 4,
         "connection.received.bytes": 40},
    )  # fmt: skip
    found = series(rig)
    assert {name: labels[""] for name, labels in found.items()} == {
        "istio_tcp_sent_bytes_total": 7,
        "istio_tcp_received_bytes_total": 70,
        "istio_tcp_connections_opened_total": 1,
        "istio_tcp_connections_closed_total": 1,
    }
    for labels in found.values():
        assert set(labels) - {""} == TCP_LABELS
        assert labels["connection_security_policy"] == "none"


def test_bucket_bounds_are_istios() -> None:
    rig = Rig(TELEMETRY)
    rig.report(HTTP)
    text = rig.registry.render()
    for name, bounds in (
        ("istio_request_duration_seconds", "0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf"),
        ("istio_request_bytes", "1 10 100 1000 10000 100000 1e+06 1e+07 1e+08 +Inf"),
        ("istio_response_bytes", "1 10 100 1000 10000 100000 1e+06 1e+07 1e+08 +Inf"),
    ):
        found = re.findall(rf'^{name}_bucket{{.*le="([^"]+)"}}', text, re.MULTILINE)
        assert " ".join(found) == bounds


REQUEST = """
common_properties:
  downstream_direct_remote_address: {socket_address: {address: 10.0.0.1, port_value: 4}}
  downstream_local_address: {socket_address: {address: 10.0.0.2, port_value: 9080}}
  start_time: "2020-01-31T10:00:00.5Z"
  duration: 0.030s
  response_flags: {no_healthy_upstream: true}
  custom_tags: {destination.service.host: reviews.shop.svc.cluster.local}
  tls_properties:
    tls_sni_hostname: outbound_.9080_._.reviews.shop.svc.cluster.local
    local_certificate_properties:
      subject_alt_name: [{uri: spiffe://cluster.local/ns/shop/sa/reviews}]
    peer_certificate_properties:
      subject_alt_name: [{uri: spiffe://cluster.local/ns/shop/sa/web}]
  metadata:
    filter_metadata:
      envoy.filters.http.rbac: {shadow_engine_result: denied, shadow_effective_policy_id: p1}
request:
  request_method: POST
  scheme: https
  authority: reviews:9080
  path: /x?y
  user_agent: curl
  referer: somewhere
  forwarded_for: 1.2.3.4
  request_id: "42"
  request_headers: {x-api-key: key, x-client-trace-id: trace, content-type: application/grpc}
  request_headers_bytes: 100
  request_body_bytes: 11
response:
  response_code: 503
  response_headers_bytes: 50
  response_body_bytes: 2000
  response_trailers: {grpc-status: "14", grpc-message: away}
"""
CONNECTION = """
common_properties:
  downstream_direct_remote_address: {socket_address: {address: 10.0.0.1, port_value: 4}}
  downstream_local_address: {socket_address: {address: 10.0.0.2, port_value: 9080}}
  start_time: "2020-01-31T10:00:00Z"
  duration: 60.5s
  access_log_type: TcpConnectionEnd
connection_properties: {received_bytes: 10, sent_bytes: 20}
"""
SIDES = {
    "sourceApp": "web",
    "sourceIp": "10.0.0.1",
    "sourceName": "web-1",
    "sourceNamespace": "shop",
    "sourceOwner": "kubernetes://owner-of-web",
    "sourceWorkload": "web-v1",
    "destinationApp": "reviews",
    "destinationIp": "10.0.0.2",
    "destinationName": "reviews-1",
    "destinationNamespace": "shop",
    "destinationOwner": "kubernetes://owner-of-reviews",
    "destinationWorkload": "reviews-v1",
    "reporter": "destination",
}
HTTP_LINE = {
    **SIDES,
    "sourcePrincipal": "cluster.local/ns/shop/sa/web",
    "destinationPrincipal": "cluster.local/ns/shop/sa/reviews",
    "destinationServiceHost": "reviews.shop.svc.cluster.local",
    "apiClaims": "",
    "apiKey": "key",
    "protocol": "https",
    "method": "POST",
    "url": "/x?y",
    "responseCode": 503,
    "responseFlags": "UH",
    "responseSize": 2000,
    "permissiveResponseCode": "denied",
    "permissiveResponsePolicyID": "p1",
    "requestSize": 11,
    "requestId": "42",
    "clientTraceId": "trace",
    "latency": "30ms",
    "connection_security_policy": "mutual_tls",
    "requestedServerName": "outbound_.9080_._.reviews.shop.svc.cluster.local",
    "userAgent": "curl",
    "responseTimestamp": "2020-01-31T10:00:00.530000Z",
    "receivedBytes": 111,
    "sentBytes": 2050,
    "referer": "somewhere",
    "httpAuthority": "reviews:9080",
    "xForwardedFor": "1.2.3.4",
    "grpcStatus": "14",
    "grpcMessage": "away",
}
TCP_LINE = {
    **SIDES,
    "sourcePrincipal": "",
    "destinationPrincipal": "",
    "destinationServiceHost": "",
    "connectionEvent": "close",
    "protocol": "tcp",
    "connectionDuration": "1m0.5s",
    "connection_security_policy": "none",
    "requestedServerName": "",
    "receivedBytes": 10,
    "sentBytes": 20,
    "totalReceivedBytes": 10,
    "totalSentBytes": 20,
    "responseFlags": "",
}


async def logged(rig: Rig, *records: Attributes) -> list[dict[str, Any]]:
    """The lines that the handler of kind stdio writes for some records."""
    (handler,) = (each for fqn, each in rig.handlers.items() if "stdio" in fqn)
    memory = Memory()
    handler._lines = Lines(memory)  # noqa: SLF001  where standard output would be
    assert rig.report(*records) == ()
    await handler.close()
    return [json.loads(line) for line in memory.text.splitlines()]


async def test_access_logs() -> None:
    """Every variable of H2, from entries of a proxy's log."""
    found = workloads()
    stream = Stream.of(made(Node, "id: sidecar~10.0.0.2~reviews-1.shop~d"), "inbound")
    request = HttpReports(stream, found).attributes(received(made(HTTPAccessLogEntry, REQUEST)))
    (closed,) = Flows().attributes(made(TCPAccessLogEntry, CONNECTION), stream, found, NOW)
    http, tcp = await logged(Rig(TELEMETRY, ACCESS_LOG, workloads=found), request, closed)
    assert list(http) == ["level", "time", "instance", *sorted(HTTP_LINE)]
    assert http == {
        "level": "info",
        "time": "2020-01-31T10:00:00.500000Z",
        "instance": "accesslog.instance.istio-system",
        **HTTP_LINE,
    }
    assert tcp == {
        "level": "info",
        "time": "2020-01-31T10:01:00.500000Z",
        "instance": "tcpaccesslog.instance.istio-system",
        **TCP_LINE,
    }


async def test_access_logs_of_almost_empty_records() -> None:
    start = Timestamp(1_580_464_800 * 10**9)
    rig = Rig(TELEMETRY, ACCESS_LOG)
    http, tcp = await logged(
        rig,
        {"context.protocol": "http", "request.time": start, "response.time": start},
        {"context.protocol": "tcp"},
    )
    missing = {
        **dict.fromkeys(HTTP_LINE.keys() | TCP_LINE.keys(), ""),
        **dict.fromkeys(("responseCode", "responseSize", "requestSize"), 0),
        **dict.fromkeys(("receivedBytes", "sentBytes"), 0),
        **dict.fromkeys(("totalReceivedBytes", "totalSentBytes"), 0),
        **dict.fromkeys(("sourceIp", "destinationIp", "xForwardedFor"), UNSPECIFIED),
        **dict.fromkeys(("permissiveResponseCode", "permissiveResponsePolicyID"), "none"),
        **dict.fromkeys(("latency", "connectionDuration"), "0s"),
        **dict.fromkeys(("sourceNamespace", "destinationNamespace"), "default"),
        **{
            f"{side}{part}": "unknown"
            for side in ("source", "destination")
            for part in ("Name", "Workload", "Owner")
        },
        "reporter": "destination",
        "connection_security_policy": "none",
        "responseTimestamp": "2020-01-31T10:00:00.000000Z",
    }
    assert http["time"] == "2020-01-31T10:00:00.000000Z"
    assert tcp["time"] == "2017-01-01T00:00:00.000000Z"
    assert {each: http[each] for each in HTTP_LINE} == {
        each: missing[each] for each in HTTP_LINE
    } | {"protocol": "http"}
    assert {each: tcp[each] for each in TCP_LINE} == {each: missing[each] for each in TCP_LINE} | {
        "protocol": "tcp"
    }


# The kinds of Istio 1.0 (H3)

LATER = {"response_flags", "permissive_response_code", "permissive_response_policyid"}
SINCE_1_1 = {
    "tcpconnectionsopened",
    "tcpconnectionsclosed",
    "promtcpconnectionopen",
    "promtcpconnectionclosed",
}


def as_of_1_0(text: str) -> str:
    """The same configuration in the kinds of Istio 1.0, without what came later."""
    return "\n---\n".join(
        json.dumps(_as_of_1_0(each))
        for each in documents(text)
        if each["metadata"]["name"] not in SINCE_1_1
    )


def _as_of_1_0(document: dict[str, Any]) -> dict[str, Any]:
    kind, metadata, spec = document["kind"], document["metadata"], document["spec"]
    if kind == "handler":
        kind, spec = spec["compiledAdapter"], spec["params"]
        metadata = {**metadata, "name": "handler"}
        metrics = [
            {
                **each,
                "instance_name": each["instance_name"].replace(".instance.", ".metric."),
                "label_names": [name for name in each["label_names"] if name not in LATER],
            }
            for each in spec.get("metrics", ())
            if each["instance_name"].partition(".")[0] not in SINCE_1_1
        ]
        spec = {"metrics": metrics} if metrics else spec
    elif kind == "instance":
        kind, bindings = spec["compiledTemplate"], spec.get("attributeBindings")
        spec = spec["params"] | ({"attribute_bindings": bindings} if bindings else {})
        if kind == "metric":
            dimensions = {k: v for k, v in spec["dimensions"].items() if k not in LATER}
            dimensions["destination_service"] = 'destination.service.host | "unknown"'
            spec = {**spec, "dimensions": dimensions}
    elif kind == "rule":
        kinds = {"accesslog": "logentry", "tcpaccesslog": "logentry", "attributes": "kubernetes"}
        (action,) = spec["actions"]
        instances = [f"{each}.{kinds.get(each, 'metric')}" for each in action["instances"]]
        actions = [{"handler": f"handler.{action['handler']}", "instances": instances}]
        match = spec.get("match", "").partition(" && (match(")[0]
        spec = {"match": match, "actions": actions}
    return {"kind": kind, "metadata": metadata, "spec": spec}


async def test_the_kinds_of_1_0_make_the_same() -> None:
    tcp = {**HTTP, "context.protocol": "tcp", "connection.sent.bytes": 7}
    start = Timestamp(1_580_464_800 * 10**9)
    request = {**HTTP, "request.time": start, "response.time": start}
    old = Rig(as_of_1_0(TELEMETRY), as_of_1_0(ACCESS_LOG), workloads=workloads())
    new = Rig(TELEMETRY, ACCESS_LOG, workloads=workloads())
    assert old.problems == []
    lines = await logged(old, request, tcp)
    assert [each.pop("instance") for each in lines] == [
        "accesslog.logentry.istio-system",
        "tcpaccesslog.logentry.istio-system",
    ]
    expected = await logged(new, request, tcp)
    for each in expected:
        del each["instance"]
    assert lines == expected
    without = {
        name: {label: text for label, text in labels.items() if label not in LATER}
        for name, labels in series(new).items()
    }
    assert series(old) == without
    probe = {**request, "request.useragent": "kube-probe/1.10"}
    await logged(old, probe)
    assert series(old)["istio_requests_total"][""] == 2
    old.clock.now += 1e9
    old.handlers["handler.prometheus.istio-system"].expire()
    assert series(old)["istio_requests_total"][""] == 2


# What dashboards ask for

REQUESTS = "istio_requests_total"
SIZES = ("istio_request_bytes", "istio_response_bytes")
SECONDS = "istio_request_duration_seconds"
BYTES = ("istio_tcp_sent_bytes_total", "istio_tcp_received_bytes_total")
WORKLOAD_OF_SOURCE = {"source_workload", "source_workload_namespace"}
WORKLOAD = {"destination_workload", "destination_workload_namespace"}
KIALI = {
    "reporter", "source_workload_namespace", "source_workload", "source_app", "source_version",
    "destination_service_namespace", "destination_service", "destination_service_name",
    "destination_workload_namespace", "destination_workload", "destination_app",
    "destination_version", "response_flags",
}  # fmt: skip


@pytest.mark.parametrize(
    ("metrics", "labels"),
    [
        pytest.param([REQUESTS, f"{SECONDS}_bucket"],
                     {"reporter", "destination_service", *WORKLOAD}, id="mesh"),
        pytest.param([REQUESTS], {"reporter", "response_code"}, id="mesh-success"),
        pytest.param(BYTES, {"reporter", "destination_service", *WORKLOAD}, id="mesh-tcp"),
        pytest.param([REQUESTS],
                     {"connection_security_policy", "destination_service", "reporter",
                      "response_code", *WORKLOAD, *WORKLOAD_OF_SOURCE}, id="service-requests"),
        pytest.param([f"{each}_bucket" for each in (SECONDS, *SIZES)],
                     {"connection_security_policy", "destination_service", "le", "reporter",
                      *WORKLOAD, *WORKLOAD_OF_SOURCE}, id="service-histograms"),
        pytest.param(BYTES,
                     {"connection_security_policy", "destination_service", "reporter",
                      *WORKLOAD, *WORKLOAD_OF_SOURCE}, id="service-and-workload-tcp"),
        pytest.param([REQUESTS],
                     {"connection_security_policy", "destination_service", "reporter",
                      "response_code", *WORKLOAD, *WORKLOAD_OF_SOURCE}, id="workload-requests"),
        pytest.param([f"{each}_{part}" for each in (SECONDS, *SIZES)
                      for part in ("bucket", "count", "sum")],
                     {"connection_security_policy", "destination_service", "reporter",
                      *WORKLOAD, *WORKLOAD_OF_SOURCE}, id="workload-histograms"),
        pytest.param([REQUESTS], {*KIALI, "request_protocol", "response_code",
                                  "connection_security_policy"}, id="kiali-graph"),
        pytest.param(BYTES, {*KIALI, "connection_security_policy"}, id="kiali-tcp"),
        pytest.param([f"{SECONDS}_bucket", f"{SIZES[0]}_bucket", f"{SIZES[1]}_sum"],
                     {*KIALI, "request_protocol", "response_code"}, id="kiali-health"),
    ],
)  # fmt: skip
def test_what_dashboards_ask_for_is_there(metrics: Sequence[str], labels: set[str]) -> None:
    """Metrics and labels of the queries of Istio's mesh, service and workload pages, and Kiali."""
    rig = Rig(TELEMETRY, workloads=workloads())
    rig.report(HTTP, {**HTTP, "context.protocol": "tcp", "connection.event": "open"})
    found = scraped(rig.registry.render())
    for metric in metrics:
        known = [{label for label, _ in have} for name, have in found if name == metric]
        assert known, metric
        for have in known:
            assert labels - {"le"} <= have, metric
            assert ("le" in have) is metric.endswith("_bucket")


def test_overrides_of_telemetry_objects() -> None:
    """Records that only differ in their overrides are counted apart (pilot.md K5)."""
    rig = Rig(TELEMETRY, workloads=workloads())
    tags = {
        "telemetry": '{"disabled":["istio_request_bytes"],'
        '"labels":{"istio_requests_total":{"host":0,"response_flags":null}}}',
        "telemetry.0": "reviews",
    }
    overridden = dict(HTTP)
    put_overrides(overridden, tags)
    assert rig.report(HTTP, overridden) == ()
    lines = rig.registry.render().splitlines()
    assert sum(line.startswith("istio_requests_total") for line in lines) == 2
    assert sum('host="reviews"' in line and 'response_flags=""' in line for line in lines) == 1
    (size,) = (line for line in lines if line.startswith("istio_request_bytes_count"))
    assert size.endswith(" 1")
