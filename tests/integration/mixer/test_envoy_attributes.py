"""Every row of mixer_proxy.md K on one real Envoy: what each face tells of the same exchanges.

All listeners go through one exchange each before the tests look at what Mixer was told (mixer.md
L 49).
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub

from mast.mixer.core.engine import (
    HeaderOperation,
    RouteDirective,
)
from mast.mixer.core.values import Duration, Timestamp
from mast.mixer.core.workloads import packed_ip
from tests.integration.mixer.bench import CASE
from tests.integration.mixer.faces import (
    CALLER,
    CLAIMS,
    FRONT,
    ISSUER,
    OWN_IP,
    RATINGS,
    SERVICE,
    SNI,
    STRANGER,
    Site,
    faces,
)
from tests.support.mixer_mesh import (
    allow,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    async with faces(tmp_path_factory.mktemp("envoy")) as running:
        await exchanges(running)
        yield running


async def exchanges(site: Site) -> None:
    """One request and one connection, in and out, with everything that there is to tell."""
    token = ISSUER.token(CLAIMS)
    lines = (
        "user-agent: tests", "referer: r", "x-user: alice", "x-user: bob",
        "content-type: text/plain", "content-length: 5", "x-forwarded-for: 1.2.3.4",
        "x-mast-peer: kubernetes://forged.web,", f"authorization: Bearer {token}", "x-api-key: k",
    )  # fmt: skip
    for listener, kind in (("http", "inbound"), ("http-out", "outbound")):
        assert (
            await site.ask(
                "/pets/1?x=1&x=2&y=", *lines, listener=listener, method="POST", body="12345"
            )
            == 200
        )
        site.faces[f"{kind} check"] = site.engine.checked[-1]
    for listener, kind in (("tcp", "inbound"), ("tcp-out", "outbound")):
        assert await site.ask("/", listener=listener) == 200
        site.faces[f"{kind} connection check"] = site.engine.checked[-1]
    for kind in ("inbound", "outbound"):
        reporter = {"context.reporter.kind": kind}
        site.faces[f"{kind} report"] = await site.report({**reporter, "request.method": "POST"})
        for event in ("open", "close"):
            told = await site.report({**reporter, "connection.event": event})
            site.faces[f"{kind} connection {event}"] = told


# What each face tells of one exchange (K). None: nothing, neither there nor by an empty text (K8).


class Some:
    """Any value of a type."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, self._kind)

    def __repr__(self) -> str:
        return f"some {self._kind.__name__}"

    __hash__ = None  # type: ignore[assignment]


TEXT, NUMBER, TIME, LENGTH = Some(str), Some(int), Some(Timestamp), Some(Duration)
OWN = "kubernetes://ratings-1.default"
FRONT_POD, UPSTREAM_POD = "kubernetes://front-1.web", "kubernetes://reviews-1.shop"
HOST, LOCAL, REMOTE = packed_ip(OWN_IP), packed_ip("127.0.0.1"), packed_ip(CALLER)
TOLD = {"aud": "shop,bank", "azp": "app", "groups": "a,b", "iss": ISSUER.name, "sub": "user"}
QUERY = {"x": "1", "y": ""}
PATH = "/pets/1?x=1&x=2&y="
CHECKED = ("check", "report", "connection check", "connection close")

