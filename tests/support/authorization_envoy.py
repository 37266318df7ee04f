"""A real Envoy with the inbound halves of many workloads, each with policies of its own.

Every policy set is a listener of one process. What Envoy decides is read from its answers: local
replies say which rule decided, answers of the application what filters left.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

import yaml
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.http.set_metadata.v3.set_metadata_pb2 import Config as SetMetadata
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from mast.agent.core.bootstrap import RUNTIME
from mast.cli.explain import traffic
from mast.cli.explain.addresses import remote_address
from mast.cli.explain.rbac import Arrival
from mast.pilot.core import names
from mast.pilot.core.listeners.http_connection_manager import HTTP_CONNECTION_MANAGER
from mast.pilot.core.model.proxy import parse
from mast.pilot.core.packing import packed
from mast.pilot.core.xds.resources import LDS
from tests.support.authorization_cases import (
    HTTP_PORTS,
    ISSUERS,
    LABELS,
    NAMESPACE,
    ROOT,
    SET_METADATA,
    TCP_PORTS,
    Case,
)
from tests.support.authorization_reference import Call
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.envoy_static import black_hole, bootstrap, cluster, told_destination, with_routes
from tests.support.golden_view import resources_of
from tests.support.http_probe import SECONDS, echo_server
from tests.support.mesh_yaml import sidecar_proxy, world
from tests.support.outbound_envoy import answering
from tests.support.pki import Ca
from tests.support.secret_files import with_secret_files, write_secrets
from tests.support.tokens import Issuer

SPIFFE = "spiffe://"
HOST = "web.shop.svc.cluster.local"
_HTTP_ALPNS = ["istio-http/1.1", "istio", "http/1.1"]
_TCP_ALPNS = ["istio-peer-exchange", "istio"]
_RBAC = "envoy.filters.http.rbac"
_LEFT = {
    "audited": "envoy.common:access_log_hint",
    "deny": f"{_RBAC}:istio_dry_run_deny_shadow_engine_result",
    "allow": f"{_RBAC}:istio_dry_run_allow_shadow_engine_result",
}
"""What filters leave, by the name it has in answers."""

MESH = """
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: {root}}},
 spec: {{trustDomain: {domain}, trustDomainAliases: [{aliases}]}}}}
---
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry,
 metadata: {{name: web, namespace: {namespace}}},
 spec: {{hosts: [{host}], addresses: [10.9.0.1], resolution: STATIC,
        location: MESH_INTERNAL, workloadSelector: {{labels: {{app: web}}}},
        ports: [{ports}]}}}}
"""

GATEWAY = f"""
{{apiVersion: networking.istio.io/v1, kind: Gateway,
 metadata: {{name: edge, namespace: {NAMESPACE}}},
 spec: {{selector: {{istio: ingressgateway}}, servers: [
   {{port: {{number: 8080, name: http, protocol: HTTP}}, hosts: ["*"]}}]}}}}
---
{{apiVersion: networking.istio.io/v1, kind: VirtualService,
 metadata: {{name: edge, namespace: {NAMESPACE}}},
 spec: {{hosts: ["*"], gateways: [edge],
        http: [{{route: [{{destination: {{host: {HOST}, port: {{number: 8080}}}}}}]}}]}}}}
"""

SIGNERS = {each: Issuer(each, "ES256") for each in ISSUERS}
AUTHENTICATION = {
    "apiVersion": "security.istio.io/v1",
    "kind": "RequestAuthentication",
    "metadata": {"name": "tokens", "namespace": NAMESPACE},
    "spec": {"jwtRules": [{"issuer": each.name, "jwks": each.jwks} for each in SIGNERS.values()]},
}
"""Tokens of all issuers are good."""


@cache
def token(claims: str) -> str:
    """A good token with claims, which are JSON."""
    said = {"sub": None, **json.loads(claims)}
    return SIGNERS[said["iss"]].token(said)


@dataclass(frozen=True)
class Decision:
    """What Envoy did with a call; ``rule`` is the one it names when it refuses a request."""

    allowed: bool
    rule: str = ""
    status: int = 0
    left: Mapping[str, str] = field(default_factory=dict)


def texts(case: Case) -> list[str]:
    """The mesh of a case in YAML."""
    ports = [f"{{number: {each}, name: http-{each}, protocol: HTTP}}" for each in HTTP_PORTS]
    ports += [f"{{number: {each}, name: tcp-{each}, protocol: TCP}}" for each in TCP_PORTS]
    mesh = MESH.format(
        root=ROOT,
        namespace=NAMESPACE,
        host=HOST,
        domain=case.place.trust_domains[0],
        aliases=", ".join(case.place.trust_domains[1:]),
        ports=", ".join(ports),
    )
    return [mesh, yaml.safe_dump_all([AUTHENTICATION, *case.policies])]


def inbound(case: Case, *more: str) -> Listener:
    """The listener that takes a workload's inbound connections, as Pilot sends it."""
    view = world(*texts(case), *more).snapshot(1).view(sidecar_proxy(NAMESPACE, labels=LABELS))
    bodies = {each.name: each.body for each in view.collection(LDS)}
    return Listener.FromString(bodies[names.VIRTUAL_INBOUND])


