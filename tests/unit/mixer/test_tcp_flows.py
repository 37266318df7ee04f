"""Reports of TCP connections (mixer_proxy.md C.5 "TCP report", K3, K6)."""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogType, TCPAccessLogEntry
from hypothesis import given
from hypothesis import strategies as st

from mast.mixer.core.envoy_reports import Stream
from mast.mixer.core.tcp_flows import IDLE, Entries, Flows
from mast.mixer.core.values import Duration, Timestamp
from mast.mixer.core.workloads import Workloads
from tests.support.messages import made

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OPEN, CONTINUE, CLOSE = "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd"
VERDICT = "metadata: {filter_metadata: {envoy.filters.network.ext_authz: %s}}"
DENIED = "response_flags: {unauthorized_details: {}}"


def stream(log_name: str = "inbound", name: str = "ratings-1") -> Stream:
    return Stream.of(made(Node, f"id: sidecar~10.0.0.2~{name}.shop~d"), log_name)


def entry(
    kind: str,
    received: int = 0,
    sent: int = 0,
    *,
    id_: str = "1",
    checked: bool = False,
    more: str = "",
) -> TCPAccessLogEntry:
    found = TCPAccessLogEntry()
    found.CopyFrom(_made(more))
    common = found.common_properties
    common.stream_id, common.access_log_type = id_, AccessLogType.Value(kind)
    if checked:
        common.custom_tags["checked"] = "true"
    found.connection_properties.received_bytes = received
    found.connection_properties.sent_bytes = sent
    return found


@cache
def _made(more: str) -> TCPAccessLogEntry:
    return made(
        TCPAccessLogEntry,
        f"""
common_properties:
  downstream_direct_remote_address: {{socket_address: {{address: 10.0.0.1, port_value: 4}}}}
  downstream_local_address: {{socket_address: {{address: 10.0.0.2, port_value: 9080}}}}
  start_time: "1970-01-01T00:00:07Z"
  duration: 0.5s
  {more}
""",
    )


def told(
    flows: Flows, given_: TCPAccessLogEntry, where: Stream | None = None
) -> list[dict[str, Any]]:
    return [dict(r) for r in flows.attributes(given_, where or stream(), Workloads(), NOW)]


