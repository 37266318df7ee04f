"""The default telemetry over a real Envoy: exactly these series (mixer.md L 43, 44, 45, 53)."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import grpc.aio
import pytest
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.route.v3.route_components_pb2 import Route
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext

from istio.mixer.v1 import mixer_pb2, mixer_pb2_grpc
from mast.mixer.api import access_log, ext_authz
from mast.mixer.api import mixer as mixer_api
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.wire import encode
from mast.mixer.core.workloads import Pod, Workloads, packed_ip
from mast.pilot.core.filters.extensions import Additions, Direction
from mast.pilot.core.mixer.filters import MixerExtensions
from tests.support.envoy_server import EnvoyServer, envoy_server
from tests.support.envoy_static import black_hole
from tests.support.live_mixer import LiveMixer, clock, live_mixer
from tests.support.messages import made
from tests.support.mixer_config import TELEMETRY
from tests.support.mixer_mesh import (
    NODE_ID,
    POLICY,
    Stand,
    admit_all,
    application,
    mesh,
    mixer,
    spot,
    with_stands,
)
from tests.support.mixer_mesh import TELEMETRY as TELEMETRY_HOST
from tests.support.pki import Ca
from tests.support.scrape import Labels, scraped
from tests.support.tls_contexts import tls_client
from tests.support.until import until

PLACE = {"POD_NAME": "ratings-1", "POD_NAMESPACE": "default", "INSTANCE_IP": "10.0.0.9"}
CALLER, REVIEWS = "127.0.0.11", "127.0.0.1"
WEB, RATINGS = "cluster.local/ns/web/sa/front", "cluster.local/ns/default/sa/ratings"
SNI = "ratings.default.svc.cluster.local"
THROUGH = "PassthroughCluster"

DENY = """
kind: handler
metadata: {name: never, namespace: default}
spec: {compiledAdapter: denier, params: {status: {code: 7, message: told}}}
---
kind: instance
metadata: {name: nothing, namespace: default}
spec: {compiledTemplate: checknothing}
---
kind: rule
metadata: {name: never, namespace: default}
spec:
  match: (request.headers["x-user"] | "") == "mallory"
  actions: [{handler: never, instances: [nothing]}]
---
"""
DENY_CONNECTIONS = DENY.replace(
    'match: (request.headers["x-user"] | "") == "mallory"', 'match: context.protocol == "tcp"'
)

_SIDES = {
    "ratings": {
        "workload": "ratings-v1",
        "workload_namespace": "default",
        "app": "ratings",
        "version": "v1",
    },
    "front": {
        "workload": "front",
        "workload_namespace": "web",
        "app": "front",
        "version": "unknown",
    },
    "reviews": {
        "workload": "reviews-v3",
        "workload_namespace": "default",
        "app": "reviews",
        "version": "v3",
    },
}


def workloads() -> Workloads:
    """Who calls, the proxy's own pod, and whom it calls."""
    found = Workloads()
    ratings = {"app": "ratings", "version": "v1"}
    reviews = {"app": "reviews", "version": "v3"}
    for pod in (
        Pod("front-1", "web", (packed_ip(CALLER),), {"app": "front"}, workload="front"),
        Pod("ratings-1", "default", (), ratings, workload="ratings-v1"),
        Pod("reviews-1", "default", (packed_ip(REVIEWS),), reviews, workload="reviews-v3"),
    ):
        found.put(pod.name, pod)
    return found


def side(name: str, who: str, principal: str) -> dict[str, str]:
    """Labels of one side."""
    return {f"{name}_principal": principal} | {f"{name}_{k}": v for k, v in _SIDES[who].items()}


SERVICE = {
    "destination_service": SNI,
    "destination_service_name": "ratings",
    "destination_service_namespace": "default",
}
INBOUND = {
    "reporter": "destination",
    **side("source", "front", WEB),
    **side("destination", "ratings", RATINGS),
    **SERVICE,
    "response_flags": "-",
    "connection_security_policy": "mutual_tls",
}
OUTBOUND = {
    "reporter": "source",
    **side("source", "ratings", "unknown"),
    **side("destination", "reviews", "unknown"),
    **SERVICE,
    "response_flags": "-",
    "connection_security_policy": "unknown",
}
HTTP = {
    "request_protocol": "http",
    "response_code": "200",
    "permissive_response_code": "none",
    "permissive_response_policyid": "none",
}
NO_SERVICE = dict.fromkeys(SERVICE, "unknown")


@dataclass(frozen=True)
class Case:
    """Requests that are alike: what they are, and the labels that they must have."""

    listener: str
    labels: Mapping[str, str]
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    number: int = 1
    answered: int = 2