def gateway(case: Case, *more: str) -> Listener:
    """The listener of a gateway that policies of the case are for, with its routes."""
    node = Node(id=f"router~10.1.0.9~edge-1.{NAMESPACE}~{NAMESPACE}.svc.cluster.local")
    labels = {**LABELS, "istio": "ingressgateway"}
    node.metadata.update({"NAMESPACE": NAMESPACE, "LABELS": labels})
    found = resources_of(world(*texts(case), GATEWAY, *more).snapshot(1).view(parse(node)))
    (made,) = with_routes(list(found.listeners.values()), found.routes)
    made.address.socket_address.address = "127.0.0.1"
    made.address.socket_address.port_value = 0
    return made


def observed(listener: Listener, name: str) -> Listener:
    """The listener with another name, whose answers tell what its filters decided."""
    result = Listener()
    result.CopyFrom(listener)
    result.name = name
    for chain in (*result.filter_chains, result.default_filter_chain):
        for each in chain.filters:
            manager = HttpConnectionManager()
            if each.name == HTTP_CONNECTION_MANAGER and each.typed_config.Unpack(manager):
                _observe(manager)
                each.typed_config.CopyFrom(packed(manager))
    return result


def _observe(manager: HttpConnectionManager) -> None:
    told = {"rule": "%RESPONSE_CODE_DETAILS%"}
    told |= {key: f"%DYNAMIC_METADATA({where})%" for key, where in _LEFT.items()}
    manager.local_reply_config.body_format.json_format.update(told)
    for key, where in _LEFT.items():
        header = manager.route_config.response_headers_to_add.add().header
        header.key, header.value = f"x-left-{key}", f"%DYNAMIC_METADATA({where})%"
    given = SetMetadata()
    for namespace, values in SET_METADATA.items():
        made = given.metadata.add(metadata_namespace=namespace)
        made.value.update(values)
    first = manager.http_filters[0]
    setting = type(first)(name="envoy.filters.http.set_metadata", typed_config=packed(given))
    kept = [setting, *manager.http_filters]
    del manager.http_filters[:]
    manager.http_filters.extend(kept)


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Callers:
    """Clients of all identities; connections of HTTP are kept until others are used."""

    ports: Mapping[str, int]
    contexts: Mapping[tuple[str, bool], ssl.SSLContext]
    stack: AsyncExitStack
    open: dict[tuple[str, ...], Connection] = field(default_factory=dict)

    async def decision(self, listener: str, call: Call) -> Decision:
        """What becomes of a call to a listener."""
        return await (self._request if call.http else self._bytes)(listener, call)

    async def _request(self, listener: str, call: Call) -> Decision:
        key = (listener, call.principal, call.sni, call.source_ip, call.address, str(call.port))
        if key not in self.open:
            connecting = self.connected(listener, call)
            self.open[key] = await self.stack.enter_async_context(connecting)
        reader, writer = self.open[key]
        writer.write(self._head(call))
        status, headers, body = await _answer(reader)
        if headers.get("connection") == "close":
            del self.open[key]
        if "x-upstream" in headers:
            left = {name: headers.get(f"x-left-{name}", "") for name in _LEFT}
            return Decision(True, "", status, _known(left))
        told = json.loads(body)
        rule = str(told["rule"]).removeprefix("rbac_access_denied_matched_policy")[1:-1]
        return Decision(False, rule, status, _known(told))

    def _head(self, call: Call) -> bytes:
        lines = [f"{call.method} {call.path} HTTP/1.1", f"host: {call.host}"]
        lines += [f"{name}: {value}" for name, value in call.headers]
        if call.claims is not None:
            lines.append(f"authorization: Bearer {token(json.dumps(call.claims))}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def _bytes(self, listener: str, call: Call) -> Decision:
        async with self.connected(listener, call) as (reader, writer):
            writer.write(b"?" * 32)
            try:
                async with asyncio.timeout(SECONDS):
                    return Decision(bool(await reader.read(1)))
            except ConnectionError:
                return Decision(False)

    @asynccontextmanager
    async def connected(
        self, listener: str, call: Call, *, captured: bool = True
    ) -> AsyncIterator[Connection]:
        """A connection of the caller; one that is not captured is dialled to the proxy itself."""
        async with asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self.ports[listener], local_addr=(call.source_ip, 0)
            )
        try:
            if captured:
                source = f"{call.source_ip} {call.address} 40000 {call.port}"
                writer.write(f"PROXY TCP4 {source}\r\n".encode())
            if call.principal:
                context = self.contexts[call.principal, call.http]
                async with asyncio.timeout(SECONDS):
                    await writer.start_tls(context, server_hostname=call.sni or None)
            yield reader, writer
        finally:
            writer.transport.abort()


