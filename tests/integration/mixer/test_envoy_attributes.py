"""Every row of mixer_proxy.md K on one real Envoy: what each face tells of the same exchanges.

Its listeners take mutual TLS, tokens and shadow rules; all of them go through one exchange each
before the tests look at what Mixer was told (mixer.md L 49).
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.config.route.v3.route_components_pb2 import Route
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.http.set_metadata.v3.set_metadata_pb2 import Config as SetMetadata
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from envoy.service.auth.v3.external_auth_pb2_grpc import AuthorizationStub
from google.protobuf.duration_pb2 import Duration as ProtoDuration
from google.protobuf.message import Message

from istio.mixer.v1.config.client.api_spec_pb2 import HTTPAPISpec, HTTPAPISpecBinding
from mast.mixer.api import access_log, ext_authz
from mast.mixer.core import api_specs
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.engine import (
    CheckVerdict,
    Condition,
    HeaderOperation,
    Reads,
    Reference,
    RouteDirective,
)
from mast.mixer.core.values import Attributes, Duration, Timestamp
from mast.mixer.core.workloads import Pod, packed_ip
from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.mixer.filters import MixerExtensions
from mast.pilot.core.packing import packed
from tests.integration.mixer.bench import clock
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.envoy_static import black_hole
from tests.support.messages import made
from tests.support.mixer_mesh import (
    MIXER_PORT,
    POLICY,
    TELEMETRY,
    Application,
    Pods,
    ScriptedEngine,
    Stand,
    admit_all,
    allow,
    application,
    mesh,
    mixer,
    spot,
    with_stands,
)
from tests.support.pki import Ca
from tests.support.tls_contexts import tls_client
from tests.support.tokens import Issuer
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN_IP = "10.0.0.9"
NODE_ID = f"sidecar~{OWN_IP}~ratings-1.default~default.svc.cluster.local"
PLACE = {
    "POD_NAME": "ratings-1",
    "POD_NAMESPACE": "default",
    "INSTANCE_IP": OWN_IP,
    "ISTIO_META_ISTIO_VERSION": "1.30.3",
    "ISTIO_META_MESH_ID": "mesh-1",
}
FRONT, RATINGS = "cluster.local/ns/web/sa/front", "cluster.local/ns/default/sa/ratings"
SNI = "ratings.default.svc.cluster.local"
CALLER, STRANGER = "127.0.0.11", "127.0.0.12"
PODS = {
    packed_ip(CALLER): Pod("front-1", "web"),
    packed_ip("127.0.0.1"): Pod("reviews-1", "shop"),
}
ISSUER = Issuer("https://issuer.test")
CLAIMS = {"aud": ["shop", "bank"], "azp": "app", "groups": ["a", "b"], "level": 5, "iat": None}
SERVICE = {
    "destination.service.host": "ratings.default.svc.cluster.local",
    "destination.service.name": "ratings",
    "destination.service.namespace": "default",
    "destination.service.uid": "istio://default/services/ratings",
}
API = """
{attributes: {attributes: {api.service: {string_value: pets}}},
 patterns: [{attributes: {attributes: {api.operation: {string_value: getPet}}},
             uri_template: "/pets/{id}"}]}
