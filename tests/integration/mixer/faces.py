"""A real Envoy with everything that its faces can tell Mixer: TLS, tokens, shadow rules."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
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
from google.protobuf.duration_pb2 import Duration as ProtoDuration
from google.protobuf.message import Message

from istio.mixer.v1.config.client.api_spec_pb2 import HTTPAPISpec, HTTPAPISpecBinding
from mast.mixer.api import access_log, ext_authz
from mast.mixer.core import api_specs
from mast.mixer.core.client_config import ClientConfig
from mast.mixer.core.dictionary import WORDS
from mast.mixer.core.engine import (
    CheckVerdict,
    Reads,
)
from mast.mixer.core.values import Attributes
from mast.mixer.core.workloads import Pod, packed_ip
from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.mixer.filters import MixerExtensions
from mast.pilot.core.mixer.logged_headers import LoggedHeaders
from mast.pilot.core.packing import packed
from tests.integration.mixer.bench import CASE, LIFETIME, by_case, clock, header
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
        mesh(enable_client_side_policy_check=True, report_batch_max_time=soon),
        LoggedHeaders(("x-user",), ("x-powered-by",)),
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
        async with asyncio.timeout(60):
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
        return [each for each in self.engine.checked if header(each, CASE) == case]

    async def report(self, wanted: Mapping[str, object]) -> dict[str, Any]:
        """The first report that has these attributes."""

        def fitting() -> list[Attributes]:
            return [each for each in self.engine.reported if wanted.items() <= _plain(each)]

        await until(lambda: bool(fitting()))
        return dict(fitting()[0])


def _plain(record: Attributes) -> set[tuple[str, Any]]:
    """Attributes that can be compared in a set."""
    return {(name, value) for name, value in record.items() if not isinstance(value, Mapping)}


@asynccontextmanager
async def faces(directory: Path) -> AsyncIterator[Site]:
    """The Envoy with nothing asked of it yet."""
    verdicts: dict[str, CheckVerdict] = {}
    reads = Reads(frozenset({*WORDS, "some.filter"}))
    engine = ScriptedEngine(by_case(verdicts), report_reads=reads)
    registry = Pods(PODS)

    def register(server: grpc.aio.Server) -> None:
        ext_authz.register(server, engine, registry, lambda: client, admit_all(), clock, LIFETIME)
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
        async with envoy_server(config, directory, environment=PLACE) as envoy:
            yield Site(ca, envoy, app, engine, verdicts)
            assert complaints(envoy.log.read_text()) == []
