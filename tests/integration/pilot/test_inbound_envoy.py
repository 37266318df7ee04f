"""Inbound listeners in a real Envoy: the tables of pilot.md E12, port by port and mode by mode."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from mast.pilot.core import names
from mast.pilot.core.listeners import listeners
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.audience import own_targets
from tests.support.envoy_server import EnvoyServer, complaints, envoy_server
from tests.support.envoy_static import black_hole, bootstrap, cluster, told_destination
from tests.support.http_probe import Closed, dial, echo_server, fetch, serving
from tests.support.mesh_yaml import scope, sidecar_proxy
from tests.support.pki import Ca, Pair, pem
from tests.support.secret_files import with_secret_files, write_secrets

HTTP, TCP, AUTO, UNKNOWN = 8080, 9000, 7000, 6000
NOBODY = ""

MESH = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web},
 spec: {hosts: [web.default.svc.cluster.local], addresses: [10.9.0.1], resolution: STATIC,
        location: MESH_INTERNAL, workloadSelector: {labels: {app: web}},
        ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080},
                {number: 9000, name: tcp, protocol: TCP},
                {number: 7000, name: any}]}}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default},
 spec: {mtls: {mode: MODE}}}
"""


def sidecar() -> Proxy:
    return sidecar_proxy("default", labels={"app": "web"})


class Client:
    """One kind of client: what it offers in TLS and what it then says."""

    def __init__(self, name: str, alpn: Sequence[str] | None, *, http: bool) -> None:
        self.name = name
        self.alpn = alpn
        self.http = http

    def tls(self, ca: Ca, own: Pair, directory: Path) -> ssl.SSLContext | None:
        if self.alpn is None:
            return None
        context = ssl.create_default_context()
        context.check_hostname = False
        context.load_verify_locations(cadata=pem(ca.certificate).decode())
        (directory / "client.pem").write_bytes(own.chain + own.key)
        context.load_cert_chain(directory / "client.pem")
        context.set_alpn_protocols(list(self.alpn))
        return context


PLAIN_HTTP = Client("plain HTTP", None, http=True)
PLAIN_TCP = Client("plain TCP", None, http=False)
MESH_HTTP = Client("mesh HTTP", ["istio-http/1.1", "istio", "http/1.1"], http=True)
MESH_TCP = Client("mesh TCP", ["istio-peer-exchange", "istio"], http=False)
FOREIGN_TLS = Client("foreign TLS", ["http/1.1"], http=True)

ROWS = [
    ("STRICT", HTTP, PLAIN_HTTP, NOBODY),
    ("STRICT", HTTP, MESH_HTTP, "http"),
    ("STRICT", HTTP, FOREIGN_TLS, "http"),
    ("STRICT", AUTO, PLAIN_HTTP, NOBODY),
    ("STRICT", AUTO, PLAIN_TCP, NOBODY),
    ("STRICT", AUTO, MESH_HTTP, "http"),
    ("STRICT", AUTO, MESH_TCP, "tcp"),
    ("STRICT", TCP, PLAIN_TCP, NOBODY),
    ("STRICT", TCP, MESH_TCP, "tcp"),
    ("PERMISSIVE", HTTP, PLAIN_HTTP, "http"),
    ("PERMISSIVE", HTTP, MESH_HTTP, "http"),
    ("PERMISSIVE", HTTP, FOREIGN_TLS, NOBODY),
    ("PERMISSIVE", AUTO, PLAIN_HTTP, "http"),
    ("PERMISSIVE", AUTO, PLAIN_TCP, "tcp"),
    ("PERMISSIVE", AUTO, MESH_HTTP, "http"),
    ("PERMISSIVE", AUTO, MESH_TCP, "tcp"),
    ("PERMISSIVE", AUTO, FOREIGN_TLS, "unterminated"),
    ("PERMISSIVE", TCP, PLAIN_TCP, "tcp"),
    ("PERMISSIVE", TCP, PLAIN_HTTP, "tcp"),
    ("PERMISSIVE", TCP, MESH_TCP, "tcp"),
    ("PERMISSIVE", TCP, FOREIGN_TLS, "unterminated"),
    ("DISABLE", HTTP, PLAIN_HTTP, "http"),
    ("DISABLE", HTTP, MESH_HTTP, NOBODY),
    ("DISABLE", AUTO, PLAIN_HTTP, "http"),
    ("DISABLE", AUTO, PLAIN_TCP, "tcp"),
    ("DISABLE", AUTO, FOREIGN_TLS, "unterminated"),
    ("DISABLE", TCP, PLAIN_TCP, "tcp"),
    ("DISABLE", TCP, FOREIGN_TLS, "unterminated"),
    ("STRICT", UNKNOWN, PLAIN_HTTP, NOBODY),
    ("STRICT", UNKNOWN, MESH_HTTP, "http"),
    ("PERMISSIVE", UNKNOWN, PLAIN_HTTP, "http"),
    ("PERMISSIVE", UNKNOWN, PLAIN_TCP, "tcp"),
    ("PERMISSIVE", UNKNOWN, MESH_TCP, "tcp"),
    ("DISABLE", UNKNOWN, PLAIN_TCP, "tcp"),
]
"""Mode, port, client, and which kind of chain it meets; NOBODY means the connection is closed."""


