"""Attributes of ext_authz requests (mixer_proxy.md C.5, K)."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest

from istio.mixer.v1.attributes_pb2 import Attributes as PlainAttributes
from mast.mixer.core.envoy_attributes import INBOUND, OUTBOUND, Reporter, check_attributes
from mast.mixer.core.values import Timestamp
from mast.mixer.core.workloads import Pod, Workloads, packed_ip
from tests.support.messages import made

NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
OWN = "kubernetes://ratings-1.shop"
HTTP = """
source: {address: {socket_address: {address: 10.0.0.1, port_value: 4444}}}
destination: {address: {socket_address: {address: 10.0.0.2, port_value: 9080}}}
request:
  time: "1970-01-01T00:00:07.000000008Z"
  http: {method: GET, path: /a, host: ratings, scheme: http, headers: {":path": /a}}
"""
TCP = """
source: {address: {socket_address: {address: 10.0.0.1, port_value: 4444}}}
destination: {address: {socket_address: {address: 10.0.0.2, port_value: 9080}}}
"""


def registry(*pods: Pod) -> Workloads:
    found = Workloads()
    for number, pod in enumerate(pods):
        found.put(str(number), pod)
    return found


def attributes(
    text: str = HTTP,
    *pods: Pod,
    kind: str = INBOUND,
    reporter: Reporter | None = None,
    **headers: str,
) -> dict[str, Any]:
    request = CheckRequest()
    request.attributes.CopyFrom(made(type(request.attributes), text))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request.attributes.request.http.headers.update(named)
    if "http" not in text:
        request.attributes.request.ClearField("http")
    asking = reporter or Reporter(kind, OWN, "1.4.10", mesh="mesh-1")
    return dict(check_attributes(request, asking, registry(*pods), NOW))


def test_an_inbound_request() -> None:
    assert attributes() == {
        "connection.mtls": False,
        "context.protocol": "http",
        "context.proxy_version": "1.4.10",
        "context.reporter.kind": "inbound",
        "context.reporter.uid": OWN,
        "destination.ip": b"\x0a\0\0\2",
        "destination.mesh.id": "mesh-1",
        "destination.namespace": "shop",
        "destination.port": 9080,
        "destination.uid": OWN,
        "origin.ip": b"\x0a\0\0\1",
        "request.headers": {":path": "/a"},
        "request.host": "ratings",
        "request.method": "GET",
        "request.path": "/a",
        "request.scheme": "http",
        "request.time": Timestamp(7_000_000_008),
        "request.url_path": "/a",
        "source.ip": b"\x0a\0\0\1",
    }


def test_an_outbound_request() -> None:
    found = attributes(kind=OUTBOUND)
    sides = {name: value for name, value in found.items() if name.startswith(("source", "dest"))}
    assert sides == {"source.uid": OWN, "source.namespace": "shop"}
    assert found["context.reporter.kind"] == "outbound"


def test_a_connection() -> None:
    assert attributes(TCP) == {
        "connection.mtls": False,
        "context.protocol": "tcp",
        "context.proxy_version": "1.4.10",
        "context.reporter.kind": "inbound",
        "context.reporter.uid": OWN,
        "context.time": Timestamp.of(NOW),
        "destination.ip": b"\x0a\0\0\2",
        "destination.mesh.id": "mesh-1",
        "destination.namespace": "shop",
        "destination.port": 9080,
        "destination.uid": OWN,
        "origin.ip": b"\x0a\0\0\1",
        "source.ip": b"\x0a\0\0\1",
    }


@pytest.mark.parametrize(
    ("headers", "name", "expected"),
    [
        ({"user-agent": "curl"}, "request.useragent", "curl"),
        ({"referer": "http://a"}, "request.referer", "http://a"),
        ({"x-request-id": "1"}, "request.id", "1"),
        ({"content-length": "12"}, "request.size", 12),
        ({"content-length": "-1"}, "request.size", None),
        ({"content-type": "application/grpc"}, "context.protocol", "grpc"),
        ({"content-type": "application/grpc+proto"}, "context.protocol", "grpc"),
        ({"content-type": "application/grpc+json"}, "context.protocol", "grpc"),
        ({"content-type": "application/grpc-web"}, "context.protocol", "http"),
    ],
)
def test_attributes_of_headers(headers, name, expected) -> None:
    assert attributes(HTTP, **headers).get(name) == expected


@pytest.mark.parametrize(
    ("path", "url_path", "parameters"),
    [
        ("/a?x=1&y=2", "/a", {"x": "1", "y": "2"}),
        ("/a?x=1&x=2", "/a", {"x": "1"}),
        ("/a?x&=1&", "/a", {"x": "", "": "1"}),
        ("/a?x=%20=", "/a", {"x": "%20="}),
        ("/a?", "/a", None),
        ("", "", None),
    ],
)
def test_parts_of_the_path(path, url_path, parameters) -> None:
    found = attributes(HTTP.replace("path: /a,", f"path: '{path}',"))
    assert found["request.path"] == path
    assert found["request.url_path"] == url_path
    assert found.get("request.query_params") == parameters


def test_the_scheme_is_http_unless_told() -> None:
    assert attributes(HTTP.replace("scheme: http,", ""))["request.scheme"] == "http"
    assert attributes(HTTP.replace("scheme: http,", "scheme: https,"))["request.scheme"] == "https"


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        pytest.param(
            "spiffe://cluster.local/ns/web/sa/front",
            {
                "connection.mtls": True,
                "source.principal": "cluster.local/ns/web/sa/front",
                "source.user": "cluster.local/ns/web/sa/front",
                "source.namespace": "web",
            },
            id="workload",
        ),
        pytest.param(
            "spiffe://cluster.local/machine/1",
            {
                "connection.mtls": True,
                "source.principal": "cluster.local/machine/1",
                "source.user": "cluster.local/machine/1",
            },
            id="other-spiffe-id",
        ),
        pytest.param("CN=front", {"connection.mtls": True}, id="subject-is-no-identity"),
        pytest.param("", {"connection.mtls": False}, id="plaintext"),
    ],
)
def test_the_peers_identity(principal, expected) -> None:
    text = HTTP.replace("source: {", f"source: {{principal: '{principal}', ")
    found = attributes(text)
    names = ("connection.mtls", "source.principal", "source.user", "source.namespace")
    assert {name: found[name] for name in names if name in found} == expected


def test_the_own_identity_and_the_server_name() -> None:
    text = HTTP.replace(
        "destination: {", "destination: {principal: 'spiffe://td/ns/shop/sa/ratings', "
    )
    found = attributes(text + "tls_session: {sni: outbound_.9080_._.ratings}\n")
    assert found["destination.principal"] == "td/ns/shop/sa/ratings"
    assert found["connection.requested_server_name"] == "outbound_.9080_._.ratings"


def test_the_service_of_the_route() -> None:
    metadata = """
