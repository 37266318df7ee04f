"""Attributes of HTTP access-log entries (mixer_proxy.md C.5, K, K7, K8)."""

from itertools import permutations
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from envoy.data.accesslog.v3.accesslog_pb2 import (
    AccessLogCommon,
    HTTPAccessLogEntry,
    ResponseFlags,
)

from mast.mixer.core.engine import Reads
from mast.mixer.core.envoy_flags import flag_text
from mast.mixer.core.envoy_reports import KINDS, LONGEST_BYTES, HttpReports, Stream
from mast.mixer.core.records import Record
from mast.mixer.core.values import Duration, Timestamp
from mast.mixer.core.workloads import Pod, Workloads, packed_ip
from mastapi.mixer.v1.access_log_pb2 import HttpEntry, RequestProperties
from tests.support.access_logs import received
from tests.support.messages import made

NODE = """
id: sidecar~10.0.0.2~ratings-1.shop~shop.svc.cluster.local
metadata: {ISTIO_VERSION: 1.4.10, MESH_ID: mesh-1, NAME: ratings-1}
"""
ENTRY = """
common_properties:
  downstream_direct_remote_address: {socket_address: {address: 10.0.0.1, port_value: 4444}}
  downstream_remote_address: {socket_address: {address: 9.9.9.9, port_value: 0}}
  downstream_local_address: {socket_address: {address: 10.0.0.2, port_value: 9080}}
  upstream_remote_address: {socket_address: {address: 10.0.0.7, port_value: 8080}}
  start_time: "1970-01-01T00:00:07.000000008Z"
  duration: 0.25s
request: {scheme: http, authority: ratings, path: '/a?x=1', request_method: GET}
response: {response_code: 200}
"""
SERVICE = """
    destination.service.host: ratings.shop.svc.cluster.local
    destination.service.name: ratings
    destination.service.namespace: shop
    destination.service.uid: istio://shop/services/ratings
"""


def stream(log_name: str = "inbound", node: str = NODE) -> Stream:
    return Stream.of(made(Node, node), log_name)


def entry(text: str = ENTRY, **more: str) -> HTTPAccessLogEntry:
    """An entry; ``more`` are YAML mappings merged into its parts."""
    found = made(HTTPAccessLogEntry, text)
    for part, addition in more.items():
        getattr(found, part).MergeFrom(made(type(getattr(found, part)), addition))
    return found


def attributes(
    given: HTTPAccessLogEntry,
    *pods: Pod,
    log_name: str = "inbound",
    reads: Reads | None = None,
    node: str = NODE,
) -> dict[str, Any]:
    workloads = Workloads()
    for number, pod in enumerate(pods):
        workloads.put(str(number), pod)
    return dict(HttpReports(stream(log_name, node), workloads).attributes(received(given), reads))


def test_the_stream_tells_the_reporter() -> None:
    found = stream().reporter
    assert (found.kind, found.uid, found.version, found.mesh) == (
        "inbound", "kubernetes://ratings-1.shop", "1.4.10", "mesh-1",
    )  # fmt: skip
    assert found.address == b"\x0a\0\0\2"
    assert stream("outbound").reporter.kind == "outbound"
    assert stream("anything").reporter.kind == "inbound"


def test_a_stream_of_somebody_else() -> None:
    found = stream(node="id: some-envoy").reporter
    assert (found.uid, found.address, found.version, found.mesh) == ("", b"", "", "")


def test_an_inbound_entry() -> None:
    assert attributes(entry()) == {
        "connection.mtls": False,
        "context.protocol": "http",
        "context.proxy_error_code": "-",
        "context.proxy_version": "1.4.10",
        "context.reporter.kind": "inbound",
        "context.reporter.uid": "kubernetes://ratings-1.shop",
        "destination.ip": b"\x0a\0\0\2",
        "destination.mesh.id": "mesh-1",
        "destination.namespace": "shop",
        "destination.port": 9080,
        "destination.uid": "kubernetes://ratings-1.shop",
        "origin.ip": b"\x0a\0\0\1",
        "request.headers": {":authority": "ratings", ":method": "GET", ":path": "/a?x=1"},
        "request.host": "ratings",
        "request.method": "GET",
        "request.path": "/a?x=1",
        "request.query_params": {"x": "1"},
        "request.scheme": "http",
        "request.size": 0,
        "request.time": Timestamp(7_000_000_008),
        "request.total_size": 0,
        "request.url_path": "/a",
        "response.code": 200,
        "response.duration": Duration(250_000_000),
        "response.size": 0,
        "response.time": Timestamp(7_250_000_008),
        "response.total_size": 0,
        "source.ip": b"\x0a\0\0\1",
    }


