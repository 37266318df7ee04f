"""A cached verdict is used only for requests that agree in everything it depends on (C3, K4)."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mast.mixer.core.engine import Condition, Reference
from mast.mixer.core.envoy_attributes import INBOUND, Reporter, check_attributes
from mast.mixer.core.values import Attributes
from mast.mixer.core.verdict_metadata import shape
from mast.mixer.core.workloads import Pod, Workloads, packed_ip
from mast.pilot.core.mixer.filters import check_cache
from tests.support.lua_envoy import Exchange, LuaFilter

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REPORTER = Reporter(INBOUND, "kubernetes://ratings-1.default", "1.4", packed_ip("10.0.0.2"))

KEYS = {"request.headers": ("x-user", "x-none", ":path"), "request.query_params": ("a", "b")}
NAMES = (
    "request.path", "request.url_path", "request.query_params", "request.host", "request.method",
    "request.scheme", "request.useragent", "request.referer", "request.id", "request.size",
    "request.time", "context.protocol", "context.reporter.kind", "context.reporter.uid",
    "context.proxy_version", "origin.ip", "source.ip", "source.uid", "source.namespace",
    "source.user", "source.principal", "source.labels", "destination.ip", "destination.port",
    "destination.uid", "destination.namespace", "destination.principal",
    "destination.service.host", "destination.service.uid", "connection.mtls",
    "connection.requested_server_name", "request.auth.principal", "api.operation",
)  # fmt: skip


def registry() -> Workloads:
    """Two callers that are known by address, one of them also by another name."""
    found = Workloads()
    for number in (1, 2):
        address = (packed_ip(f"10.0.0.{number}"),)
        found.put(str(number), Pod(f"known-{number}", "a", address, {"app": "x"}))
    return found


@dataclass(frozen=True)
class Request:
    """A request as both Mixer and the script see it."""

    headers: dict[str, str] = field(default_factory=dict)
    address: str = "10.0.0.1"
    peer: str = ""
    sni: str = ""
    service: dict[str, str] = field(default_factory=dict)
    port: int = 9080

    def attributes(self) -> Attributes:
        """What Mixer makes of it."""
        request = CheckRequest()
        context = request.attributes
        http = context.request.http
        http.headers.update(self.headers)
        http.host = self.headers[":authority"]
        http.method = self.headers[":method"]
        http.path = self.headers[":path"]
        http.scheme = self.headers[":scheme"]
        context.request.time.seconds = 5
        for side, address, port in (
            (context.source, self.address, 4444),
            (context.destination, "10.0.0.2", self.port),
        ):
            side.address.socket_address.address = address
            side.address.socket_address.port_value = port
        if self.peer:
            context.source.principal = self.peer
            context.destination.principal = "spiffe://cluster.local/ns/b/sa/own"
        context.tls_session.sni = self.sni
        metadata = context.route_metadata_context.filter_metadata["istio.mixer"]
        metadata.update(dict(self.service))
        return check_attributes(request, REPORTER, registry(), NOW)

    def to(self, lua: LuaFilter) -> Exchange:
        """Hand it to the script."""
        return lua.request(
            self.headers,
            remote=f"{self.address}:4444",
            own=f"10.0.0.2:{self.port}",
            peer=self.peer,
            sni=self.sni,
            service=self.service,
        )


requests = st.builds(
    Request,
    headers=st.builds(
        lambda base, more: {**base, **more},
        st.fixed_dictionaries(
            {
                ":path": st.sampled_from(["/", "/?a=1", "/?a=1&b=", "/x?b", "/x?a=2&a=1", "/?&"]),
                ":method": st.sampled_from(["GET", "POST"]),
                ":authority": st.sampled_from(["a", "b"]),
                ":scheme": st.sampled_from(["http", "https"]),
            }
        ),
        st.fixed_dictionaries(
            {},
            optional={
                "x-user": st.sampled_from(["", "a", "b"]),
                "user-agent": st.sampled_from(["a", "b"]),
                "referer": st.just("a"),
                "x-request-id": st.sampled_from(["1", "2"]),
                "content-length": st.sampled_from(["0", "10", "x"]),
                "content-type": st.sampled_from(["application/grpc", "text/plain"]),
                "x-mast-peer": st.sampled_from(
                    ["kubernetes://known-1.a,", "kubernetes://p.b,10.0.0.2", "kubernetes://q.a,"]
                ),
                "x-istio-attributes": st.just("bm9uc2Vuc2U="),
            },
        ),
    ),
    address=st.sampled_from(["10.0.0.1", "10.0.0.9", "10.0.0.8", "127.0.0.1"]),
    peer=st.sampled_from(["", "spiffe://td/ns/a/sa/x", "spiffe://td/ns/b/sa/y"]),
    sni=st.sampled_from(["", "a"]),
    service=st.fixed_dictionaries(
        {},
        optional={
            "destination.service.host": st.sampled_from(["a", "b"]),
            "destination.service.uid": st.just("istio://a/services/a"),
        },
    ),
    port=st.sampled_from([9080, 9081]),
)  # fmt: skip

reads = st.sets(
    st.one_of(
        st.tuples(st.sampled_from(NAMES), st.none()),
        *(st.tuples(st.just(name), st.sampled_from(keys)) for name, keys in KEYS.items()),
    ),
    max_size=4,
)


def value(attributes: Attributes, name: str, key: str | None) -> Any:
    """What a rule reads under a name and key; a map without key counts by its presence (A7)."""
    found = attributes.get(name)
    if key is not None:
        return found.get(key) if isinstance(found, dict) else None
    return "a map" if isinstance(found, dict) else found


def references(attributes: Attributes, read: set[tuple[str, str | None]]) -> list[Reference]:
    return [
        Reference(
            name,
            key,
            Condition.ABSENCE if value(attributes, name, key) is None else Condition.EXACT,
        )
        for name, key in read
    ]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(first=requests, second=requests, read=reads)
def test_hits_agree_in_all_that_was_read(first: Request, second: Request, read) -> None:
    mine, theirs = first.attributes(), second.attributes()
    items = shape(references(mine, read), INBOUND)
    lua = LuaFilter(check_cache())
    exchange = first.to(lua)
    check = None
    if items is not None:
        check = {"shape": [list(item) for item in items], "uses": 10, "valid_ms": 1000}
    exchange.answered({"check": check} if check else {}, 0)

    if second.to(lua).hit:
        for name, key in read:
            assert value(mine, name, key) == value(theirs, name, key), (name, key)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(request=requests, read=reads)
def test_the_same_request_hits_when_all_can_be_read(request: Request, read) -> None:
    wanted = {each for each in read if not each[0].startswith(("request.time", "request.auth"))}
    attributes = request.attributes()
    items = shape(references(attributes, wanted), INBOUND)
    assert items is not None
    lua = LuaFilter(check_cache())
    check = {"shape": [list(item) for item in items], "uses": 10, "valid_ms": 1000}
    request.to(lua).answered({"check": check}, 0)

    assert request.to(lua).hit