CASES = (
    Case("http", {**INBOUND, **HTTP}, number=3),
    Case(
        "http",
        {**INBOUND, **HTTP, "request_protocol": "grpc"},
        headers={"content-type": "application/grpc"},
        body=b"12345",
    ),
    Case(
        "http",
        {**INBOUND, **HTTP, "response_code": "403", "response_flags": "UAEX"},
        headers={"x-user": "mallory"},
        number=2,
        answered=len("PERMISSION_DENIED:never.default:told"),
    ),
    Case("http-out", {**OUTBOUND, **HTTP}, number=2, body=b"x" * 1000),
    Case(
        "http-out",
        {
            **OUTBOUND,
            **HTTP,
            "destination_service": "example.com",
            "destination_service_name": THROUGH,
            "destination_service_namespace": "unknown",
        },
        path="/pass",
        headers={"host": "example.com"},
    ),
    Case(
        "http-out",
        {
            **OUTBOUND,
            **HTTP,
            **side("destination", "ratings", "unknown"),
            **{f"destination_{each}": "unknown" for each in _SIDES["ratings"]},
            "response_code": "503",
            "response_flags": "UH",
        },
        path="/no-host",
        answered=len("no healthy upstream"),
    ),
    Case("http", {}, headers={"user-agent": "kube-probe/1.30"}),
    Case("http-out", {}, headers={"user-agent": "Prometheus/3.0"}),
)


def tls(ca: Ca) -> DownstreamTlsContext:
    """Mutual TLS of the proxy."""
    own = ca.leaf(uris=[f"spiffe://{RATINGS}"], dns=[SNI])
    context = DownstreamTlsContext()
    context.require_client_certificate.value = True
    certificate = context.common_tls_context.tls_certificates.add()
    certificate.certificate_chain.inline_bytes = own.chain
    certificate.private_key.inline_bytes = own.key
    context.common_tls_context.validation_context.trusted_ca.inline_bytes = ca.pem
    return context


@dataclass
class Site:
    """An Envoy whose checks and access logs a Mixer gets."""

    mixer: LiveMixer
    envoy: EnvoyServer
    client: ssl.SSLContext
    sent: Counter[str] = field(default_factory=Counter)
    received: Counter[str] = field(default_factory=Counter)

    async def ask(self, case: Case) -> None:
        """Make the requests of a case, each on a connection of its own."""
        secure = case.listener == "http"
        connector = aiohttp.TCPConnector(
            ssl=self.client if secure else False, local_addr=(CALLER, 0), force_close=True
        )
        url = f"{'https' if secure else 'http'}://127.0.0.1:{self.envoy.ports[case.listener]}"
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(case.number):
                async with session.post(
                    url + case.path,
                    data=case.body,
                    headers=dict(case.headers),
                    server_hostname=SNI if secure else None,
                ) as answer:
                    status = int(case.labels.get("response_code", "200"))
                    assert answer.status == status, await answer.text()

    async def connect(self, listener: str) -> None:
        """A connection that opens, goes on, and closes, with different bytes each time."""
        secure = not listener.endswith("out")
        reader, writer = await asyncio.open_connection(
            "127.0.0.1",
            self.envoy.ports[listener],
            local_addr=(CALLER, 0),
            ssl=self.client if secure else None,
            server_hostname=SNI if secure else None,
        )
        before = self.events(listener).count("continue")
        for length in (0, 1000):
            request = f"GET / HTTP/1.1\r\nhost: a\r\nx: {'x' * length}\r\n\r\n".encode()
            writer.write(request)
            self.sent[listener] += len(request)
            try:
                self.received[listener] += len(await reader.readuntil(b"ok"))
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            await until(lambda: self.events(listener).count("continue") > before)
        closed = self.events(listener).count("close")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        await until(lambda: self.events(listener).count("close") > closed)

    def events(self, listener: str) -> list[object]:
        """What has been told of connections."""
        kind = "inbound" if listener == "tcp" else "outbound"
        return [
            each["connection.event"]
            for each in self.mixer.engine.reported
            if "connection.event" in each and each["context.reporter.kind"] == kind
        ]


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[Site]:
    """The Envoy with a listener for each direction and protocol."""
    ca = Ca.root()
    extensions = MixerExtensions(mesh())
    routes = [
        made(Route, f"{{match: {{path: /pass}}, route: {{cluster: {THROUGH}}}}}"),
        made(Route, "{match: {path: /no-host}, route: {cluster: nobody}}"),
    ]
    outbound = Stand(
        extensions=extensions, where=spot(Direction.OUTBOUND), name="out", routes=routes
    )
    stands = [Stand(extensions=extensions, where=spot(), tls=tls(ca)), outbound]
    async with live_mixer(workloads(), TELEMETRY, DENY) as running_mixer:
        faces = (running_mixer.engine, running_mixer.pods, ClientConfig, admit_all(), clock)

        def register(server: grpc.aio.Server) -> None:
            ext_authz.register(server, *faces)
            access_log.register(server, *faces)

        async with application() as app, mixer(register) as port:
            servers = {POLICY: port, TELEMETRY_HOST: port}
            config = with_stands(stands, servers, app.port, NODE_ID)
            clusters = config.static_resources.clusters
            passing = clusters.add()
            passing.CopyFrom(clusters[-2])
            passing.name = THROUGH
            clusters.append(black_hole("nobody"))
            additions = extensions.destination(outbound.where, THROUGH, None)
            for listener in config.static_resources.listeners:
                _let_pass(listener.filter_chains[0].filters[-1], listener.name, additions)
            async with envoy_server(config, directory, concurrency=2, environment=PLACE) as envoy:
                own = ca.leaf(uris=[f"spiffe://{WEB}"])
                yield Site(running_mixer, envoy, tls_client(ca, own))


