"""The default telemetry configuration (mixer.md H; checklist 36, 43)."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from mast.mixer.adapters.lines import Lines
from mast.mixer.core.lang.tree import EvaluationError
from mast.mixer.core.metric_overrides import put_overrides
from mast.mixer.core.values import Attributes, Duration, Timestamp
from mast.mixer.core.workloads import Pod, Workloads
from tests.support.mixer_config import ACCESS_LOG, TELEMETRY, Rig, documents
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
            name, Pod(name, "shop", (bytes([10, 0, 0, address]),), labels, workload=f"{app}-v1")
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


async def test_access_logs() -> None:
    rig = Rig(TELEMETRY, ACCESS_LOG)
    memory = Memory()
    handler = rig.handlers["stdio.handler.istio-system"]
    handler._lines = Lines(memory)  # noqa: SLF001  where standard output would be
    start = Timestamp(1_580_464_800 * 10**9)
    request: Attributes = {
        **HTTP,
        "request.time": start,
        "response.time": Timestamp(start.ns + 30_000_000),
        "request.headers": {"x-request-id": "42", ":authority": "reviews:9080"},
        "request.method": "GET",
        "request.path": "/x?y",
    }
    assert rig.report(request, {"context.protocol": "tcp", "connection.event": "open"}) == ()
    await handler.close()
    http, tcp = (json.loads(line) for line in memory.text.splitlines())
    assert list(http)[:3] == ["level", "time", "instance"]
    assert list(http)[3:] == sorted(list(http)[3:])
    assert http["instance"] == "accesslog.instance.istio-system"
    assert http["time"] == "2020-01-31T10:00:00.000000Z"
    wanted = {"requestId": "42", "httpAuthority": "reviews:9080", "latency": "30ms",
              "responseCode": 503, "sourceIp": "10.0.0.1", "destinationIp": UNSPECIFIED,
              "reporter": "destination", "responseTimestamp": "2020-01-31T10:00:00.030000Z",
              "apiKey": "", "xForwardedFor": UNSPECIFIED, "protocol": "http"}  # fmt: skip
    assert {name: http[name] for name in wanted} == wanted
    assert tcp["instance"] == "tcpaccesslog.instance.istio-system"
    assert tcp["time"] == "2017-01-01T00:00:00.000000Z"
    assert (tcp["connectionEvent"], tcp["protocol"], tcp["connectionDuration"]) == (
        "open",
        "tcp",
        "0s",
    )


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