# Attribute: what is told by ext_authz and the log of requests, and by those of connections.
INBOUND: Mapping[str, tuple[Any, Any, Any, Any]] = {
    "request.host": ("ratings:9080", "ratings:9080", None, None),
    "request.method": ("POST", "POST", None, None),
    "request.path": (PATH, PATH, None, None),
    "request.scheme": ("https", "https", None, None),
    "request.url_path": ("/pets/1", "/pets/1", None, None),
    "request.query_params": (QUERY, QUERY, None, None),
    "request.useragent": ("tests", "tests", None, None),
    "request.referer": ("r", "r", None, None),
    "request.id": (TEXT, TEXT, None, None),
    "request.time": (TIME, TIME, None, None),
    "context.time": (None, None, TIME, TIME),
    "request.size": (5, 5, None, None),
    "request.total_size": (None, NUMBER, None, None),
    "response.code": (None, 200, None, None),
    "response.size": (None, 2, None, None),
    "response.total_size": (None, NUMBER, None, None),
    "response.duration": (None, LENGTH, None, None),
    "response.time": (None, TIME, None, None),
    "context.proxy_error_code": (None, "-", None, None),
    "context.protocol": ("http", "http", "tcp", "tcp"),
    "origin.ip": (REMOTE, REMOTE, REMOTE, REMOTE),
    "source.ip": (None, None, REMOTE, REMOTE),
    "source.principal": (FRONT, FRONT, FRONT, FRONT),
    "source.user": (FRONT, FRONT, FRONT, FRONT),
    "source.namespace": ("web", "web", "web", "web"),
    "destination.principal": (RATINGS, RATINGS, RATINGS, RATINGS),
    "connection.mtls": (True, True, True, True),
    "connection.requested_server_name": (SNI, SNI, SNI, SNI),
    "source.uid": (FRONT_POD, FRONT_POD, FRONT_POD, FRONT_POD),
    "destination.uid": (OWN, OWN, OWN, OWN),
    "destination.namespace": ("default", "default", "default", "default"),
    "destination.ip": (HOST, HOST, HOST, HOST),
    "destination.port": (NUMBER, NUMBER, NUMBER, NUMBER),
    **{name: (value, value, None, None) for name, value in SERVICE.items()},
    "context.reporter.kind": ("inbound", "inbound", "inbound", "inbound"),
    "context.reporter.uid": (OWN, OWN, OWN, OWN),
    "context.proxy_version": ("1.30.3", "1.30.3", "1.30.3", "1.30.3"),
    "destination.mesh.id": ("mesh-1", "mesh-1", "mesh-1", "mesh-1"),
    "request.auth.principal": (f"{ISSUER.name}/user", f"{ISSUER.name}/user", None, None),
    "request.auth.audiences": ("shop", "shop", None, None),
    "request.auth.presenter": ("app", "app", None, None),
    "request.auth.claims": (TOLD, TOLD, None, None),
    "request.auth.raw_claims": (TEXT, TEXT, None, None),
    "request.api_key": ("k", "k", None, None),
    "api.operation": ("getPet", "getPet", None, None),
    "api.service": ("pets", "pets", None, None),
    "connection.id": (None, None, None, TEXT),
    "connection.event": (None, None, None, "close"),
    "connection.duration": (None, None, None, LENGTH),
    "connection.received.bytes": (None, None, None, NUMBER),
    "connection.received.bytes_total": (None, None, None, 57),
    "connection.sent.bytes": (None, None, None, NUMBER),
    "connection.sent.bytes_total": (None, None, None, NUMBER),
    "rbac.permissive.response_code": (None, "denied", None, "denied"),
    "rbac.permissive.effective_policy_id": (None, "dry", None, "dry"),
    "some.filter": (None, {"a": "b", "list": "c,d"}, None, None),
    "envoy.filters.http.rbac": (None, Some(dict), None, None),
    "request.headers": (Some(dict), Some(dict), None, None),
    "response.headers": (None, {"x-powered-by": "tests"}, None, None),
}
# Of the caller a proxy knows itself; whom it calls it does not know before.
OUTBOUND: Mapping[str, tuple[Any, Any, Any, Any]] = {
    "context.reporter.kind": ("outbound", "outbound", "outbound", "outbound"),
    "context.reporter.uid": (OWN, OWN, OWN, OWN),
    "context.proxy_version": ("1.30.3", "1.30.3", "1.30.3", "1.30.3"),
    "source.uid": (OWN, OWN, OWN, OWN),
    "source.namespace": ("default", "default", "default", "default"),
    "source.ip": (None, None, REMOTE, REMOTE),
    "source.principal": (None, None, None, None),
    "origin.ip": (REMOTE, REMOTE, REMOTE, REMOTE),
    "destination.uid": (None, UPSTREAM_POD, None, UPSTREAM_POD),
    "destination.ip": (None, LOCAL, None, LOCAL),
    "destination.port": (None, NUMBER, None, NUMBER),
    "destination.namespace": (None, None, None, None),
    "destination.mesh.id": (None, None, None, None),
    **{name: (value, value, None, value) for name, value in SERVICE.items()},
    "connection.mtls": (False, False, False, False),
    "request.scheme": ("http", "http", None, None),
    "api.operation": ("getPet", "getPet", None, None),
}
ROWS = [
    pytest.param(kind, name, told, id=f"{kind}-{name}")
    for kind, table in (("inbound", INBOUND), ("outbound", OUTBOUND))
    for name, told in table.items()
]


