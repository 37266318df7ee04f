"""Who gets through to whom: clients with good, bad and no certificates, modes, protocols.

Real Envoys, configured as Pilot configures sidecars: a client's, with a certificate of its own for
each kind of caller, and a server's in each mode (pilot.md E12, E13, J1).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.support.envoy_server import EnvoyServer
from tests.support.http_probe import Closed, dial, echo_server, fetch, serving
from tests.support.mesh_yaml import sidecar_proxy
from tests.support.pki import DAY, Ca, Pair
from tests.support.secret_files import write_secrets
from tests.support.sidecars import (
    ONLY_INBOUND,
    echo_bytes,
    echo_web_socket,
    grpc_server,
    sidecar,
)

MODES = ("DISABLE", "PERMISSIVE", "STRICT")
PROTOCOLS = {
    "http": (8080, "HTTP"),
    "websocket": (8081, "HTTP"),
    "grpc": (8082, "GRPC"),
    "tcp": (8083, "TCP"),
}
"""Service ports of the server and their protocols."""

ACCOUNT = "ns/default/sa/client"
MESH = """
{apiVersion: mesh.istio.io/v1alpha1, kind: MeshConfig,
 metadata: {name: default, namespace: istio-system}, spec: {trustDomainAliases: [old.example]}}
"""


class Outcome(Enum):
    """What becomes of a call."""

    REFUSED = "refused"
    PLAIN = "answered in plain text"
    MUTUAL = "answered over mutual TLS"


NO, PLAIN, MUTUAL = Outcome.REFUSED, Outcome.PLAIN, Outcome.MUTUAL

EXPECTED = {
    #                            DISABLE  PERMISSIVE  STRICT
    "plaintext":                (PLAIN,   PLAIN,      NO),
    "mesh":                     (NO,      MUTUAL,     MUTUAL),
    "alias":                    (NO,      MUTUAL,     MUTUAL),
    "wrong-domain":             (NO,      NO,         NO),
    "expired":                  (NO,      NO,         NO),
    "self-made-ca":             (NO,      NO,         NO),
}  # fmt: skip
"""For each kind of client and mode of the server, whatever the protocol."""


def identity(client: str) -> str:
    """The SPIFFE ID in a client's certificate."""
    domain = {"alias": "old.example", "wrong-domain": "elsewhere.example"}
    return f"spiffe://{domain.get(client, 'cluster.local')}/{ACCOUNT}"


def certificate(client: str, ca: Ca) -> Pair:
    """A client's certificate: all are of the mesh's CA but one, valid but one."""
    issuer = Ca.root("self-made") if client == "self-made-ca" else ca
    valid = (-2 * DAY, -DAY) if client == "expired" else (-timedelta(minutes=2), DAY)
    return issuer.leaf(uris=[identity(client)], valid=valid)


@dataclass(frozen=True)
class Cell:
    """A client's call of a server, and the service port it calls."""

    client: str
    mode: str
    protocol: str

    @property
    def name(self) -> str:
        return f"{self.client}-{self.mode}".lower()

    @property
    def host(self) -> str:
        return f"{self.name}.default.svc.cluster.local"

    @property
    def port(self) -> int:
        place = list(EXPECTED).index(self.client) * len(MODES) + MODES.index(self.mode)
        return PROTOCOLS[self.protocol][0] + 100 * place

    @property
    def expected(self) -> Outcome:
        return EXPECTED[self.client][MODES.index(self.mode)]


def cells(mode: str) -> list[Cell]:
    return [Cell(client, mode, protocol) for client in EXPECTED for protocol in PROTOCOLS]