"""
BOUND = "{services: [{name: ratings}], api_specs: [{name: s}]}"
CASE = "x-case"
SHADOW = """
action: DENY
policies: {dry: {permissions: [{any: true}], principals: [{any: true}]}}
"""
ANSWERED = "match: {path: /answered}\ndirect_response: {status: 418}"
NO_HOST = "match: {path: /no-host}\nroute: {cluster: nobody}"
GRPC = "match: {prefix: /envoy.service.auth}\nroute: {cluster: %s}"


def tls(ca: Ca) -> DownstreamTlsContext:
    """Mutual TLS that does not insist on a certificate."""
    own = ca.leaf(uris=[f"spiffe://{RATINGS}"], dns=[SNI])
    context = DownstreamTlsContext()
    context.require_client_certificate.value = False
    certificate = context.common_tls_context.tls_certificates.add()
    certificate.certificate_chain.inline_bytes = own.chain
    certificate.private_key.inline_bytes = own.key
    roots = DataSource(inline_bytes=ca.pem)
    context.common_tls_context.validation_context.trusted_ca.CopyFrom(roots)
    context.common_tls_context.alpn_protocols.extend(["h2", "http/1.1"])
    return context


def http_filters() -> Sequence[HttpFilter]:
    """Tokens, shadow rules, and a filter that leaves metadata of its own."""
    tokens = JwtAuthentication()
    provider = tokens.providers["issuer"]
    provider.issuer = ISSUER.name
    provider.local_jwks.inline_string = ISSUER.jwks
    provider.payload_in_metadata = "payload"
    provider.forward = True
    rule = tokens.rules.add()
    rule.match.prefix = "/"
    rule.requires.requires_any.requirements.add().provider_name = "issuer"
    rule.requires.requires_any.requirements.add().allow_missing.SetInParent()
    left = made(
        SetMetadata,
        "metadata: [{metadata_namespace: some.filter, value: {a: b, list: [c, d], number: 5}}]",
    )
    found: dict[str, Message] = {
        "envoy.filters.http.jwt_authn": tokens,
        "envoy.filters.http.rbac": HttpRbac(shadow_rules=made(RBAC, SHADOW)),
        "envoy.filters.http.set_metadata": left,
    }
    return [HttpFilter(name=name, typed_config=packed(config)) for name, config in found.items()]


def stands(ca: Ca) -> Sequence[Stand]:
    """The inbound and outbound halves of a sidecar that checks everything."""
    soon = ProtoDuration(nanos=100_000_000)
    extensions = MixerExtensions(
        mesh(enable_client_side_policy_check=True, report_batch_max_time=soon)
    )
    shadow = NetworkRbac(stat_prefix="tcp.", shadow_rules=made(RBAC, SHADOW))
    inbound = Stand(
        extensions=extensions,
        where=spot(),
        filters=http_filters(),
        network_filters=[Filter(name="envoy.filters.network.rbac", typed_config=packed(shadow))],
        routes=[
            made(Route, ANSWERED),
            made(Route, NO_HOST),
            made(Route, GRPC % f"'outbound|{MIXER_PORT}||{POLICY}'"),
        ],
        tls=tls(ca),
    )
    outbound = Stand(
        extensions=extensions,
        where=spot(Direction.OUTBOUND),
        name="out",
        routes=[made(Route, ANSWERED), made(Route, NO_HOST)],
    )
    return (inbound, outbound)


@dataclass
class Site:
    """The Envoy, the application behind it, and what Mixer was told."""

    ca: Ca
    envoy: EnvoyServer
    app: Application
    engine: ScriptedEngine
    verdicts: dict[str, CheckVerdict]
    """By the header ``x-case``, for tests of their own."""
    faces: dict[str, Attributes] = field(default_factory=dict)
    """What the exchanges of the fixture told, by face."""

    def client(self, uri: str = f"spiffe://{FRONT}") -> ssl.SSLContext:
        """TLS of a caller with this identity, of none if it is empty."""
        return tls_client(self.ca, self.ca.leaf(uris=[uri]) if uri else None)

    async def ask(
        self,
        path: str,
        *lines: str,
        listener: str = "http",
        method: str = "GET",
        body: str = "",
        source: str = CALLER,
        context: ssl.SSLContext | None = None,
        server_name: str = SNI,
    ) -> int:
        """The status that one request on a connection of its own gets."""
        secured = not listener.endswith("out")
        async with asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                self.envoy.ports[listener],
                local_addr=(source, 0),
                ssl=(context or self.client()) if secured else None,
                server_hostname=server_name if secured else None,
            )
            head = [f"{method} {path} HTTP/1.1", *lines, "connection: close"]
            if not any(each.startswith("host:") for each in lines):
                head.append("host: ratings:9080")
            writer.write(("\r\n".join(head) + "\r\n\r\n" + body).encode())
            answer = await reader.readline()
            writer.transport.abort()
        return int(answer.split()[1])

    def checks(self, path: str) -> list[dict[str, Any]]:
        """The checks of requests to a path."""
        return [dict(each) for each in self.engine.checked if each.get("request.path") == path]

    def cases(self, case: str) -> list[Attributes]:
        """The checks of requests with this header ``x-case``."""
        return [each for each in self.engine.checked if _header(each, CASE) == case]

    async def report(self, wanted: Mapping[str, object]) -> dict[str, Any]:
        """The first report that has these attributes."""

        def fitting() -> list[Attributes]:
            return [each for each in self.engine.reported if wanted.items() <= _plain(each)]

        await until(lambda: bool(fitting()))
        return dict(fitting()[0])


def _header(found: Attributes, name: str) -> str | None:
    headers = found.get("request.headers")
    return headers.get(name) if isinstance(headers, Mapping) else None


def _plain(record: Attributes) -> set[tuple[str, Any]]:
    """Attributes that can be compared in a set."""
    return {(name, value) for name, value in record.items() if not isinstance(value, Mapping)}


def answer(verdicts: Mapping[str, CheckVerdict]) -> Any:
    """Verdicts by the header ``x-case``, which they depend on as well."""

    def given(found: Attributes) -> CheckVerdict:
        case = _header(found, CASE)
        verdict = verdicts.get(case or "", allow(uses=0))
        how = Condition.EXACT if case else Condition.ABSENCE
        by_case = Reference("request.headers", CASE, how)
        return replace(verdict, referenced=(*verdict.referenced, by_case))

    return given


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    verdicts: dict[str, CheckVerdict] = {}
    reads = Reads(frozenset({*WORDS, "some.filter"}))
    engine = ScriptedEngine(answer(verdicts), report_reads=reads)
    registry = Pods(PODS)

    def register(server: grpc.aio.Server) -> None:
        ext_authz.register(server, engine, registry, lambda: client, admit_all(), clock)
        access_log.register(server, engine, registry, lambda: client, admit_all(), clock)

    client = (
        ClientConfig()
        .with_object(api_specs.SPECS, ("default", "s"), made(HTTPAPISpec, API))
        .with_object(api_specs.BINDINGS, ("default", "b"), made(HTTPAPISpecBinding, BOUND))
    )
    ca = Ca.root()
    async with application("x-powered-by: tests\r\n") as app, mixer(register) as port:
        servers = {POLICY: port, TELEMETRY: port}
        config = with_stands(stands(ca), servers, app.port, NODE_ID)
        config.node.metadata.update({"ISTIO_VERSION": "1.30.3", "MESH_ID": "mesh-1"})
        config.static_resources.clusters.append(black_hole("nobody"))
        directory = tmp_path_factory.mktemp("envoy")
        async with envoy_server(config, directory, environment=PLACE) as envoy:
            running = Site(ca, envoy, app, engine, verdicts)
            await exchanges(running)
            yield running
            assert complaints(envoy.log.read_text()) == []


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
    """Checks have all, repeated ones joined; reports what Envoy logs of them (K request.headers).

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
        "x-api-key", "x-forwarded-for", "x-request-id",
    }  # fmt: skip
    assert {name: checked[name] for name in reported} == reported
    assert checked["x-forwarded-for"] == "1.2.3.4"
    assert "x-mast-peer" not in checked


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


