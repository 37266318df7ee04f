"""Whom a sidecar trusts when it starts TLS for its application (pilot.md G5)."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext

from istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings
from mast.pilot.core.packing import packed
from mast.pilot.core.security.transport_sockets import client
from tests.support.envoy_server import envoy_server
from tests.support.envoy_static import answering_listener, bootstrap, cluster
from tests.support.pki import Ca, Pair

KNOWN, UNKNOWN = Ca.root("known"), Ca.root("unknown")


@pytest.mark.parametrize(
    ("authority", "settings", "status"),
    [
        pytest.param(KNOWN, "", 200, id="roots-of-the-machine"),
        pytest.param(UNKNOWN, "", 503, id="unknown-roots"),
        pytest.param(KNOWN, "a.test", 200, id="name"),
        pytest.param(KNOWN, "b.test", 503, id="another-name"),
        pytest.param(UNKNOWN, "a.test", 503, id="unknown-roots-with-the-name"),
    ],
)
async def test_without_own_roots_those_of_the_machine_count(
    authority: Ca, settings: str, status: int, tmp_path: Path
) -> None:
    names = [settings] if settings else []
    tls = ClientTLSSettings(mode=ClientTLSSettings.SIMPLE, sni="a.test", subject_alt_names=names)
    async with tls_server(authority.leaf(dns=["a.test"]), tmp_path) as port:
        config = originating(tls, port, {"file-root:system": KNOWN})
        async with (
            envoy_server(config, tmp_path) as envoy,
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{envoy.ports['test']}/") as answer,
        ):
            assert answer.status == status


def originating(tls: ClientTLSSettings, port: int, files: dict[str, Ca]) -> Bootstrap:
    """A proxy to a TLS server; the secrets are there instead of coming from an agent."""
    target = cluster("server", port)
    context = UpstreamTlsContext()
    target.transport_socket.CopyFrom(client(tls))
    target.transport_socket.typed_config.Unpack(context)
    combined = context.common_tls_context.combined_validation_context
    combined.validation_context_sds_secret_config.ClearField("sds_config")
    target.transport_socket.typed_config.CopyFrom(packed(context))
    route = Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster="server"))
    result = bootstrap([answering_listener([route])], [target])
    for name, authority in files.items():
        secret = result.static_resources.secrets.add(name=name)
        secret.validation_context.trusted_ca.inline_bytes = authority.pem
    return result


@asynccontextmanager
async def tls_server(pair: Pair, directory: Path) -> AsyncIterator[int]:
    """A server that answers one request per connection; its port."""
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(pair.chain)
    key.write_bytes(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