def test_an_outbound_entry() -> None:
    upstream = Pod("reviews-7", "web", (packed_ip("10.0.0.7"),))
    found = attributes(entry(), upstream, log_name="outbound")
    sides = {name: value for name, value in found.items() if name.startswith(("source", "dest"))}
    assert sides == {
        "source.uid": "kubernetes://ratings-1.shop",
        "source.namespace": "shop",
        "destination.ip": b"\x0a\0\0\7",
        "destination.port": 8080,
        "destination.uid": "kubernetes://reviews-7.web",
    }


def test_only_three_texts_are_there_when_they_are_empty() -> None:
    found = attributes(HTTPAccessLogEntry(), node="id: x")
    empty = {name: value for name, value in found.items() if value in ("", b"", {})}
    assert empty == {
        "request.host": "",
        "request.path": "",
        "request.url_path": "",
        "request.headers": {},
    }
    assert found["request.scheme"] == "http"
    assert found["response.code"] == 500
    assert "request.query_params" not in found


@pytest.mark.parametrize(
    ("request_", "name", "expected"),
    [
        ("user_agent: curl", "request.useragent", "curl"),
        ("referer: http://a", "request.referer", "http://a"),
        ("request_id: '1'", "request.id", "1"),
        ("{request_headers_bytes: 100, request_body_bytes: 20}", "request.size", 20),
        ("{request_headers_bytes: 100, request_body_bytes: 20}", "request.total_size", 120),
        ("request_headers: {content-type: application/grpc}", "context.protocol", "grpc"),
        ("original_path: /before", "request.path", "/before"),
        ("request_method: POST", "request.method", "POST"),
    ],
)
def test_attributes_of_the_request(request_, name, expected) -> None:
    assert attributes(entry(request=request_))[name] == expected


def test_headers_of_the_request() -> None:
    text = """
user_agent: curl
referer: r
request_id: '1'
forwarded_for: 1.1.1.1
request_headers: {x-api-key: k, user-agent: ignored}
"""
    assert attributes(entry(request=text))["request.headers"] == {
        ":authority": "ratings",
        ":method": "GET",
        ":path": "/a?x=1",
        "referer": "r",
        "user-agent": "curl",
        "x-api-key": "k",
        "x-forwarded-for": "1.1.1.1",
        "x-request-id": "1",
    }


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (
            "{response_headers_bytes: 100, response_body_bytes: 20}",
            {"response.size": 20, "response.total_size": 120},
        ),
        (
            "response_trailers: {grpc-status: '5', grpc-message: gone}",
            {
                "response.headers": {"grpc-status": "5", "grpc-message": "gone"},
                "response.grpc_status": "5",
                "response.grpc_message": "gone",
            },
        ),
        (
            "response_headers: {grpc-status: '0', grpc-message: ''}",
            {"response.grpc_status": "0", "response.grpc_message": None},
        ),
        ("{}", {"response.headers": None, "response.grpc_status": None}),
    ],
)  # fmt: skip
def test_attributes_of_the_response(response, expected) -> None:
    found = attributes(entry(response=response))
    assert {name: found.get(name) for name in expected} == expected


TLS = """
tls_properties:
  tls_sni_hostname: outbound_.9080_._.ratings
  peer_certificate_properties: {subject_alt_name: [{dns: a}, {uri: "spiffe://td/ns/web/sa/x"}]}
  local_certificate_properties: {subject_alt_name: [{uri: "spiffe://td/ns/shop/sa/y"}]}
"""