# What the check cache reads (K, column Lua; K4).

A, E = Condition.ABSENCE, Condition.EXACT
GRPC_TYPE = "content-type: application/grpc"


@dataclass(frozen=True)
class Sent:
    """What of a request a verdict may depend on."""

    path: str = "/a?q=1"
    lines: Sequence[str] = ("user-agent: tests",)
    method: str = "GET"
    uri: str = f"spiffe://{FRONT}"
    source: str = CALLER
    server_name: str = SNI
    claims: Mapping[str, Any] | None = None

    async def to(self, site: Site, case: str) -> None:
        """Have it checked, or answered by the cache."""
        lines = [*self.lines, f"{CASE}: {case}"]
        if self.claims is not None:
            token = ISSUER.token({**CLAIMS, **self.claims})
            lines.append(f"authorization: Bearer {token}")
        await site.ask(
            self.path,
            *lines,
            method=self.method,
            source=self.source,
            context=site.client(self.uri),
            server_name=self.server_name,
        )


USUAL, ANONYMOUS = Sent(), Sent(uri="")
ELSEWHERE = Sent(uri="", source="127.0.0.1")
TOKEN = Sent(claims={})

# What a verdict depends on; requests that are alike in it; one that differs, None if none can.
READ: Sequence[tuple[Reference, Sent, Sent, Sent | None]] = (
    (Reference("request.path", None, E), USUAL, Sent(source=STRANGER), Sent(path="/a?q=2")),
    (Reference("request.url_path", None, E), USUAL, Sent(path="/a?q=2"), Sent(path="/b?q=1")),
    (Reference("request.query_params", "q", E), USUAL, Sent(path="/b?q=1&q=2"), Sent("/a?q=2")),
    (Reference("request.query_params", "p", A), USUAL, Sent("/b"), Sent("/a?p")),
    (Reference("request.query_params", None, A), Sent("/a"), Sent("/b?"), Sent("/a?x")),
    (Reference("request.method", None, E), USUAL, Sent("/b"), Sent(method="PUT")),
    (Reference("request.host", None, E), USUAL, Sent("/b"), Sent(lines=("host: other",))),
    (Reference("request.scheme", None, E), USUAL, Sent("/b"), None),
    (Reference("request.useragent", None, E), USUAL, Sent("/b"), Sent(lines=("user-agent: x",))),
    (Reference("request.referer", None, A), USUAL, Sent("/b"), Sent(lines=("referer: r",))),
    (
        Reference("request.id", None, E),
        Sent(lines=("x-request-id: 1",)),
        Sent("/b", ("x-request-id: 1",)),
        Sent(lines=("x-request-id: 2",)),
    ),
    (Reference("request.size", None, A), USUAL, Sent("/b"), Sent(lines=("content-length: 0",))),
    (
        Reference("request.headers", "x-user", E),
        Sent(lines=("x-user: a", "x-user: b")),
        Sent("/b", ("x-user: a,b",)),
        Sent(lines=("x-user: a",)),
    ),
    (Reference("request.headers", "x-no", A), USUAL, Sent("/b"), Sent(lines=("x-no: ",))),
    (
        Reference("context.protocol", None, E),
        Sent(lines=(GRPC_TYPE,)),
        Sent("/b", (f"{GRPC_TYPE}+proto",)),
        USUAL,
    ),
    (Reference("context.reporter.uid", None, E), USUAL, Sent("/b"), None),
    (Reference("context.reporter.kind", None, E), USUAL, Sent("/b"), None),
    (Reference("context.proxy_version", None, E), USUAL, Sent("/b"), None),
    (
        Reference("origin.ip", None, E),
        USUAL,
        Sent(lines=("x-forwarded-for: 9.9.9.9",)),
        Sent(source=STRANGER),
    ),
    (Reference("source.ip", None, A), USUAL, Sent("/b"), Sent(source=STRANGER)),
    (Reference("source.uid", None, E), USUAL, Sent("/b"), Sent(source="127.0.0.1")),
    (Reference("source.namespace", None, E), ANONYMOUS, Sent("/b", uri=""), ELSEWHERE),
    (
        Reference("source.uid", None, A),
        Sent(source=STRANGER),
        Sent("/b", source=STRANGER),
        Sent(lines=("x-mast-peer: kubernetes://p.web,",), source=STRANGER),
    ),
    (Reference("source.principal", None, E), USUAL, Sent("/b"), Sent(uri=f"spiffe://{RATINGS}")),
    (Reference("source.principal", None, A), ANONYMOUS, Sent("/b", uri=""), USUAL),
    (Reference("source.user", None, E), USUAL, Sent("/b"), ANONYMOUS),
    (Reference("destination.principal", None, E), USUAL, Sent("/b"), None),
    (Reference("destination.uid", None, E), USUAL, Sent("/b"), None),
    (Reference("destination.namespace", None, E), USUAL, Sent("/b"), None),
    (Reference("destination.mesh.id", None, E), USUAL, Sent("/b"), None),
    (Reference("destination.ip", None, E), USUAL, Sent("/b"), None),
    (Reference("destination.port", None, E), USUAL, Sent("/b"), None),
    *((Reference(name, None, E), USUAL, Sent("/b"), None) for name in SERVICE),
    (Reference("connection.mtls", None, E), USUAL, Sent("/b"), ANONYMOUS),
    (
        Reference("connection.requested_server_name", None, E),
        USUAL,
        Sent("/b"),
        Sent(server_name=""),
    ),
    (
        Reference("request.auth.principal", None, E),
        TOKEN,
        Sent("/b", claims={"level": 9}),
        Sent(claims={"sub": "other"}),
    ),
    (Reference("request.auth.principal", None, A), USUAL, Sent("/b"), TOKEN),
    (
        Reference("request.auth.audiences", None, E),
        TOKEN,
        Sent(claims={"aud": "shop"}),
        Sent(claims={"aud": ["bank", "shop"]}),
    ),
    (Reference("request.auth.presenter", None, E), TOKEN, Sent("/b", claims={}), USUAL),
    (
        Reference("request.auth.claims", "groups", E),
        TOKEN,
        Sent(claims={"groups": "a,b"}),
        Sent(claims={"groups": ["a"]}),
    ),
    (Reference("request.auth.claims", None, A), USUAL, Sent("/b"), TOKEN),
)