@pytest.mark.parametrize(("kind", "name", "told"), ROWS)
async def test_a_row(site: Site, kind: str, name: str, told: tuple[Any, ...]) -> None:
    """Each attribute at each face is as the table of K says; absent ones are absent (K8, C16)."""
    assert tuple(site.faces[f"{kind} {face}"].get(name) for face in CHECKED) == told


async def test_the_table_is_complete(site: Site) -> None:
    """Nothing is told that K does not know (K8)."""
    for at, face in enumerate(CHECKED):
        expected = {name for name, told in INBOUND.items() if told[at] is not None}
        assert site.faces[f"inbound {face}"].keys() == expected
    opening, closing = (
        {name for name in site.faces[f"inbound connection {each}"] if not name.startswith("rbac.")}
        for each in ("open", "close")
    )
    assert opening == closing - {"connection.duration"}


async def test_an_opening_tells_who_calls(site: Site) -> None:
    """It is logged when the handshake is over (K3, K6); nothing of it is told twice (C.5)."""
    opening, closing = (site.faces[f"inbound connection {event}"] for event in ("open", "close"))
    same = ("connection.mtls", "source.principal", "connection.requested_server_name")
    assert [opening[name] for name in same] == [closing[name] for name in same]
    parts = [each["connection.received.bytes"] for each in (opening, closing)]
    assert sum(map(int, parts)) == 57  # type: ignore[call-overload]


async def test_headers(site: Site) -> None:
    """Checks have all, repeated ones joined; reports those that are logged (K request.headers).

    No face has what callers say of themselves, or takes a hop's word for a caller's address.
    """
    checked, reported = (
        site.faces[f"inbound {face}"]["request.headers"] for face in ("check", "report")
    )
    assert isinstance(checked, Mapping)
    assert isinstance(reported, Mapping)
    assert checked["x-user"] == "alice,bob"
    assert checked[":authority"] == "ratings:9080"
    assert reported.keys() == {
        ":authority", ":method", ":path", "content-type", "referer", "user-agent",
        "x-api-key", "x-forwarded-for", "x-request-id", "x-user",
    }  # fmt: skip
    assert {name: checked[name] for name in reported} == reported
    assert checked["x-forwarded-for"] == "1.2.3.4"
    assert "x-mast-peer" not in checked
    assert site.faces["inbound report"]["response.headers"] == {"x-powered-by": "tests"}


async def test_times_and_claims_are_the_same_at_all_faces(site: Site) -> None:
    """Both faces have one start; claims as JSON are those of the token (K request.time, C.5)."""
    checked, reported = site.faces["inbound check"], site.faces["inbound report"]
    for name in ("request.time", "request.id", "request.auth.raw_claims"):
        assert checked[name] == reported[name]
    claims = json.loads(str(checked["request.auth.raw_claims"]))
    assert isinstance(claims.pop("exp"), int)
    expected = {**CLAIMS, "iss": ISSUER.name, "sub": "user"}
    assert claims == {name: value for name, value in expected.items() if value is not None}


@pytest.mark.parametrize(
    ("uri", "source", "lines", "told"),
    [
        pytest.param(
            "", STRANGER, (),
            {"connection.mtls": False, "source.ip": packed_ip(STRANGER)},
            id="nobody-known",
        ),
        pytest.param(
            "", STRANGER, ("x-mast-peer: kubernetes://p.web,",),
            {"connection.mtls": False, "source.uid": "kubernetes://p.web",
             "source.namespace": "web"},
            id="by-header",
        ),
        pytest.param(
            "https://no.spiffe/id", STRANGER, (),
            {"connection.mtls": True, "source.ip": packed_ip(STRANGER)},
            id="certificate-of-another-kind",
        ),
        pytest.param(
            f"spiffe://{FRONT}", STRANGER, ("x-mast-peer: kubernetes://p.other,",),
            {"connection.mtls": True, "source.principal": FRONT, "source.user": FRONT,
             "source.namespace": "web", "source.ip": packed_ip(STRANGER)},
            id="header-against-certificate",
        ),
    ],
)  # fmt: skip
async def test_callers(
    site: Site, uri: str, source: str, lines: Sequence[str], told: Mapping[str, Any]
) -> None:
    """Whoever is not in the registry is known by header, certificate, address (C.5, C16, K7)."""
    path = f"/caller/{len(site.engine.checked)}"
    assert await site.ask(path, *lines, source=source, context=site.client(uri)) == 200
    (checked,) = site.checks(path)
    reported = await site.report({"request.path": path})
    names = (
        "connection.mtls", "source.uid", "source.ip", "source.principal", "source.user",
        "source.namespace",
    )  # fmt: skip
    for face in (checked, reported):
        assert {name: face[name] for name in names if name in face} == told