def test_identities() -> None:
    found = attributes(entry(common_properties=TLS))
    expected = {
        "connection.mtls": True,
        "connection.requested_server_name": "outbound_.9080_._.ratings",
        "source.principal": "td/ns/web/sa/x",
        "source.user": "td/ns/web/sa/x",
        "source.namespace": "web",
        "destination.principal": "td/ns/shop/sa/y",
    }
    assert {name: found[name] for name in expected} == expected


def test_a_certificate_without_names_is_one() -> None:
    text = "tls_properties: {peer_certificate_properties: {subject: CN=x}}"
    assert attributes(entry(common_properties=text))["connection.mtls"] is True


@pytest.mark.parametrize(
    ("tag", "pods", "uid"),
    [
        ("kubernetes://reviews-1.web,10.9.9.9", [], "kubernetes://reviews-1.web"),
        ("kubernetes://reviews-1.web,", [Pod("x", "y", (b"\x0a\0\0\1",))], "kubernetes://x.y"),
        ("CgA=", [], None),
        ("-", [], None),
    ],
)
def test_who_calls(tag, pods, uid) -> None:
    found = attributes(entry(common_properties=f"custom_tags: {{peer: '{tag}'}}"), *pods)
    assert found.get("source.uid") == uid
    assert ("source.ip" in found) is (uid is None)


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        pytest.param(
            "outbound|9080|v1|ratings.shop.svc.cluster.local",
            {"host": "ratings.shop.svc.cluster.local", "name": "ratings", "namespace": "shop",
             "uid": "istio://shop/services/ratings"},
            id="the-routes-service",
        ),
        pytest.param(
            "outbound|80||reviews.web.svc.cluster.local",
            {"host": "reviews.web.svc.cluster.local", "name": "reviews", "namespace": "web",
             "uid": "istio://web/services/reviews"},
            id="another-destination-of-the-route",
        ),
        pytest.param(
            "outbound|80||api.example.com",
            {"host": "api.example.com", "name": "api.example.com"},
            id="another-registry",
        ),
        pytest.param(
            "", {"host": "ratings.shop.svc.cluster.local", "name": "ratings", "namespace": "shop",
                 "uid": "istio://shop/services/ratings"},
            id="answered-by-envoy",
        ),
    ],
)  # fmt: skip
def test_the_service_that_was_called(cluster, expected) -> None:
    text = f"upstream_cluster: '{cluster}'\ncustom_tags:{SERVICE}    other: x\n"
    found = attributes(entry(common_properties=text), log_name="outbound")
    services = {name: value for name, value in found.items() if ".service." in name}
    assert services == {f"destination.service.{name}": value for name, value in expected.items()}


def test_no_upstream_no_destination() -> None:
    given = entry()
    given.common_properties.ClearField("upstream_remote_address")
    found = attributes(given, log_name="outbound")
    assert not {"destination.ip", "destination.port", "destination.uid"} & set(found)


def metadata(text: str, flags: str = "{}") -> dict[str, Any]:
    found = attributes(
        entry(common_properties=f"metadata: {{filter_metadata: {text}}}\nresponse_flags: {flags}")
    )
    names = ("check.", "quota.", "rbac.", "context.proxy_error_code", "filter.")
    return {name: value for name, value in found.items() if name.startswith(names)}


DENIED = "{error_code: 7, error_message: 'no'}"


