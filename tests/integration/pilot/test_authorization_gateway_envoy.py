"""AuthorizationPolicies of gateways: requests, TLS that is passed on, bytes (pilot.md J4, J5, E10).

A real router gets its configuration by ADS, policies come and go while it runs.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.ads_server import until
from tests.support.envoy_server import complaints
from tests.support.etcd_server import free_port
from tests.support.gateway_envoy import LABELS, Router, router
from tests.support.http_probe import dial, echo_server, fetch, serving
from tests.support.outbound_envoy import answering
from tests.support.pki import Ca
from tests.support.tls_contexts import tls_client, tls_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

CA = Ca.root()
MESH = """
{{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {{name: default, namespace: istio-system}}, spec: {{enableAutoMtls: false}}}}
---
{{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {{name: gate, namespace: edge}},
 spec: {{selector: {{istio: ingressgateway}}, servers: [
   {{port: {{number: {http}, name: http, protocol: HTTP}}, hosts: ["*"]}},
   {{port: {{number: {tls}, name: tls, protocol: TLS}}, hosts: ["*.test"],
     tls: {{mode: PASSTHROUGH}}}},
   {{port: {{number: {tcp}, name: tcp, protocol: TCP}}, hosts: ["*"]}}]}}}}
---
{{apiVersion: networking.istio.io/v1, kind: VirtualService,
 metadata: {{name: all, namespace: edge}},
 spec: {{hosts: ["*.test"], gateways: [gate],
   http: [{{route: [{{destination: {{host: behind.test, port: {{number: 80}}}}}}]}}],
   tls: [{{match: [{{sniHosts: ["*.test"]}}],
           route: [{{destination: {{host: behind.test, port: {{number: 443}}}}}}]}}],
   tcp: [{{route: [{{destination: {{host: behind.test, port: {{number: 81}}}}}}]}}]}}}}
---
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry,
 metadata: {{name: behind, namespace: edge}},
 spec: {{hosts: [behind.test], location: MESH_INTERNAL, resolution: STATIC,
   ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 81, name: tcp, protocol: TCP}},
           {{number: 443, name: tls, protocol: TLS}}],
   endpoints: [{{address: 127.0.0.1, ports: {{http: {web}, tcp: {stream}, tls: {secure}}}}}]}}}}
"""
SELECTS = "selector: {matchLabels: {istio: ingressgateway}}"


def denial(name: str, rule: str, how: str = SELECTS, namespace: str = "edge") -> str:
    """A policy that denies what a rule matches."""
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{{how}, action: DENY, rules: [{rule}]}}\n"
    )


def target(name: str) -> str:
    return f"targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: {name}}}]"


def policies(http: int) -> Iterator[str]:
    def asked(path: str) -> str:
        return f"{{to: [{{operation: {{paths: [{path}], ports: ['{http}']}}}}]}}"

    yield denial("paths", asked("/admin"))
    yield denial("target", asked("/target"), target("web"))
    yield denial("other-target", asked("/other"), target("other"))
    yield denial("elsewhere", "{}", namespace="elsewhere")
    yield denial("root", asked("/root"), namespace="istio-system")
    yield denial("clients", "{from: [{source: {remoteIpBlocks: [203.0.113.0/24]}}]}")
    yield denial("names", "{when: [{key: connection.sni, values: [b.test]}]}")


@dataclass
class Gate:
    """The router, and where its servers are."""

    router: Router
    http: int
    tls: int
    tcp: int

    async def answers(self, port: int, server_name: str = "") -> bool:
        """Whether a server of bytes answers, or one of TLS."""
        tls = tls_client(CA) if server_name else None
        try:
            async with dial(port, tls=tls, server_name=server_name) as (reader, writer):
                writer.write(b"?")
                return bool(await reader.read(1))
        except (ConnectionError, ssl.SSLError):
            return False


async def _say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if await reader.read(1):
        writer.write(b"!")
        await writer.drain()
    writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gate(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gate]:
    directory: Path = tmp_path_factory.mktemp("gate")
    ports = {each: free_port() for each in ("http", "tls", "tcp")}
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(echo_server("web"))
        stream = await stack.enter_async_context(answering("stream"))
        own = tls_server(CA.leaf(dns=["a.test", "b.test"]))
        secure = await stack.enter_async_context(serving(_say, own))
        mesh = MESH.format(**ports, web=web.port, stream=stream, secure=secure)
        found = await stack.enter_async_context(
            router(
                directory,
                mesh,
                *policies(ports["http"]),
                LABELS={**LABELS, "gateway.networking.k8s.io/gateway-name": "web"},
                PROXY_CONFIG={"gatewayTopology": {"numTrustedProxies": 1}},
            )
        )
        yield Gate(found, **ports)
        assert complaints(found.envoy.log.read_text()) == []


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        pytest.param("/", {}, 200, id="allowed"),
        pytest.param("/admin", {}, 403, id="denied"),
        pytest.param("/x/../admin", {}, 403, id="after-normalization"),
        pytest.param("/%61dmin", {}, 403, id="after-decoding"),
        pytest.param("/target", {}, 403, id="target"),
        pytest.param("/other", {}, 200, id="another-target"),
        pytest.param("/root", {}, 403, id="root-namespace"),
        pytest.param("/", {"x-forwarded-for": "203.0.113.5"}, 403, id="remote-address"),
        pytest.param("/", {"x-forwarded-for": "203.0.113.5, 198.51.100.7"}, 200, id="as-trusted"),
    ],
)
async def test_requests(gate: Gate, path: str, headers: dict[str, str], status: int) -> None:
    reply = await fetch(gate.http, "a.test", path, headers=headers)
    assert reply.status == status


@pytest.mark.parametrize(
    ("server_name", "passes"),
    [pytest.param("a.test", True, id="allowed"), pytest.param("b.test", False, id="denied")],
)
async def test_tls_that_is_passed_on(gate: Gate, server_name: str, passes: bool) -> None:
    assert await gate.answers(gate.tls, server_name) is passes


async def test_policies_come_and_go(gate: Gate) -> None:
    closing = denial("bytes", f"{{to: [{{operation: {{ports: ['{gate.tcp}']}}}}]}}")
    assert await gate.answers(gate.tcp)
    await gate.router.apply(closing)
    await until(lambda: _refused(gate))
    assert (await fetch(gate.http, "a.test")).status == 200
    await gate.router.remove(closing)
    await until(lambda: gate.answers(gate.tcp))


async def _refused(gate: Gate) -> bool:
    return not await gate.answers(gate.tcp)