@asynccontextmanager
async def application() -> AsyncIterator[int]:
    """A server that names what reaches it: TLS that nobody has ended, HTTP or other bytes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(1)
        if first == b"\x16":
            said = "unterminated"
        else:
            rest = await reader.read(4000)
            proxied = b"x-request-id" in rest
            said = "http" if proxied else "tcp"
        body = said.encode()
        head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        await writer.drain()
        writer.close()

    async with serving(answer) as port:
        yield port


@asynccontextmanager
async def running(directory: Path, ca: Ca, own: Pair, *texts: str) -> AsyncIterator[EnvoyServer]:
    """An Envoy with the inbound half of a sidecar; `virtualInbound` is told destinations."""
    proxy = sidecar()
    seen = scope(proxy, *texts)
    made = listeners.inbound(seen, proxy, own_targets(proxy, seen, None))
    write_secrets(directory, ca, own)
    prepared = [told_destination(with_secret_files(each, directory)) for each in made]
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(application())
        clusters = [
            *(cluster(names.inbound_cluster(each), port) for each in (HTTP, TCP, AUTO)),
            cluster(names.INBOUND_PASSTHROUGH, port),
            black_hole(names.BLACK_HOLE),
        ]
        envoy = await stack.enter_async_context(
            envoy_server(bootstrap(prepared, clusters), directory)
        )
        yield envoy
        assert complaints(envoy.log.read_text()) == []


async def outcome(envoy: EnvoyServer, client: Client, port: int, tls: ssl.SSLContext | None) -> str:
    """Which kind of chain a client meets on a port."""
    where = envoy.ports[names.VIRTUAL_INBOUND]
    destination = f"10.1.0.7:{port}"
    try:
        if client.http:
            reply = await fetch(where, "web", captured_for=destination, tls=tls)
            return reply.body.decode()
        async with dial(where, captured_for=destination, tls=tls) as (reader, writer):
            writer.write(b"\0" * 32)
            async with asyncio.timeout(30):
                said = await reader.read(4000)
            return said.decode().rpartition("\r\n")[2]
    except (Closed, ConnectionError, ssl.SSLError):
        return NOBODY


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE", "DISABLE"])
async def test_chains(mode: str, tmp_path: Path) -> None:
    ca = Ca.root()
    own = ca.leaf(uris=["spiffe://cluster.local/ns/default/sa/web"])
    async with running(tmp_path, ca, own, MESH.replace("MODE", mode)) as envoy:
        expected, found = {}, {}
        for row_mode, port, client, chain in ROWS:
            if row_mode == mode:
                tls = client.tls(ca, own, tmp_path)
                expected[port, client.name] = chain
                found[port, client.name] = await terminated(envoy, client, port, tls, chain)
        assert found == expected


async def terminated(
    envoy: EnvoyServer, client: Client, port: int, tls: ssl.SSLContext | None, chain: str
) -> str:
    """As `outcome`; TLS that reaches the application fails in its hands, which tells as well."""
    if chain != "unterminated":
        return await outcome(envoy, client, port, tls)
    before = await envoy.stat(f"tcp.inbound|{port}||.downstream_cx_total")
    assert await outcome(envoy, client, port, tls) == NOBODY
    after = await envoy.stat(f"tcp.inbound|{port}||.downstream_cx_total")
    return "unterminated" if after == before + 1 else NOBODY


async def test_callers_of_another_mesh_are_refused(tmp_path: Path) -> None:
    """Server TLS accepts identities of the trust domain only (pilot.md E13)."""
    ca = Ca.root()
    own = ca.leaf(uris=["spiffe://cluster.local/ns/default/sa/web"])
    stranger = ca.leaf(uris=["spiffe://elsewhere/ns/default/sa/web"])
    async with running(tmp_path, ca, own, MESH.replace("MODE", "STRICT")) as envoy:
        assert await outcome(envoy, MESH_HTTP, HTTP, MESH_HTTP.tls(ca, own, tmp_path)) == "http"
        assert await outcome(envoy, MESH_HTTP, HTTP, MESH_HTTP.tls(ca, stranger, tmp_path)) == ""


async def test_the_application_learns_who_calls(tmp_path: Path) -> None:
    """Inbound requests carry the peer's identity (pilot.md E9), and no route limits them (E14)."""
    ca = Ca.root()
    own = ca.leaf(uris=["spiffe://cluster.local/ns/default/sa/web"])
    proxy = sidecar()
    seen = scope(proxy, MESH.replace("MODE", "STRICT"))
    made = listeners.inbound(seen, proxy, own_targets(proxy, seen, None))
    write_secrets(tmp_path, ca, own)
    prepared = [told_destination(with_secret_files(each, tmp_path)) for each in made]
    async with echo_server("web") as server:
        every = [names.inbound_cluster(each) for each in (HTTP, TCP, AUTO)]
        clusters = [cluster(name, server.port) for name in (*every, names.INBOUND_PASSTHROUGH)]
        clusters.append(black_hole(names.BLACK_HOLE))
        async with envoy_server(bootstrap(prepared, clusters), tmp_path) as envoy:
            reply = await fetch(
                envoy.ports[names.VIRTUAL_INBOUND],
                "web",
                captured_for=f"10.1.0.7:{HTTP}",
                tls=MESH_HTTP.tls(ca, own, tmp_path),
            )
    assert reply.header("server") == "istio-envoy"
    assert "URI=spiffe://cluster.local/ns/default/sa/web" in reply.echo.header(
        "x-forwarded-client-cert"
    )