@pytest.mark.parametrize(
    ("kind", "path", "told"),
    [
        ("inbound", "/answered", {"response.code": 418, "context.proxy_error_code": "-"}),
        ("outbound", "/answered", {"response.code": 418, "context.proxy_error_code": "-"}),
        ("inbound", "/no-host", {"response.code": 503, "context.proxy_error_code": "UH"}),
        ("outbound", "/no-host", {"response.code": 503, "context.proxy_error_code": "UH"}),
    ],
)
async def test_what_envoy_answers_has_a_service(
    site: Site, kind: str, path: str, told: Mapping[str, Any]
) -> None:
    """Routes tell it, where no host was chosen there is no destination (K destination.*)."""
    listener = "http" if kind == "inbound" else "http-out"
    assert await site.ask(path, listener=listener) == told["response.code"]
    found = await site.report({"request.path": path, "context.reporter.kind": kind})
    assert {**told, **SERVICE}.items() <= {**found, "request.headers": None}.items()
    assert ("destination.ip" in found) is (kind == "inbound")


async def test_a_rewritten_request_is_reported_as_it_was_sent_on(site: Site) -> None:
    """Differs from Istio, whose reports have the path that was checked (K request.path)."""
    operations = RouteDirective((HeaderOperation(":path", "/rewritten"),))
    site.verdicts["rewrite"] = allow(directive=operations)
    for _ in range(2):
        assert await site.ask("/before", f"{CASE}: rewrite") == 200
    reported = [await site.report({"request.path": "/rewritten", "check.cache_hit": hit})
                for hit in (False, True)]  # fmt: skip
    assert [each["request.url_path"] for each in reported] == ["/rewritten"] * 2
    assert len(site.checks("/before")) == 1


async def test_a_method_without_a_name_of_envoys_is_not_reported(site: Site) -> None:
    """A log has numbers for the usual ones only (K request.method)."""
    assert await site.ask("/find", method="PROPFIND") == 200
    (checked,) = site.checks("/find")
    assert checked["request.method"] == "PROPFIND"
    assert "request.method" not in await site.report({"request.path": "/find"})


async def test_grpc_is_known_by_its_status(site: Site) -> None:
    """In the trailers, or in the headers if there is nothing else (K response.grpc_status)."""
    roots = site.ca.pem
    pair = site.ca.leaf(uris=[f"spiffe://{FRONT}"])
    credentials = grpc.ssl_channel_credentials(roots, pair.key, pair.chain)
    options = [("grpc.ssl_target_name_override", SNI)]
    address = f"127.0.0.1:{site.envoy.ports['http']}"
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        stub = AuthorizationStub(channel)
        await stub.Check(CheckRequest(), timeout=20)
        missing = channel.unary_unary("/envoy.service.auth.v3.Missing/Call")
        assert await missing(b"", timeout=20).code() is grpc.StatusCode.UNIMPLEMENTED
    for path, status in (("Authorization/Check", "0"), ("Missing/Call", "12")):
        found = await site.report({"request.path": f"/envoy.service.auth.v3.{path}"})
        assert (found["context.protocol"], found["response.code"]) == ("grpc", 200)
        headers = found["response.headers"]
        assert headers["grpc-status"] == found["response.grpc_status"] == status
        assert found.get("response.grpc_message", "") == headers["grpc-message"]
        assert headers["content-type"] == "application/grpc"