def _known(told: Mapping[str, object]) -> dict[str, str]:
    """What filters left, without what they did not."""
    return {key: str(told[key]).lower() for key in _LEFT if told.get(key) not in {None, "", "-"}}


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *rest = head.rstrip().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(first.split(" ")[1]), headers, body


@asynccontextmanager
async def running(
    directory: Path,
    made: Mapping[str, Listener],
    identities: Iterable[str],
    gateways: Mapping[str, Listener] = MappingProxyType({}),
    application: int = 0,
) -> AsyncIterator[tuple[EnvoyServer, Callers]]:
    """An Envoy with these listeners, and callers of these identities.

    Requests are answered on a port of `application`, by default by an echo server, bytes by
    another. Envoy runs with what agents tell theirs (citadel-and-agent.md B5).
    """
    ca = Ca.root()
    write_secrets(directory, ca, ca.leaf(uris=[f"{SPIFFE}cluster.local/ns/{NAMESPACE}/sa/web"]))
    prepared = [told_destination(with_secret_files(each, directory)) for each in made.values()]
    async with AsyncExitStack() as stack:
        if not application:
            application = (await stack.enter_async_context(echo_server("web"))).port
        stream = await stack.enter_async_context(answering("web"))
        clusters = [cluster(names.inbound_cluster(each), application) for each in HTTP_PORTS]
        clusters += [
            cluster(names.outbound_cluster(each, "", HOST), application) for each in HTTP_PORTS
        ]
        clusters += [cluster(names.inbound_cluster(each), stream) for each in TCP_PORTS]
        clusters += [
            cluster(names.INBOUND_PASSTHROUGH, stream),
            black_hole(names.BLACK_HOLE),
        ]
        config = bootstrap([*prepared, *gateways.values()], clusters)
        config.layered_runtime.layers.add(name="agent").static_layer.update(RUNTIME)
        envoy = await stack.enter_async_context(envoy_server(config, directory))
        inner = await stack.enter_async_context(AsyncExitStack())
        contexts = {
            (identity, http): _client(ca, identity, directory, http=http)
            for identity in identities
            for http in (True, False)
        }
        yield envoy, Callers(envoy.ports, contexts, inner)
        assert complaints(envoy.log.read_text()) == []


def _client(ca: Ca, identity: str, directory: Path, *, http: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca.pem.decode())
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    context.check_hostname = False
    own = ca.leaf(uris=[SPIFFE + identity])
    file = directory / "client.pem"
    file.write_bytes(own.chain + own.key)
    context.load_cert_chain(file)
    file.unlink()
    context.set_alpn_protocols(_HTTP_ALPNS if http else _TCP_ALPNS)
    return context


def arrival(call: Call) -> Arrival:
    """A call as the command line explains it."""
    connection = traffic.Connection(
        address=call.address,
        port=call.port,
        source_address=call.source_ip,
        transport=traffic.TLS if call.principal else traffic.RAW,
        server_name=call.sni,
        alpns=tuple(_HTTP_ALPNS if call.http else _TCP_ALPNS) if call.principal else (),
        speaks=traffic.HTTP_1 if call.http else "",
        identities=(SPIFFE + call.principal,) if call.principal else (),
    )
    if not call.http:
        return Arrival(connection)
    request = traffic.Request(
        authority=call.host,
        path=call.path,
        method=call.method,
        headers=[(name.lower(), value) for name, value in call.headers],
        claims=call.claims,
    )
    caller = remote_address(HttpConnectionManager(), request, connection)
    return Arrival(connection, request, caller, call.metadata)
