"""A request means the same whichever face it comes through (mixer.md L 50, 53)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry, TCPAccessLogEntry
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from hypothesis import given
from hypothesis import strategies as st

from mast.mixer.api import mixer
from mast.mixer.core import status_codes
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
---
kind: handler
metadata: {name: anonymous, namespace: shop}
spec: {compiledAdapter: denier, params: {status: {code: 16, message: who}}}
---
kind: rule
metadata: {name: tokens, namespace: shop}
spec:
  match: request.url_path == "/vault" && (request.auth.principal | "") == ""
  actions: [{handler: anonymous, instances: [nothing]}]
---
kind: handler
metadata: {name: list, namespace: shop}
spec: {compiledAdapter: listchecker, params: {overrides: [bob], cachingInterval: 9s}}
---
kind: instance
metadata: {name: who, namespace: shop}
spec: {compiledTemplate: listentry, params: {value: 'request.query_params["who"] | ""'}}
---
kind: rule
metadata: {name: list, namespace: shop}
spec:
  match: request.path.startsWith("/listed")
  actions: [{handler: list, instances: [who]}]
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


ASKED = """
attributes:
  source: {address: {socket_address: {address: 10.0.0.1, port_value: 1}}}
  destination: {address: {socket_address: {address: 10.0.0.2, port_value: 9080}}}
  request: {http: {path: /, method: GET, host: ratings}}
"""
TOKEN = {"iss": "i", "sub": "mallory", "groups": ["a", "b"]}
REPORTER = Reporter(INBOUND, "kubernetes://ratings-1.shop")
POLICIES = Rig(TELEMETRY, POLICY, workloads=workloads())


def asked(
    user: str | None, address: str, path: str, peer: str, token: Mapping[str, Any] | None
) -> CheckRequest:
    """What Envoy asks about a request."""
    request = made(CheckRequest, ASKED)
    request.attributes.source.address.socket_address.address = address
    request.attributes.source.principal = peer
    request.attributes.request.http.path = path
    if user is not None:
        request.attributes.request.http.headers["x-user"] = user
    if token is not None:
        metadata = request.attributes.metadata_context.filter_metadata
        metadata["envoy.filters.http.jwt_authn"].update({"payload": token})
    return request


@pytest.mark.parametrize(
    ("user", "address", "path", "token", "code"),
    [
        pytest.param("mallory", "10.0.0.1", "/", None, 7, id="denied-by-label-and-header"),
        pytest.param("alice", "10.0.0.1", "/", None, 0, id="another-header"),
        pytest.param("mallory", "10.0.0.9", "/", None, 0, id="another-workload"),
        pytest.param(None, "10.0.0.9", "/vault?key=1", None, 16, id="no-token"),
        pytest.param(None, "10.0.0.9", "/vault", TOKEN, 0, id="token"),
        pytest.param(None, "10.0.0.9", "/vault", {"iss": "i"}, 16, id="token-of-nobody"),
        pytest.param(None, "10.0.0.9", "/listed?who=eve", None, 7, id="not-listed"),
        pytest.param(None, "10.0.0.9", "/listed?who=bob&who=eve", None, 0, id="listed"),
    ],
)
def test_what_the_policies_say(user, address, path, token, code) -> None:
    """So that the next test compares verdicts that differ (mixer.md L 50)."""
    request = asked(user, address, path, "", token)
    verdict = POLICIES.check(check_attributes(request, REPORTER, workloads(), NOW))
    assert verdict.status.code == code


@given(
    user=st.sampled_from([None, "mallory", "alice", "", "ü"]),
    address=st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.9", "::1", ""]),
    path=st.one_of(
        st.sampled_from(["/", "/vault", "/vault?a", "/listed?who=bob", "/listed?who=eve&x"]),
        st.text(max_size=20),
    ),
    peer=st.sampled_from(["", "spiffe://td/ns/web/sa/x", "spiffe://td/ns/other/sa/x", "CN=x"]),
    token=st.sampled_from([None, {}, {"iss": "i", "sub": "s"}, TOKEN]),
)
def test_the_same_verdict(user, address, path, peer, token) -> None:
    """Whatever Envoy asks about gets from `Mixer.Check` what it gets from ext_authz (L 50).

    Status, message, validity, uses and what all of that depends on.
    """
    request = asked(user, address, path, peer, token)
    attributes = check_attributes(request, REPORTER, workloads(), NOW)
    verdict = POLICIES.check(attributes)
    assert verdict == POLICIES.check(over_the_wire(attributes))
    answer, plain = check_response(verdict, Charges(), INBOUND), mixer.check_response(verdict, 222)
    status = plain.precondition.status
    assert (answer.status.code, answer.status.message) == (status.code, status.message)
    if status.code:
        assert answer.denied_response.status.code == status_codes.http_status(status.code)
        assert answer.denied_response.body == status_codes.body(status.code, status.message)


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
