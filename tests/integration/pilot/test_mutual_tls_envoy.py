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

from tests.support.envoy_server import EnvoyServer
from tests.support.http_probe import dial, echo_server, fetch, serving
from tests.support.mesh_yaml import sidecar_proxy
from tests.support.pki import Ca
from tests.support.secret_files import write_secrets
from tests.support.sidecars import ONLY_INBOUND, echo_bytes, grpc_server, sidecar

PORTS = {
    "http": 8080,
    "http2": 8082,
    "auto-http": 7000,
    "grpc": 8081,
    "auto-grpc": 7001,
    "tcp": 9000,
    "auto-tcp": 7002,
}
"""Service ports by name; those called `auto-` have no declared protocol."""


@dataclass(frozen=True)
class Client:
    """How a client calls: by its own name for the server, with the TLS mode of its rule.

    It reaches the server by service ports that are so much higher.
    """

    name: str
    mode: str
    higher: int = 0

    @property
    def host(self) -> str:
        """The name it has for the server."""
        return f"{self.name}.default.svc.cluster.local"

    def port(self, name: str) -> int:
        """A service port by its name."""
        return PORTS[name] + self.higher

    def service(self) -> str:
        """The server as it knows it, without endpoints; and the rule."""
        ports = "".join(
            f"  - {{number: {self.port(name)}, name: {name}, protocol: {_protocol(name)}}}\n"
            for name in PORTS
        )
        return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {self.name}}}
spec:
  hosts: [{self.host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
{ports}"""

    def rule(self) -> str:
        """The DestinationRule, if there is one."""
        if not self.mode:
            return ""
        return f"""
{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: {self.name}}},
 spec: {{host: {self.host}, trafficPolicy: {{tls: {{mode: {self.mode}}}}}}}}}
"""


def _protocol(name: str) -> str:
    return '""' if name.startswith("auto-") else name.upper()


AUTO, NONE, MUTUAL = CLIENTS = (
    Client("web", ""),
    Client("plain", "DISABLE", 10000),
    Client("mutual", "ISTIO_MUTUAL", 20000),
)

POLICY = """
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default},
 spec: {mtls: {mode: MODE}}}
"""


@dataclass
class Pairing:
    """The client's Envoy, in front of the server's."""

    client: EnvoyServer
    server: EnvoyServer

    def port(self, client: Client, name: str) -> int:
        """Where the client's application reaches a service port."""
        return self.client.ports[f"127.0.0.1_{client.port(name)}"]

    async def encrypted(self, client: Client, name: str) -> bool:
        """Whether the client did handshakes of mutual TLS for a service port."""
        cluster = f"outbound|{client.port(name)}||{client.host}"
        return await self.client.stat(f"cluster.{cluster};.ssl.handshake") > 0

    async def answers(self, client: Client, name: str, seconds: float) -> bool:
        """Whether the application answers in time; mutual TLS names the caller."""
        port = self.port(client, name)
        if "http" in name.split("-"):
            try:
                reply = await fetch(port, client.name, seconds=seconds)
            except TimeoutError:
                return False
            if reply.status != 200:
                return False
            caller = reply.echo.header("x-forwarded-client-cert")
        elif "tcp" in name.split("-"):
            return await _echoes(port, seconds)
        else:
            options = [("grpc.default_authority", f"{client.name}:{client.port(name)}")]
            address = f"127.0.0.1:{port}"
            async with grpc.aio.insecure_channel(address, options=options) as channel:
                try:
                    answer: bytes = await channel.unary_unary("/test.Hello/Say")(
                        b"", timeout=seconds
                    )
                except grpc.aio.AioRpcError:
                    return False
            caller = answer.decode()
        assert (CALLER in caller) == await self.encrypted(client, name), name
        return True


async def _echoes(port: int, seconds: float) -> bool:
    try:
        async with dial(port) as (reader, writer), asyncio.timeout(seconds):
            writer.write(b"\0" * 32)
            return await reader.readexactly(37) == b"echo " + b"\0" * 32
    except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
        return False


def endpoints(ports: Mapping[str, int]) -> str:
    """What each client has for the server: the server's Envoy as only endpoint, with a sidecar."""
    listed = ", ".join(f"{name}: {port}" for name, port in ports.items())
    endpoint = f"""
  endpoints:
  - address: 127.0.0.1
    serviceAccount: web
    labels: {{security.istio.io/tlsMode: istio}}
    ports: {{{listed}}}
"""
    known = (text for each in CLIENTS for text in (each.service() + endpoint, each.rule()))
    return "\n---\n".join(known)


def certified(directory: Path, ca: Ca, account: str) -> Path:
    """A directory with the certificate of a service account in it."""
    directory.mkdir()
    own = ca.leaf(uris=[f"spiffe://cluster.local/ns/default/sa/{account}"])
    write_secrets(directory, ca, own)
    return directory


@asynccontextmanager
async def pairing(directory: Path, mode: str) -> AsyncIterator[Pairing]:
    ca = Ca.root()
    policy = POLICY.replace("MODE", mode)
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(echo_server("web"))
        rpc = await stack.enter_async_context(grpc_server())
        raw = await stack.enter_async_context(serving(echo_bytes))
        behind = {"http": web.port, "http2": rpc, "grpc": rpc, "tcp": raw}
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
        selected = f"{AUTO.service()}  workloadSelector: {{labels: {{app: web}}}}\n"
        server = await stack.enter_async_context(
            sidecar(
                certified(directory / "server", ca, "web"),
                server_proxy,
                selected,
                policy,
                ONLY_INBOUND,
                ACCESS_LOG.replace("PATH", str(directory / "access.log")),
            )
        )
        where = {name: server.ports[f"127.0.0.1_{number}"] for name, number in PORTS.items()}
        client = await stack.enter_async_context(
            sidecar(
                certified(directory / "client", ca, "client"),
                sidecar_proxy("default", ip="127.0.0.2", INTERCEPTION_MODE="NONE"),
                endpoints(where),
                policy,
            )
        )
        yield Pairing(client, server)


CALLER = "URI=spiffe://cluster.local/ns/default/sa/client"


ACCESS_LOG = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system},
 spec: {accessLogFile: PATH, accessLogFormat: "%UPSTREAM_CLUSTER_RAW% %RESPONSE_CODE%\\n"}}
"""


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE", "DISABLE"])
async def test_clients_and_servers(mode: str, tmp_path: Path) -> None:
    """Who agrees on mutual TLS, or on plain text, and who does not, for every protocol."""
    encrypted = {AUTO: mode != "DISABLE", NONE: False, MUTUAL: True}
    agreed = {AUTO: True, NONE: mode != "STRICT", MUTUAL: mode != "DISABLE"}
    async with pairing(tmp_path, mode) as pair:
        for client in CLIENTS:
            for name in PORTS:
                where = f"{client.name} {name}"
                # Who takes a handshake for the first of his own bytes waits for more.
                seconds = 10 if agreed[client] else 2
                assert await pair.answers(client, name, seconds) == agreed[client], where
                if agreed[client]:
                    assert await pair.encrypted(client, name) == encrypted[client], where
    # Envoy writes the rest of its log when it ends. The code tells who spoke HTTP (checklist 18).
    log = (tmp_path / "access.log").read_text().splitlines()
    for name, number in PORTS.items():
        code = "0" if "tcp" in name else "200"
        assert f"inbound|{number}|| {code}" in log, name