def brief(records: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = ("event", "received.bytes", "sent.bytes", "received.bytes_total", "sent.bytes_total")
    return [tuple(each[f"connection.{name}"] for name in names) for each in records]


def test_an_opening() -> None:
    (found,) = told(Flows(), entry(OPEN, 3, 4))
    assert found == {
        "connection.event": "open",
        "connection.id": "1",
        "connection.mtls": False,
        "connection.received.bytes": 3,
        "connection.received.bytes_total": 3,
        "connection.sent.bytes": 4,
        "connection.sent.bytes_total": 4,
        "context.protocol": "tcp",
        "context.reporter.kind": "inbound",
        "context.reporter.uid": "kubernetes://ratings-1.shop",
        "context.time": Timestamp(7_500_000_000),
        "destination.ip": b"\x0a\0\0\2",
        "destination.namespace": "shop",
        "destination.port": 9080,
        "destination.uid": "kubernetes://ratings-1.shop",
        "origin.ip": b"\x0a\0\0\1",
        "source.ip": b"\x0a\0\0\1",
    }


def test_a_connection_from_open_to_close() -> None:
    flows = Flows()
    records = [
        record
        for each in [(OPEN, 0, 0), (CONTINUE, 10, 20), (CONTINUE, 10, 25), (CLOSE, 30, 26)]
        for record in told(flows, entry(*each))
    ]
    assert brief(records) == [
        ("open", 0, 0, 0, 0),
        ("continue", 10, 20, 10, 20),
        ("continue", 0, 5, 10, 25),
        ("close", 20, 1, 30, 26),
    ]
    assert records[-1]["connection.duration"] == Duration(500_000_000)
    assert not any("connection.duration" in each for each in records[:-1])
    assert len(flows) == 0


def test_a_close_without_known_predecessor_reports_totals() -> None:
    assert brief(told(Flows(), entry(CLOSE, 30, 26))) == [("close", 30, 26, 30, 26)]


@pytest.mark.parametrize(
    ("age", "deltas"),
    [
        pytest.param(timedelta(seconds=11), (9, 8), id="first-report"),
        pytest.param(timedelta(seconds=20), (0, 0), id="reported-to-another-mixer"),
    ],
)
def test_a_connection_that_goes_on_without_known_predecessor(age, deltas) -> None:
    flows = Flows()
    first, last = entry(CONTINUE, 9, 8), entry(CLOSE, 10, 10)
    for each in (first, last):
        each.common_properties.start_time.FromDatetime(NOW - age)
    assert brief(told(flows, first)) == [("continue", *deltas, 9, 8)]
    assert brief(told(flows, last)) == [("close", 1, 2, 10, 10)]


def test_numbers_used_again_by_a_restarted_proxy_are_other_connections() -> None:
    flows = Flows()
    told(flows, entry(OPEN, 5, 5))
    again = entry(CLOSE, 6, 6)
    again.common_properties.start_time.FromDatetime(NOW)
    assert brief(told(flows, again)) == [("close", 6, 6, 6, 6)]


def test_connections_are_told_apart_by_proxy_and_number() -> None:
    flows = Flows()
    told(flows, entry(OPEN, 5, 5))
    told(flows, entry(CONTINUE, 8, 8, id_="2"))
    told(flows, entry(CONTINUE, 9, 9), stream(name="other"))
    assert brief(told(flows, entry(CLOSE, 10, 10))) == [("close", 5, 5, 10, 10)]
    assert len(flows) == 2


# Handing over


def handed_over(
    before: Flows, after: Flows, node: str = "sidecar~10.0.0.2~ratings-1.shop~d"
) -> None:
    after.adopt(node, Entries.FromString(before.reported(node).SerializeToString()), NOW)


def test_another_mixer_goes_on_where_one_stopped() -> None:
    first, second = Flows(), Flows()
    told(first, entry(OPEN, 1, 1))
    told(first, entry(CONTINUE, 9, 8))
    told(first, entry(CONTINUE, 9, 8, id_="2"), stream(name="other"))
    assert set(first.nodes) == {
        f"sidecar~10.0.0.2~{each}.shop~d" for each in ("ratings-1", "other")
    }
    handed_over(first, second)
    assert len(second) == 1
    assert brief(told(second, entry(CLOSE, 10, 10))) == [("close", 1, 2, 10, 10)]
    assert not second.nodes


def test_of_what_is_handed_over_twice_the_newer_counts() -> None:
    first, second = Flows(), Flows()
    told(first, entry(CONTINUE, 5, 5))
    handed_over(first, second)
    told(first, entry(CONTINUE, 7, 5))
    handed_over(first, second)
    told(second, entry(CONTINUE, 9, 9))
    handed_over(first, second)
    assert brief(told(second, entry(CLOSE, 10, 10))) == [("close", 1, 1, 10, 10)]


def test_an_opening_that_was_held_is_handed_over_as_not_reported() -> None:
    first, second = Flows(), Flows()
    told(first, entry(OPEN, 3, 4, checked=True))
    handed_over(first, second)
    assert brief(told(second, entry(CLOSE, 5, 6, checked=True))) == [("close", 5, 6, 5, 6)]


def test_nothing_is_handed_over_of_connections_that_are_forgotten() -> None:
    flows = Flows(limit=1)
    told(flows, entry(OPEN, id_="1"))
    told(flows, entry(OPEN, id_="2"))
    (node,) = flows.nodes
    assert [each.common_properties.stream_id for each in flows.reported(node).log_entry] == ["2"]
    flows.expire(NOW + IDLE)
    assert not flows.nodes
    assert not flows.reported(node).log_entry


# Openings before the check is known (K3)


@pytest.mark.parametrize(
    ("following", "events"),
    [
        pytest.param(
            entry(CLOSE, 9, 9, checked=True, more=VERDICT % "{}"), ["open", "close"], id="verdict"
        ),
        pytest.param(entry(CLOSE, 9, 9, checked=True), ["open", "close"], id="fail-open"),
        pytest.param(
            entry(CONTINUE, 9, 9, checked=True), ["open", "continue"], id="goes-on"
        ),
        pytest.param(
            entry(CLOSE, 9, 0, checked=True, more=DENIED), ["close"], id="denied"
        ),
    ],
)  # fmt: skip
def test_an_opening_is_held_until_the_check_is_known(following, events) -> None:
    flows = Flows()
    assert told(flows, entry(OPEN, checked=True)) == []
    found = told(flows, following)
    assert [each["connection.event"] for each in found] == events
    assert sum(each["connection.received.bytes"] for each in found) == 9


def test_an_opening_is_held_while_nothing_was_sent() -> None:
    flows = Flows()
    told(flows, entry(OPEN, 0, 1, checked=True))
    # A server that speaks first: the check waits for the client.
    assert told(flows, entry(CONTINUE, 0, 20, checked=True)) == []
    found = told(flows, entry(CONTINUE, 0, 30, checked=True, more=VERDICT % "{}"))
    assert brief(found) == [("open", 0, 1, 0, 1), ("continue", 0, 29, 0, 30)]


def test_a_held_opening_is_told_once() -> None:
    flows = Flows()
    told(flows, entry(OPEN, 2, 2, checked=True))
    told(flows, entry(CONTINUE, 5, 5, checked=True))
    assert brief(told(flows, entry(CLOSE, 6, 6, checked=True))) == [("close", 1, 1, 6, 6)]


def test_bytes_of_a_dropped_opening_are_in_the_close() -> None:
    flows = Flows()
    told(flows, entry(OPEN, 2, 3, checked=True))
    found = told(flows, entry(CLOSE, 5, 3, checked=True, more=DENIED))
    assert brief(found) == [("close", 5, 3, 5, 3)]


def test_a_denial_tells_its_status() -> None:
    more = VERDICT % "{error_code: 7, error_message: 'no'}"
    (found,) = told(Flows(), entry(CLOSE, more=more))
    assert (found["check.error_code"], found["check.error_message"]) == (7, "no")
    assert "context.proxy_error_code" not in found


# Outbound


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (
            "outbound|9080||ratings.shop.svc.cluster.local",
            {
                "host": "ratings.shop.svc.cluster.local",
                "name": "ratings",
                "namespace": "shop",
                "uid": "istio://shop/services/ratings",
            },
        ),
        ("PassthroughCluster", {"host": "PassthroughCluster", "name": "PassthroughCluster"}),
        ("BlackHoleCluster", {"host": "BlackHoleCluster", "name": "BlackHoleCluster"}),
        ("inbound|9080||", {}),
    ],
)
def test_the_service_of_an_outbound_connection(cluster, expected) -> None:
    more = f"upstream_cluster: '{cluster}'"
    (found,) = told(Flows(), entry(CLOSE, more=more), stream("outbound"))
    services = {name: value for name, value in found.items() if ".service." in name}
    assert services == {f"destination.service.{name}": value for name, value in expected.items()}
    assert found["source.uid"] == "kubernetes://ratings-1.shop"


