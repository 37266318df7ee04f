"""What a Sidecar opens and hides, in a real Envoy without capture (D11, E15, checklist 20)."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.golden_view import resources_of, static
from tests.support.http_probe import EchoServer, echo_server, fetch
from tests.support.mesh_yaml import sidecar_proxy, world

MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {enableAutoMtls: false, outboundTrafficPolicy: {mode: REGISTRY_ONLY}}}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication,
 metadata: {name: default, namespace: istio-system}, spec: {mtls: {mode: DISABLE}}}
"""


@dataclass
class Site:
    """The Envoy, and where its Unix sockets are."""

    envoy: EnvoyServer
    sockets: Path

    async def on_port(self, number: int, host: str) -> tuple[int, str]:
        """Status and server of a request to a listener by the port it is configured with."""
        reply = await fetch(self.envoy.ports[f"127.0.0.1_{number}"], host)
        return reply.status, reply.header("x-upstream")

    async def on_socket(self, name: str, host: str) -> tuple[int, str]:
        """The same on a Unix socket."""
        connector = aiohttp.UnixConnector(str(self.sockets / name))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://{host}/") as answer,
        ):
            return answer.status, answer.headers.get("x-upstream", "")


def service(name: str, port: int) -> str:
    """A service with one endpoint, an echo server."""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: default}}
spec:
  hosts: [{name}.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 8000, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
"""


def sidecar(sockets: Path, app: int) -> str:
    """Own ports behind a Unix socket and a port; one service by port and one by Unix socket."""
    return f"""
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: default}}
spec:
  ingress:
  - port: {{number: 9080, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    defaultEndpoint: unix://{sockets}/app.sock
  - port: {{number: 9081, name: http-too, protocol: HTTP}}
    bind: 127.0.0.1
    defaultEndpoint: 127.0.0.1:{app}
  egress:
  - port: {{number: 8000, name: http, protocol: HTTP}}
    bind: 127.0.0.1
    hosts: [./one.default.svc.cluster.local]
  - port: {{number: 8000, name: socket, protocol: HTTP}}
    bind: unix://{sockets}/out.sock
    hosts: [./two.default.svc.cluster.local]
"""


@asynccontextmanager
async def on_unix_socket(path: Path, name: str) -> AsyncIterator[None]:
    server = await asyncio.start_unix_server(EchoServer(name).serve, path)
    async with server:
        yield


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        # Unix sockets have short names only.
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mast-t-")))
        await stack.enter_async_context(on_unix_socket(sockets / "app.sock", "app-socket"))
        names = ("one", "two", "app-port")
        ports: Mapping[str, int] = {
            name: (await stack.enter_async_context(echo_server(name))).port for name in names
        }
        seen = world(
            MESH,
            service("one", ports["one"]),
            service("two", ports["two"]),
            sidecar(sockets, ports["app-port"]),
        ).snapshot(1)
        proxy = sidecar_proxy("default", ip="127.0.0.1", INTERCEPTION_MODE="NONE")
        config = static(resources_of(seen.view(proxy)))
        for each in config.static_resources.listeners:
            if each.address.HasField("socket_address"):
                each.address.socket_address.port_value = 0
        envoy = await stack.enter_async_context(envoy_server(config, tmp_path))
        yield Site(envoy, sockets)
        assert complaints(envoy.log.read_text()) == []


async def test_ingress_leads_to_the_application(site: Site) -> None:
    assert await site.on_port(9080, "me") == (200, "app-socket")
    assert await site.on_port(9081, "me") == (200, "app-port")


async def test_each_listener_serves_its_hosts_only(site: Site) -> None:
    assert await site.on_port(8000, "one") == (200, "one")
    assert await site.on_port(8000, "two") == (502, "")
    assert await site.on_socket("out.sock", "two.default.svc.cluster.local:8000") == (200, "two")
    assert await site.on_socket("out.sock", "two") == (200, "two")
    assert await site.on_socket("out.sock", "one.default.svc.cluster.local:8000") == (502, "")