def case_name(each: Any) -> str:
    """What a row is about."""
    reference: Reference = each[0]
    return f"{reference.name}-{reference.map_key or ''}-{reference.condition.name.lower()}"


@pytest.mark.parametrize("row", READ, ids=case_name)
async def test_the_cache_reads_what_verdicts_depend_on(site: Site, row: Any) -> None:
    """A name that Envoy and Mixer read differently would never hit, or hit wrongly (K4, C2, C3)."""
    reference, first, alike, different = row
    case = case_name(row)
    site.verdicts[case] = allow(referenced=(reference,))
    for request, checks in ((first, 1), (alike, 1), (different, 2)):
        if request is not None:
            await request.to(site, case)
            assert len(site.cases(case)) == checks, request
    told = [each.get(reference.name) for each in site.cases(case)]
    if reference.map_key is None and different:
        assert told[0] != told[1]


@pytest.mark.parametrize(
    "reference",
    [
        pytest.param(Reference("request.time", None, E), id="time"),
        pytest.param(Reference("request.auth.raw_claims", None, A), id="text-of-a-token"),
        pytest.param(Reference("request.path", None, Condition.REGEX), id="pattern"),
    ],
)
async def test_what_the_cache_cannot_read_is_not_kept(site: Site, reference: Reference) -> None:
    """Each such request is checked (K4, C2)."""
    case = f"unread-{reference.name}"
    site.verdicts[case] = allow(referenced=(reference,))
    for count in (1, 2):
        await USUAL.to(site, case)
        assert len(site.cases(case)) == count