route_metadata_context:
  filter_metadata:
    istio.mixer: {destination.service.host: ratings.shop, destination.service.name: ''}
    other: {destination.service.uid: x}
"""
    found = attributes(HTTP + metadata)
    services = {name: value for name, value in found.items() if ".service." in name}
    assert services == {"destination.service.host": "ratings.shop"}


def jwt(payload: str) -> dict[str, Any]:
    metadata = f"""
metadata_context:
  filter_metadata:
    envoy.filters.http.jwt_authn: {{provider: {payload}}}
"""
    found = attributes(HTTP + metadata)
    return {name: value for name, value in found.items() if name.startswith("request.auth")}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param(
            "{iss: i, sub: s, aud: [a, b], azp: p, exp: 5, groups: [x, y], deep: {a: b}}",
            {
                "request.auth.principal": "i/s",
                "request.auth.audiences": "a",
                "request.auth.presenter": "p",
                "request.auth.raw_claims": '{"aud":["a","b"],"azp":"p","deep":{"a":"b"},'
                '"exp":5,"groups":["x","y"],"iss":"i","sub":"s"}',
                "request.auth.claims": {
                    "iss": "i",
                    "sub": "s",
                    "aud": "a,b",
                    "azp": "p",
                    "groups": "x,y",
                },
            },
            id="whole",
        ),
        pytest.param(
            "{iss: i, aud: a}",
            {
                "request.auth.audiences": "a",
                "request.auth.claims": {"iss": "i", "aud": "a"},
                "request.auth.raw_claims": '{"aud":"a","iss":"i"}',
            },
            id="no-subject",
        ),
        pytest.param(
            "{exp: 5.5, list: [1, true]}",
            {
                "request.auth.claims": {},
                "request.auth.raw_claims": '{"exp":5.5,"list":[1,true]}',
            },
            id="no-texts",
        ),
        pytest.param("text", {}, id="no-payload"),
    ],
)
def test_claims_of_a_token(payload, expected) -> None:
    assert jwt(payload) == expected


# Who calls


def message(uid: str) -> str:
    """The header of an Istio 1.x proxy."""
    forwarded = PlainAttributes()
    forwarded.attributes["source.uid"].string_value = uid
    return base64.b64encode(forwarded.SerializeToString()).decode()


KNOWN = Pod("reviews-1", "web", (packed_ip("10.0.0.1"),))
ELSEWHERE = Pod("reviews-9", "web", (packed_ip("127.1.0.9"),))


@pytest.mark.parametrize(
    ("pods", "headers", "principal", "uid"),
    [
        pytest.param([KNOWN], {}, "", "kubernetes://reviews-1.web", id="by-address"),
        pytest.param(
            [KNOWN], {"x-mast-peer": "kubernetes://forged.web,"}, "",
            "kubernetes://reviews-1.web", id="address-beats-header",
        ),
        pytest.param(
            [], {"x-mast-peer": "kubernetes://p.web,"}, "", "kubernetes://p.web", id="by-header"
        ),
        pytest.param(
            [ELSEWHERE], {"x-mast-peer": "kubernetes://group.web,127.1.0.9"}, "",
            "kubernetes://reviews-9.web", id="registry-knows-the-told-address",
        ),
        pytest.param(
            [ELSEWHERE], {"x-mast-peer": "kubernetes://reviews-9.web,-"}, "",
            "kubernetes://reviews-9.web", id="registry-knows-the-told-name",
        ),
        pytest.param(
            [], {"x-mast-peer": "kubernetes://p.web,"}, "spiffe://td/ns/web/sa/x",
            "kubernetes://p.web", id="certificate-agrees",
        ),
        pytest.param(
            [], {"x-mast-peer": "kubernetes://p.web,"}, "spiffe://td/ns/other/sa/x", None,
            id="certificate-disagrees",
        ),
        pytest.param([], {"x-mast-peer": "kubernetes://-.-,-"}, "", None, id="told-nothing"),
        pytest.param([], {"x-mast-peer": "p.web"}, "", None, id="no-uid"),
        pytest.param(
            [], {"x-istio-attributes": message("kubernetes://old.web")}, "",
            "kubernetes://old.web", id="istio-1.x",
        ),
        pytest.param([], {"x-istio-attributes": "%%%"}, "", None, id="no-base64"),
        pytest.param(
            [], {"x-istio-attributes": base64.b64encode(b"\xff\xff").decode()}, "", None,
            id="no-message",
        ),
        pytest.param(
            [], {"x-istio-attributes": base64.b64encode(b"").decode()}, "", None, id="empty-message"
        ),
    ],
)  # fmt: skip
def test_who_calls(pods, headers, principal, uid) -> None:
    found = attributes(
        HTTP.replace("source: {", f"source: {{principal: '{principal}', "), *pods, **headers
    )
    assert found.get("source.uid") == uid
    # Either is known, never both (K7).
    assert ("source.ip" in found) is (uid is None)
    assert not set(found["request.headers"]) & set(headers)
    if uid:
        assert found["source.namespace"] == "web"


@pytest.mark.parametrize(
    ("reporter", "pods", "uid"),
    [
        pytest.param(Reporter(INBOUND, OWN), [], OWN, id="as-told"),
        pytest.param(
            Reporter(INBOUND, OWN), [Pod("ratings-1-10.0.0.2", "shop", (packed_ip("10.0.0.2"),))],
            "kubernetes://ratings-1-10.0.0.2.shop", id="registry-knows-the-address",
        ),
        pytest.param(
            Reporter(INBOUND, OWN, address=packed_ip("10.7.7.7")),
            [Pod("x", "shop", (packed_ip("10.7.7.7"),))], "kubernetes://x.shop",
            id="told-address-first",
        ),
        pytest.param(
            Reporter(INBOUND, OWN), [Pod("ratings-1", "shop"), Pod("x", "y", (b"\x0a\0\0\2",))],
            OWN, id="registry-knows-the-name",
        ),
        pytest.param(Reporter(INBOUND, "kubernetes://-.-"), [], None, id="told-nothing"),
        pytest.param(Reporter(INBOUND), [], None, id="not-told"),
    ],
)  # fmt: skip
def test_who_is_called(reporter, pods, uid) -> None:
    found = attributes(HTTP, *pods, reporter=reporter)
    assert found.get("destination.uid") == uid
    assert found.get("context.reporter.uid") == uid


def test_a_socket_path_is_no_address() -> None:
    text = TCP.replace(
        "destination: {address: {socket_address: {address: 10.0.0.2, port_value: 9080}}}",
        "destination: {address: {pipe: {path: /x}}}",
    )
    found = attributes(text)
    assert not {"destination.ip", "destination.port"} & set(found)
