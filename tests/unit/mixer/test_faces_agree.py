"""A request means the same whichever face it comes through (mixer.md L 50, 53)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry, TCPAccessLogEntry
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from mast.mixer.core.envoy_attributes import INBOUND, Reporter, check_attributes
from mast.mixer.core.envoy_reports import HttpReports, Stream
from mast.mixer.core.tcp_flows import Flows
from mast.mixer.core.templates import Variety
from mast.mixer.core.values import Attributes
from mast.mixer.core.verdict_metadata import Charges, check_response
from mast.mixer.core.wire import Words, decode, encode
from mast.mixer.core.workloads import Pod, Workloads, packed_ip
from tests.support.access_logs import received
from tests.support.messages import made
from tests.support.mixer_config import TELEMETRY, Rig

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = """
kind: handler
metadata: {name: deny, namespace: shop}
spec: {compiledAdapter: denier, params: {status: {code: 7, message: never}}}
---
kind: instance
metadata: {name: nothing, namespace: shop}
spec: {compiledTemplate: checknothing}
---
kind: rule
metadata: {name: deny, namespace: shop}
spec:
  match: source.labels["app"] == "reviews" && request.headers["x-user"] == "mallory"
  actions: [{handler: deny, instances: [nothing]}]
"""


def workloads() -> Workloads:
    found = Workloads()
    found.put("1", Pod("reviews-1", "web", (packed_ip("10.0.0.1"),), {"app": "reviews"}))
    found.put("2", Pod("ratings-1", "shop", (packed_ip("10.0.0.2"),), {"app": "ratings"}))
    return found


def over_the_wire(attributes: Attributes) -> Attributes:
    """As a proxy of Istio 1.4 sends the same attributes."""
    message = encode(attributes)
    return decode(message, Words(message.words))


@pytest.mark.parametrize(
    ("user", "address", "code"),
    [("mallory", "10.0.0.1", 7), ("alice", "10.0.0.1", 0), ("mallory", "10.0.0.9", 0)],
)
def test_the_same_verdict(user, address, code) -> None:
    request = made(
        CheckRequest,
        f"""
attributes:
  source: {{address: {{socket_address: {{address: {address}, port_value: 1}}}}}}
  destination: {{address: {{socket_address: {{address: 10.0.0.2, port_value: 9080}}}}}}
  request:
    http: {{path: /, method: GET, host: ratings, headers: {{x-user: {user}}}}}
""",
    )
    reporter = Reporter(INBOUND, "kubernetes://ratings-1.shop")
    attributes = check_attributes(request, reporter, workloads(), NOW)
    rig = Rig(TELEMETRY, POLICY, workloads=workloads())

    verdict = rig.check(attributes)

    assert verdict == rig.check(over_the_wire(attributes))
    assert verdict.status.code == code
    assert check_response(verdict, Charges(), INBOUND).status.code == code


STREAM = Stream.of(made(Node, "id: sidecar~10.0.0.2~ratings-1.shop~d"), "inbound")
SIDES = """
  downstream_direct_remote_address: {socket_address: {address: 10.0.0.1, port_value: 1}}
  downstream_local_address: {socket_address: {address: 10.0.0.2, port_value: 9080}}
  start_time: "2026-01-01T00:00:00Z"
  duration: 0.25s
"""
REQUEST = f"""
common_properties:
{SIDES}
  custom_tags: {{destination.service.host: ratings.shop, destination.service.name: ratings}}
request: {{authority: ratings, path: /, request_body_bytes: 5}}
response: {{response_code: 200, response_body_bytes: 7}}
"""
CONNECTION = f"""
common_properties:
{SIDES}
  access_log_type: TcpConnectionEnd
connection_properties: {{received_bytes: 5, sent_bytes: 7}}
"""


def series(*records: Attributes) -> str:
    """What Prometheus gets of some reports by the default telemetry."""
    rig = Rig(TELEMETRY, workloads=workloads())
    assert not rig.report(*records)
    return str(rig.registry.render())


@pytest.mark.parametrize(
    ("records", "metric"),
    [
        pytest.param(
            [
                HttpReports(STREAM, workloads()).attributes(
                    received(made(HTTPAccessLogEntry, REQUEST))
                )
            ],
            "istio_requests_total",
            id="request",
        ),
        pytest.param(
            list(Flows().attributes(made(TCPAccessLogEntry, CONNECTION), STREAM, workloads(), NOW)),
            "istio_tcp_sent_bytes_total",
            id="connection",
        ),
    ],
)
def test_the_same_series(records: list[dict[str, Any]], metric: str) -> None:
    found = series(*records)
    assert found == series(*map(over_the_wire, records))
    assert f"{metric}{{" in found
    assert 'source_app="reviews"' in found


def test_what_nobody_reads_changes_no_series() -> None:
    rig = Rig(TELEMETRY)
    reads = rig.routing.reads(Variety.ATTRIBUTE_GENERATOR, Variety.REPORT)
    reports = HttpReports(STREAM, workloads())
    whole = reports.attributes(received(made(HTTPAccessLogEntry, REQUEST)))
    reduced = reports.attributes(received(made(HTTPAccessLogEntry, REQUEST)), reads)
    assert len(reduced) < len(whole)
    assert series(reduced) == series(whole)
