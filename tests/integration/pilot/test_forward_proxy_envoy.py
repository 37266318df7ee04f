"""Tunnels through a sidecar as forward proxy: HTTPS and TCP without capture (pilot.md E8).

Clients are told `https_proxy` and send CONNECT; what goes through is theirs from end to end.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.support.envoy_server import complaints, envoy_server
from tests.support.golden_view import resources_of, static
from tests.support.http_probe import EchoServer, dial, serving
from tests.support.mesh_yaml import sidecar_proxy, world
from tests.support.pki import Ca
from tests.support.tls_contexts import tls_client, tls_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTENER = "127.0.0.1_15080"
MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {outboundTrafficPolicy: {mode: POLICY}}}
"""


@dataclass
class Tunnels:
    """The port of the forward proxy, a client that trusts the servers, and one outside."""

    port: int
    ca: Ca
    outside: int

    async def get(self, host: str) -> str:
        """Which server answers HTTPS that is sent through the proxy."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"https://{host}/",
                proxy=f"http://127.0.0.1:{self.port}",
                ssl=tls_client(self.ca),
                timeout=aiohttp.ClientTimeout(total=10),
            ) as answer,
        ):
            return answer.headers["x-upstream"]

    async def connect(self, authority: str, head: str = "") -> tuple[str, str]:
        """Status of a CONNECT, and what the other end says to bytes that are sent then."""
        async with dial(self.port) as (reader, writer):
            head = head or f"HTTP/1.1\r\nhost: {authority}"
            writer.write(f"CONNECT {authority} {head}\r\n\r\n".encode())
            status = (await reader.readuntil(b"\r\n")).split()[1].decode()
            await reader.readuntil(b"\r\n\r\n")
            if status != "200":
                return status, ""
            writer.write(b"\0" * 32)
            return status, (await reader.read(100)).decode()


def service(name: str, protocol: str, number: int, port: int, more: str = "") -> str:
    """A service outside of the mesh whose only endpoint is a port of this machine."""
    return f"""
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry,
 metadata: {{name: {name}, namespace: default}},
 spec: {{hosts: [{name}.default.svc.cluster.local], location: MESH_EXTERNAL, resolution: STATIC,
        ports: [{{number: {number}, name: main, protocol: "{protocol}"}}],
        endpoints: [{{address: 127.0.0.1, ports: {{main: {port}}}}}]{more}}}}}
"""


ROUTED = """
{apiVersion: networking.istio.io/v1, kind: VirtualService,
 metadata: {name: routed, namespace: default},
 spec: {hosts: [routed], tls: [
   {match: [{sniHosts: [other.test]}], route: [{destination: {host: secure}}]},
   {match: [{sniHosts: [routed.default.svc.cluster.local]}],
    route: [{destination: {host: tcp}, weight: 0},
            {destination: {host: secure}, weight: 100}]}]}}
"""


@asynccontextmanager
async def tunnels(directory: Path, policy: str) -> AsyncIterator[Tunnels]:
    ca = Ca.root()
    names = ["secure", "secure.default.svc.cluster.local", "routed", "localhost"]
    own = tls_server(ca.leaf(dns=[*names, "any.localhost"]))
    async with AsyncExitStack() as stack:
        ports = [
            await stack.enter_async_context(serving(EchoServer(name).serve, own))
            for name in ("secure", "outside")
        ]

        async def answer(reader: object, writer: object) -> None:
            writer.write(b"echo " + await reader.read(100))  # type: ignore[attr-defined]
            writer.close()  # type: ignore[attr-defined]

        raw = await stack.enter_async_context(serving(answer))
        texts = (
            MESH.replace("POLICY", policy),
            service("secure", "HTTPS", 443, ports[0]),
            service("routed", "TLS", 8443, ports[1]),
            service("tcp", "TCP", 9000, raw),
            service("any", "", 7000, raw),
            ROUTED,
        )
        proxy = sidecar_proxy(
            "default", INTERCEPTION_MODE="NONE", HTTP_PROXY_PORT="15080", OUTBOUND_BIND="127.0.0.1"
        )
        config = static(resources_of(world(*texts).snapshot(1).view(proxy)))
        kept = [each for each in config.static_resources.listeners if each.name == LISTENER]
        del config.static_resources.listeners[:]
        for each in kept:
            each.address.socket_address.port_value = 0
        config.static_resources.listeners.extend(kept)
        envoy = await stack.enter_async_context(envoy_server(config, directory))
        yield Tunnels(envoy.ports[LISTENER], ca, ports[1])
        assert complaints(envoy.log.read_text()) == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_to_all(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Tunnels]:
    async with tunnels(tmp_path_factory.mktemp("envoy"), "ALLOW_ANY") as made:
        yield made


@pytest.mark.parametrize(
    ("host", "server"),
    [
        ("secure", "secure"),
        ("secure.default.svc.cluster.local:443", "secure"),
        ("routed:8443", "secure"),
    ],
)
async def test_https_goes_through(open_to_all: Tunnels, host: str, server: str) -> None:
    assert await open_to_all.get(host) == server


@pytest.mark.parametrize("authority", ["tcp:9000", "any.default:7000"])
async def test_bytes_of_any_protocol_go_through(open_to_all: Tunnels, authority: str) -> None:
    assert await open_to_all.connect(authority) == ("200", "echo " + "\0" * 32)


async def test_clients_may_speak_http_1_0(open_to_all: Tunnels) -> None:
    assert await open_to_all.connect("tcp:9000", "HTTP/1.0") == ("200", "echo " + "\0" * 32)


async def test_unknown_hosts_are_resolved_by_the_proxy(open_to_all: Tunnels) -> None:
    assert await open_to_all.get(f"any.localhost:{open_to_all.outside}") == "outside"


async def test_registry_only(tmp_path: Path) -> None:
    async with tunnels(tmp_path, "REGISTRY_ONLY") as closed:
        assert await closed.get("secure") == "secure"
        status, answer = await closed.connect(f"any.localhost:{closed.outside}")
        assert (status, answer) == ("404", "")