def _let_pass(last: Filter, listener: str, additions: Additions) -> None:
    """What Pilot gives routes of hosts that nobody knows."""
    if listener != "http-out":
        return
    manager = HttpConnectionManager()
    last.typed_config.Unpack(manager)
    for route in manager.route_config.virtual_hosts[0].routes:
        if route.match.path == "/pass":
            route.metadata.Clear()
            additions.apply_metadata(route)
    last.typed_config.Pack(manager)


def expected_of_requests() -> dict[tuple[str, Labels], float]:
    """The samples that the cases make, but for durations and buckets."""
    found: Counter[tuple[str, Labels]] = Counter()
    for case in CASES:
        labels = frozenset(case.labels.items())
        if not labels:
            continue
        found["istio_requests_total", labels] += case.number
        for name, size in (
            ("request_bytes", len(case.body)),
            ("response_bytes", case.answered),
        ):
            found[f"istio_{name}_count", labels] += case.number
            found[f"istio_{name}_sum", labels] += case.number * size
        found["istio_request_duration_seconds_count", labels] += case.number
    return dict(found)


def plain(samples: Mapping[tuple[str, Labels], float]) -> dict[tuple[str, Labels], float]:
    """Samples that are the same each time."""
    return {
        key: value
        for key, value in samples.items()
        if not key[0].endswith(("_bucket", "_seconds_sum"))
    }


async def test_exactly_the_default_series(tmp_path: Path) -> None:
    """In, out, gRPC, denied, passing through, without a host; connections; probes make none."""
    async with running(tmp_path) as site:
        for case in CASES:
            await site.ask(case)
        total = sum(case.number for case in CASES)
        await until(lambda: len(site.mixer.engine.reported) == total)
        found = scraped(site.mixer.series.render())
        assert plain(found) == expected_of_requests()
        assert await checks_by_proxy(site) == checks_by_reports(site)

        await site.connect("tcp")
        await site.connect("tcp-out")
        await site.mixer.configure(TELEMETRY, DENY_CONNECTIONS)
        await site.connect("tcp")
        found = scraped(site.mixer.series.render())
        by_connections = {key: value for key, value in found.items() if "tcp" in key[0]}
        expected = {}
        for each, labels, closed in (
            ("tcp", {**INBOUND, **NO_SERVICE}, 2),
            ("tcp-out", OUTBOUND, 1),
        ):
            for name, value in (
                ("received_bytes", site.sent[each]),
                ("sent_bytes", site.received[each]),
                ("connections_opened", 1),
                ("connections_closed", closed),
            ):
                expected[f"istio_tcp_{name}_total", frozenset(labels.items())] = value
        assert by_connections == expected
        assert await same_over_the_old_face(site.mixer) == pytest.approx(found)


async def checks_by_proxy(site: Site) -> dict[str, int]:
    """What Envoy counts of checks: what Mixer answered, what the cache let pass (C15)."""
    return {
        each: await site.envoy.stat(f"http.http.ext_authz.{each}")
        for each in ("ok", "denied", "disabled")
    }


def checks_by_reports(site: Site) -> dict[str, int]:
    """The same by what reports tell of each request."""
    found = Counter(
        (each["check.cache_hit"], "check.error_code" in each)
        for each in site.mixer.engine.reported
        if "check.cache_hit" in each
    )
    return {
        "ok": found[False, False],
        "denied": found[False, True],
        "disabled": found[True, False],
    }


async def same_over_the_old_face(mixer_: LiveMixer) -> Mapping[tuple[str, Labels], float]:
    """The series that the same attributes make as reports of a proxy of Istio 1.4 (L 53)."""
    async with live_mixer(mixer_.pods, TELEMETRY) as other:

        def register(server: grpc.aio.Server) -> None:
            mixer_api.register(server, mixer_api.MixerServicer(other.engine, admit_all()))

        async with mixer(register) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as to:
            request = mixer_pb2.ReportRequest(
                attributes=[encode(each) for each in mixer_.engine.reported],
                global_word_count=len(WORDS),
                repeated_attributes_semantics=mixer_pb2.ReportRequest.INDEPENDENT_ENCODING,
            )
            await mixer_pb2_grpc.MixerStub(to).Report(request, timeout=10)
        return scraped(other.series.render())