@pytest.mark.parametrize(
    ("text", "flags", "expected"),
    [
        pytest.param("{}", "{}", {"context.proxy_error_code": "-"}, id="unchecked"),
        pytest.param(
            "{istio.mixer: {hit: true}}", "{}",
            {"check.cache_hit": True, "context.proxy_error_code": "-"}, id="hit",
        ),
        pytest.param(
            "{istio.mixer: {request: 5}, envoy.filters.http.ext_authz: {check: {}}}", "{}",
            {"check.cache_hit": False, "context.proxy_error_code": "-"}, id="miss",
        ),
        pytest.param(
            f"{{istio.mixer: {{request: 5}}, envoy.filters.http.ext_authz: {DENIED}}}",
            "{unauthorized_details: {}}",
            {"check.cache_hit": False, "check.error_code": 7, "check.error_message": "no",
             "context.proxy_error_code": "UAEX"}, id="denied-miss",
        ),
        pytest.param(
            "{istio.mixer: {cache_hit: true, error_code: 7, error_message: 'no'}}", "{}",
            {"check.cache_hit": True, "check.error_code": 7, "check.error_message": "no",
             "context.proxy_error_code": "UAEX"}, id="denied-hit-has-no-flag",
        ),
        pytest.param(
            "{istio.mixer: {cache_hit: true, error_code: 7, error_message: 'no'}}",
            "{downstream_connection_termination: true}",
            {"check.cache_hit": True, "check.error_code": 7, "check.error_message": "no",
             "context.proxy_error_code": "DC,UAEX"}, id="further-flags-stay",
        ),
        pytest.param(
            "{istio.mixer: {hit: true, quota_cache_hit: true}}", "{}",
            {"check.cache_hit": True, "quota.cache_hit": True, "context.proxy_error_code": "-"},
            id="quota-hit",
        ),
        pytest.param(
            "{envoy.filters.http.ext_authz: {grants: []}}", "{}",
            {"check.cache_hit": False, "quota.cache_hit": False, "context.proxy_error_code": "-"},
            id="quota-miss",
        ),
        pytest.param(
            "{istio.mixer: {request: 5}}", "{}", {"context.proxy_error_code": "-"}, id="no-verdict"
        ),
        pytest.param(
            "{envoy.filters.http.rbac: {shadow_engine_result: denied,"
            " shadow_effective_policy_id: p}}", "{}",
            {"rbac.permissive.response_code": "denied",
             "rbac.permissive.effective_policy_id": "p", "context.proxy_error_code": "-"},
            id="rbac",
        ),
        pytest.param(
            "{filter.x: {a: b, list: [c, d], none: [1], number: 5, empty: []},"
            " filter.y: {number: 5}}", "{}",
            {"filter.x": {"a": "b", "list": "c,d"}, "context.proxy_error_code": "-"},
            id="other-filters",
        ),
    ],
)  # fmt: skip
def test_what_filters_left(text, flags, expected) -> None:
    assert metadata(text, flags) == expected


def test_every_flag_has_its_code() -> None:
    flags = ResponseFlags()
    for field in ResponseFlags.DESCRIPTOR.fields:
        if field.message_type:
            getattr(flags, field.name).SetInParent()
        else:
            setattr(flags, field.name, True)
    codes = flag_text(flags).split(",")
    assert len(codes) == len(set(codes)) == len(ResponseFlags.DESCRIPTOR.fields)
    assert {"UAEX", "DC", "UH", "UF", "NR", "URX", "DR"} <= set(codes)


def test_what_nobody_reads_is_left_out() -> None:
    given = entry(common_properties="metadata: {filter_metadata: {f: {a: b}, g: {a: b}}}")
    found = attributes(given, reads=Reads(frozenset({"response.code", "f"})))
    expensive = ("request.path", "request.headers", "request.id", "response.duration", "g")
    assert not set(expensive) & set(found)
    assert (found["response.code"], found["f"]) == (200, {"a": "b"})
    by_key = attributes(given, reads=Reads(keys={"request.headers": frozenset({"x"})}))
    assert "request.headers" in by_key


