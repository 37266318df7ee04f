"""Two sidecars in real Envoys: mutual TLS and ALPN between them (pilot.md E11, checklist 17, 18).

Both run without capture: the client's Envoy listens for its application, the server's for callers.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
import pytest

from mast.pilot.core.model.proxy import Proxy
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.golden_view import resources_of, static
from tests.support.http_probe import dial, echo_server, fetch, serving
from tests.support.mesh_yaml import sidecar_proxy, world
from tests.support.pki import Ca, Pair
from tests.support.secret_files import (
    cluster_with_secret_files,
    with_secret_files,
    write_secrets,
)

PORTS = {
    "http": 8080,
    "auto-http": 7000,
    "grpc": 8081,
    "auto-grpc": 7001,
    "tcp": 9000,
    "auto-tcp": 7002,
}
"""Service ports by name; those called `auto-` have no declared protocol."""

SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [web.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {number: 8080, name: http, protocol: HTTP}
  - {number: 7000, name: auto-http, protocol: ""}
  - {number: 8081, name: grpc, protocol: GRPC}
  - {number: 7001, name: auto-grpc, protocol: ""}
  - {number: 9000, name: tcp, protocol: TCP}
  - {number: 7002, name: auto-tcp, protocol: ""}
"""

POLICY = """
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default},
 spec: {mtls: {mode: MODE}}}
"""


@dataclass
class Pairing:
    """The client's Envoy, in front of the server's."""

    client: EnvoyServer
    server: EnvoyServer

    def port(self, name: str) -> int:
        """Where the client's application reaches a service port."""
        return self.client.ports[f"127.0.0.1_{PORTS[name]}"]

    async def encrypted(self, name: str) -> int:
        """Handshakes of mutual TLS that the client made for a service port."""
        cluster = f"outbound|{PORTS[name]}||web.default.svc.cluster.local"
        return await self.client.stat(f"cluster.{cluster};.ssl.handshake")


async def echo_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1000):
        writer.write(b"echo " + data)
    writer.close()


@asynccontextmanager
async def grpc_server() -> AsyncIterator[int]:
    async def hello(request: bytes, context: object) -> bytes:
        metadata = dict(context.invocation_metadata())  # type: ignore[attr-defined]
        return b"hello " + request + b" " + metadata.get("x-forwarded-client-cert", "").encode()

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        "test.Hello", {"Say": grpc.unary_unary_rpc_method_handler(hello)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def sidecar(
    directory: Path, proxy: Proxy, ca: Ca, own: Pair, *texts: str
) -> AsyncIterator[EnvoyServer]:
    """An Envoy with all that a proxy gets, every listener on a port of its own choice."""
    directory.mkdir()
    write_secrets(directory, ca, own)
    config = static(resources_of(world(*texts).snapshot(1).view(proxy)))
    for each in config.static_resources.listeners:
        each.CopyFrom(with_secret_files(each, directory))
        each.address.socket_address.port_value = 0
    for each in config.static_resources.clusters:
        each.CopyFrom(cluster_with_secret_files(each, directory))
    async with envoy_server(config, directory) as envoy:
        yield envoy
        assert complaints(envoy.log.read_text()) == []


def endpoints(ports: Mapping[str, int], mode: str) -> str:
    """The service with the server's Envoy as its only endpoint."""
    listed = ", ".join(f"{name}: {port}" for name, port in ports.items())
    return f"""{SERVICE}
  endpoints:
  - address: 127.0.0.1
    serviceAccount: web
    labels: {{security.istio.io/tlsMode: {"disabled" if mode == "DISABLE" else "istio"}}}
    ports: {{{listed}}}
"""


@asynccontextmanager
async def pairing(directory: Path, mode: str) -> AsyncIterator[Pairing]:
    ca = Ca.root()
    policy = POLICY.replace("MODE", mode)
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(echo_server("web"))
        rpc = await stack.enter_async_context(grpc_server())
        raw = await stack.enter_async_context(serving(echo_bytes))
        behind = {"http": web.port, "grpc": rpc, "tcp": raw}
        server_proxy = sidecar_proxy(
            "default",
            ip="127.0.0.1",
            labels={"app": "web"},
            INTERCEPTION_MODE="NONE",
            APP_ENDPOINTS={
                str(number): f"127.0.0.1:{behind[name.removeprefix('auto-')]}"
                for name, number in PORTS.items()
            },
        )
        selected = f"{SERVICE}  workloadSelector: {{labels: {{app: web}}}}\n"
        server = await stack.enter_async_context(
            sidecar(
                directory / "server",
                server_proxy,
                ca,
                ca.leaf(uris=["spiffe://cluster.local/ns/default/sa/web"]),
                selected,
                policy,
                ONLY_INBOUND,
            )
        )
        where = {name: server.ports[f"127.0.0.1_{number}"] for name, number in PORTS.items()}
        client = await stack.enter_async_context(
            sidecar(
                directory / "client",
                sidecar_proxy("default", ip="127.0.0.2", INTERCEPTION_MODE="NONE"),
                ca,
                ca.leaf(uris=["spiffe://cluster.local/ns/default/sa/client"]),
                endpoints(where, mode),
                policy,
            )
        )
        yield Pairing(client, server)


ONLY_INBOUND = """
{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default},
 spec: {egress: [{hosts: ["~/*"]}]}}
"""

CALLER = "URI=spiffe://cluster.local/ns/default/sa/client"


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE", "DISABLE"])
async def test_every_protocol_reaches_the_application(mode: str, tmp_path: Path) -> None:
    async with pairing(tmp_path, mode) as pair:
        for name in ("http", "auto-http"):
            reply = await fetch(pair.port(name), "web")
            assert (name, reply.status) == (name, 200)
            identified = CALLER in reply.echo.header("x-forwarded-client-cert")
            assert identified == (mode != "DISABLE"), name
        for name in ("grpc", "auto-grpc"):
            options = [("grpc.default_authority", f"web:{PORTS[name]}")]
            async with grpc.aio.insecure_channel(
                f"127.0.0.1:{pair.port(name)}", options=options
            ) as channel:
                answer: bytes = await channel.unary_unary("/test.Hello/Say")(b"you", timeout=10)
            assert answer.startswith(b"hello you"), name
            assert (CALLER.encode() in answer) == (mode != "DISABLE"), name
        for name in ("tcp", "auto-tcp"):
            async with dial(pair.port(name)) as (reader, writer):
                writer.write(b"\0" * 32)
                async with asyncio.timeout(5):
                    assert await reader.readexactly(37) == b"echo " + b"\0" * 32, name
        for name in PORTS:
            assert (await pair.encrypted(name) > 0) == (mode != "DISABLE"), name