def test_shadow_rules() -> None:
    text = "metadata: {filter_metadata: {envoy.filters.network.rbac: {shadow_engine_result: x}}}"
    (found,) = told(Flows(), entry(CLOSE, more=text))
    assert found["rbac.permissive.response_code"] == "x"


def test_an_entry_without_times_or_addresses() -> None:
    (found,) = told(Flows(), TCPAccessLogEntry())
    assert found["context.time"] == Timestamp.of(NOW)
    assert not {"source.ip", "origin.ip", "connection.id"} & set(found)


# Memory


def test_connections_without_news_are_forgotten() -> None:
    flows = Flows()
    told(flows, entry(OPEN, id_="1"))
    assert flows.expire(NOW + IDLE - timedelta(seconds=1)) == 0
    assert flows.expire(NOW + IDLE) == 1
    assert flows.expire(NOW + IDLE) == 0
    assert len(flows) == 0


def test_the_number_of_connections_is_bounded() -> None:
    flows = Flows(limit=2)
    for number in range(3):
        told(flows, entry(OPEN, 5, 5, id_=str(number)))
    assert len(flows) == 2
    assert brief(told(flows, entry(CLOSE, 6, 6, id_="0"))) == [("close", 6, 6, 6, 6)]
    assert brief(told(flows, entry(CLOSE, 6, 6, id_="2"))) == [("close", 1, 1, 6, 6)]


steps = st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=8)


@given(steps, st.booleans(), st.booleans())
def test_deltas_add_up_to_the_true_bytes(
    increments: list[tuple[int, int]], checked: bool, denied: bool
) -> None:
    flows, records = Flows(), []
    received = sent = 0
    for at, (more_received, more_sent) in enumerate(increments):
        received, sent = received + more_received, sent + more_sent
        last = at == len(increments) - 1
        kind = CLOSE if last else (OPEN if at == 0 else CONTINUE)
        more = DENIED if denied and last else ""
        records += told(flows, entry(kind, received, sent, checked=checked, more=more))
    assert sum(each["connection.received.bytes"] for each in records) == received
    assert sum(each["connection.sent.bytes"] for each in records) == sent
    assert [each["connection.event"] for each in records].count("close") == 1