def test_entries_of_one_connection_do_not_share_what_is_added() -> None:
    reports = HttpReports(stream(), Workloads())
    first = reports.attributes(received(entry(request="user_agent: a")))
    second = reports.attributes(received(entry()))
    assert first["request.useragent"] == "a"
    assert "request.useragent" not in second


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("request", "{path: /other, request_id: other, request_headers_bytes: 9, referer: x}"),
        ("request", "{request_headers: {content-type: text/plain, x-b3-traceid: x}}"),
        (
            "response",
            "{response_body_bytes: 9, response_headers: {x: y}, response_trailers: {x: y}}",
        ),
        (
            "common_properties",
            '{stream_id: other, duration: 7s, start_time: "1970-01-01T00:00:09Z"}',
        ),
        ("common_properties", "{downstream_wire_bytes_sent: 9, time_to_last_rx_byte: 7s}"),
        (
            "common_properties",
            "{downstream_direct_remote_address: {socket_address: {port_value: 1}}}",
        ),
        ("common_properties", "{tls_properties: {tls_session_id: other}}"),
        (
            "common_properties",
            "metadata: {filter_metadata: {istio.mixer: {request: 8}, f: {a: other},"
            " envoy.filters.http.ext_authz: {check: {uses: 5}, ext_authz_duration: 9}}}",
        ),
    ],
)
def test_entries_differ_in_kind_by_what_decides_only(part, change) -> None:
    reports, reads = HttpReports(stream(), Workloads()), Reads(frozenset({"response.code"}))
    metadata = (
        "{istio.mixer: {request: 7}, f: {a: b},"
        " envoy.filters.http.ext_authz: {check: {uses: 2}, ext_authz_duration: 7}}"
    )
    both = f"{{metadata: {{filter_metadata: {metadata}}}, tls_properties: {{}}}}"
    usual = entry(common_properties=both)
    other = HTTPAccessLogEntry()
    other.CopyFrom(usual)
    getattr(other, part).MergeFrom(made(type(getattr(other, part)), change))
    assert (
        reports.attributes(received(usual), reads).kind
        is reports.attributes(received(other), reads).kind
    )


def test_tags_and_metadata_come_in_any_order() -> None:
    reports = HttpReports(stream(), Workloads())
    names = [f"destination.service.{each}" for each in ("host", "name", "namespace", "uid")]
    kinds = set()
    for order in permutations(names):
        sent = HttpEntry()
        sent.CopyFrom(received(entry()))
        for name in order:
            one = AccessLogCommon(custom_tags={name: name}).SerializeToString()
            sent.common_properties.MergeFromString(one)
        kinds.add(reports.attributes(sent).kind)
    assert len(kinds) == 1


def test_kinds_are_forgotten_when_there_are_many() -> None:
    reports = HttpReports(stream(), Workloads())
    agents = [RequestProperties(user_agent=str(number)) for number in range(KINDS + 2)]
    records = [reports.attributes(HttpEntry(request=agent)) for agent in agents]
    again = reports.attributes(HttpEntry(request=RequestProperties(user_agent="0")))
    assert again == records[0]
    assert again.kind is not records[0].kind


def test_kinds_with_long_texts_are_not_remembered() -> None:
    reports = HttpReports(stream(), Workloads())
    for length, kept in ((10, True), (LONGEST_BYTES, False)):
        request = RequestProperties(authority="x" * length)
        records = [reports.attributes(HttpEntry(request=request)) for _ in range(2)]
        assert records[0] == records[1]
        assert records[0]["request.host"] == "x" * length
        assert [isinstance(each, Record) for each in records] == [kept, kept]


def test_a_change_of_the_registry_is_seen() -> None:
    workloads = Workloads()
    reports = HttpReports(stream(), workloads)
    assert "source.uid" not in reports.attributes(received(entry()))
    workloads.put("1", Pod("reviews-1", "web", (b"\x0a\0\0\1",)))
    assert reports.attributes(received(entry()))["source.uid"] == "kubernetes://reviews-1.web"


@pytest.mark.parametrize(
    "change",
    [
        "downstream_direct_remote_address: {socket_address: {address: 10.0.0.3}}",
        "downstream_local_address: {socket_address: {address: 10.0.0.4, port_value: 1}}",
        "custom_tags: {destination.service.host: x}",
        "custom_tags: {destination.service.uid: x}",
        "custom_tags: {peer: 'kubernetes://a.b,'}",
        TLS,
    ],
)
def test_connections_that_differ_are_told_apart(change) -> None:
    reports = HttpReports(stream(), Workloads())
    one = reports.attributes(received(entry()))
    other = reports.attributes(received(entry(common_properties=change)))
    assert one != other


@pytest.mark.parametrize(
    "change",
    [
        "upstream_remote_address: {socket_address: {address: 10.0.0.9, port_value: 1}}",
        "upstream_cluster: outbound|80||other",
    ],
)
def test_upstreams_that_differ_are_told_apart(change) -> None:
    reports = HttpReports(stream("outbound"), Workloads())
    one = reports.attributes(received(entry()))
    other = reports.attributes(received(entry(common_properties=change)))
    assert one != other