def server_entry() -> str:
    """The server as its own sidecar knows it."""
    ports = "".join(
        f"  - {{number: {number}, name: {name}, protocol: {protocol}}}\n"
        for name, (number, protocol) in PROTOCOLS.items()
    )
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: web}}
spec:
  hosts: [web.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {{labels: {{app: web}}}}
  ports:
{ports}"""


def client_entry(client: str, server: EnvoyServer, mode: str) -> str:
    """A server as one kind of client knows it, and the rule that says whether it uses TLS."""
    own = [Cell(client, mode, protocol) for protocol in PROTOCOLS]
    first = own[0]
    ports = ", ".join(
        f"{{number: {each.port}, name: {each.protocol}, protocol: {PROTOCOLS[each.protocol][1]}}}"
        for each in own
    )
    bound = ", ".join(
        f"{each.protocol}: {server.ports[f'127.0.0.1_{PROTOCOLS[each.protocol][0]}']}"
        for each in own
    )
    tls = "DISABLE" if client == "plaintext" else "ISTIO_MUTUAL"
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {first.name}}}
spec:
  hosts: [{first.host}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{ports}]
  endpoints:
  - {{address: 127.0.0.1, serviceAccount: web, ports: {{{bound}}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {first.name}}}
spec: {{host: {first.host}, trafficPolicy: {{tls: {{mode: {tls}}}}}}}
"""


def policy(mode: str) -> str:
    return f"""
{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {{name: default}},
 spec: {{mtls: {{mode: {mode}}}}}}}
"""


@asynccontextmanager
async def applications() -> AsyncIterator[dict[str, int]]:
    """Ports of applications by protocol."""
    async with (
        echo_server("web") as web,
        serving(echo_web_socket) as web_socket,
        grpc_server() as rpc,
        serving(echo_bytes) as raw,
    ):
        yield {"http": web.port, "websocket": web_socket, "grpc": rpc, "tcp": raw}


@asynccontextmanager
async def server(
    directory: Path, ca: Ca, behind: Mapping[str, int], mode: str, domain: str = "cluster.local"
) -> AsyncIterator[EnvoyServer]:
    """A server's sidecar in a mode, with a certificate of a trust domain."""
    directory.mkdir()
    write_secrets(directory, ca, ca.leaf(uris=[f"spiffe://{domain}/ns/default/sa/web"]))
    proxy = sidecar_proxy(
        "default",
        ip="127.0.0.1",
        labels={"app": "web"},
        INTERCEPTION_MODE="NONE",
        APP_ENDPOINTS={
            str(number): f"127.0.0.1:{behind[name]}" for name, (number, _) in PROTOCOLS.items()
        },
    )
    texts = (MESH, server_entry(), policy(mode), ONLY_INBOUND)
    async with sidecar(directory, proxy, *texts) as envoy:
        yield envoy


@asynccontextmanager
async def caller(
    directory: Path, ca: Ca, servers: Mapping[str, EnvoyServer], clients: Sequence[str]
) -> AsyncIterator[EnvoyServer]:
    """The client's sidecar, which has a certificate of its own for each kind of client."""
    entries = [
        client_entry(client, envoy, mode) for mode, envoy in servers.items() for client in clients
    ]
    for client in clients:
        (directory / client).mkdir()
        write_secrets(directory / client, ca, certificate(client, ca))

    def secrets(cluster: str) -> Path:
        """By the name of the service, which begins with that of the client."""
        host = cluster.rpartition("|")[2]
        return directory / next((each for each in clients if host.startswith(each)), "mesh")

    (directory / "client").mkdir()
    proxy = sidecar_proxy("default", ip="127.0.0.2", INTERCEPTION_MODE="NONE")
    async with sidecar(directory / "client", proxy, MESH, *entries, secrets=secrets) as envoy:
        yield envoy


async def outcome(envoy: EnvoyServer, cell: Cell) -> Outcome:
    """What becomes of a call, as the caller sees it and the application was told of the caller."""
    port = envoy.ports[f"127.0.0.1_{cell.port}"]
    # Who takes a handshake for the first of his own bytes waits for more.
    seconds = 2 if cell.expected is NO else 20
    try:
        async with asyncio.timeout(seconds):
            caller = await CALLS[cell.protocol](port, cell)
    except (Closed, EOFError, OSError, TimeoutError, grpc.aio.AioRpcError):
        return NO
    if cell.protocol == "tcp":
        handshakes = f"cluster.outbound|{cell.port}||{cell.host};.ssl.handshake"
        return MUTUAL if await envoy.stat(handshakes) else PLAIN
    assert caller == "" or f"URI={identity(cell.client)}" in caller, cell
    return MUTUAL if caller else PLAIN


async def call_http(port: int, cell: Cell) -> str:
    reply = await fetch(port, cell.host, seconds=20)
    if reply.status != 200:
        raise Closed(str(reply.status))
    return reply.echo.header("x-forwarded-client-cert")


async def call_web_socket(port: int, cell: Cell) -> str:
    async with dial(port) as (reader, writer):
        head = f"GET / HTTP/1.1\r\nhost: {cell.host}\r\nconnection: upgrade\r\nupgrade: websocket"
        writer.write(f"{head}\r\n\r\n".encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        if " 101 " not in answer.partition("\r\n")[0]:
            raise Closed(answer)
        writer.write(b"frame")
        assert await reader.readexactly(10) == b"echo frame"
        return next(
            line.partition(": ")[2] for line in answer.split("\r\n") if line.startswith("x-caller:")
        )


async def call_grpc(port: int, cell: Cell) -> str:
    options = [("grpc.default_authority", f"{cell.host}:{cell.port}")]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        answer: bytes = await channel.unary_unary("/test.Hello/Say")(b"me", timeout=20)
        return answer.decode().removeprefix("hello me ")


async def call_tcp(port: int, cell: Cell) -> str:
    async with dial(port) as (reader, writer):
        writer.write(b"\0" * 32)
        assert await reader.readexactly(37) == b"echo " + b"\0" * 32
    return ""


CALLS = {"http": call_http, "websocket": call_web_socket, "grpc": call_grpc, "tcp": call_tcp}


async def test_every_client_in_every_mode_and_protocol(tmp_path: Path) -> None:
    ca = Ca.root()
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(applications())
        servers = {
            mode: await stack.enter_async_context(server(tmp_path / mode, ca, behind, mode))
            for mode in MODES
        }
        envoy = await stack.enter_async_context(caller(tmp_path, ca, servers, list(EXPECTED)))
        for mode in MODES:
            async with asyncio.TaskGroup() as tasks:
                calls = {each: tasks.create_task(outcome(envoy, each)) for each in cells(mode)}
            found = {each: call.result() for each, call in calls.items()}
            assert found == {each: each.expected for each in found}


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        pytest.param("cluster.local", MUTUAL, id="own"),
        pytest.param("old.example", MUTUAL, id="alias"),
        pytest.param("elsewhere.example", NO, id="wrong"),
    ],
)
async def test_servers_are_known_under_every_alias(
    domain: str, expected: Outcome, tmp_path: Path
) -> None:
    """Callers look for the account of the endpoint, in the trust domain or one of its aliases."""
    ca = Ca.root()
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(applications())
        strict = server(tmp_path / "server", ca, behind, "STRICT", domain)
        servers = {"STRICT": await stack.enter_async_context(strict)}
        envoy = await stack.enter_async_context(caller(tmp_path, ca, servers, ["mesh"]))
        found = [await outcome(envoy, Cell("mesh", "STRICT", each)) for each in ("http", "tcp")]
    assert found == [expected] * 2
