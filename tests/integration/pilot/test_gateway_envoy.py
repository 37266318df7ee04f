"""Gateways in a real Envoy: hosts, redirects, TLS modes, secrets, TCP (pilot.md I).

Acceptance 5, 14, 25.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

import pytest
import pytest_asyncio

from tests.support.ads_server import until
from tests.support.credentials import config_map_yaml, secret_yaml
from tests.support.envoy_server import complaints
from tests.support.etcd_server import free_port
from tests.support.gateway_envoy import IDENTITY, Router, router
from tests.support.http_probe import Closed, Reply, dial, echo_server, fetch, serving
from tests.support.pki import Ca, Pair
from tests.support.sds_server import certificate, workload
from tests.support.tls_contexts import tls_client, tls_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

CA, OTHER_CA, MESH_CA = Ca.root(), Ca.root("other"), Ca.root("mesh")
CLIENT = CA.leaf(dns=["client.test"], uris=["spiffe://client"])
OTHER_CLIENT = CA.leaf(dns=["other-client.test"])
FOREIGN = OTHER_CA.leaf(dns=["client.test"])
PEER = MESH_CA.leaf(uris=["spiffe://cluster.local/ns/shop/sa/web"])

MESH = Template(Path(__file__).with_name("gateway_mesh.yaml").read_text())


def credential(name: str, *hosts: str, **more: bytes) -> str:
    pair = CA.leaf(dns=hosts)
    return secret_yaml(name, "edge", tls_crt=pair.chain, tls_key=pair.key, **more)


SECRETS = (
    credential("simple", "simple.test", "*.wild.test", "new.test", "late.test", "opened.test"),
    credential("mutual", "mutual.test", "optional.test", ca_crt=CA.pem),
    secret_yaml("broken", "edge", tls_crt=CA.leaf().chain, tls_key=CA.leaf().key),
    config_map_yaml("roots", "certs", ca_crt=CA.pem),
)
FILES = "file-cert:/c.pem~/k.pem"


@dataclass
class Gateway:
    """The router under test, and the ports of its servers."""

    router: Router
    ports: dict[str, int] = field(default_factory=dict)

    async def https(
        self, host: str, *, client: Pair | None = None, sni: str = "", ca: Ca = CA, path: str = "/"
    ) -> Reply:
        """A request for a host on a TLS connection for it, or for another server name."""
        context = tls_client(ca, client)
        context.check_hostname = False
        return await fetch(self.ports["tls"], host, path, tls=context, server_name=sni or host)


async def echo_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"echo " + await reader.readline())
    await writer.drain()
    writer.close()


@asynccontextmanager
async def backends() -> AsyncIterator[dict[str, int]]:
    """Servers behind the gateway: HTTP, TLS of their own, bytes."""
    own = OTHER_CA.leaf(dns=["passed.test"])
    mesh = MESH_CA.leaf(uris=["spiffe://cluster.local/ns/shop/sa/web"])
    async with AsyncExitStack() as stack:
        web = await stack.enter_async_context(echo_server("web"))
        yield {
            "web": web.port,
            "bytes": await stack.enter_async_context(serving(echo_bytes)),
            "secure": await stack.enter_async_context(serving(echo_bytes, tls_server(own))),
            "sidecar": await stack.enter_async_context(serving(echo_bytes, tls_server(mesh))),
        }


@asynccontextmanager
async def running(directory: Path, *secrets: str, **how: bool) -> AsyncIterator[Gateway]:
    ports = {each: free_port() for each in ("http", "tls", "tcp", "auto")}
    agent = {
        **workload(MESH_CA, IDENTITY),
        FILES: certificate(FILES, CA.leaf(dns=["files.test"])),
    }
    async with backends() as behind:
        mesh = MESH.substitute(**ports, **behind)
        async with router(directory, mesh, *secrets, secrets=agent, **how) as found:
            yield Gateway(found, ports)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    """It starts without some of its secrets, which must not hold it up (acceptance 5)."""
    async with running(tmp_path_factory.mktemp("gateway"), *SECRETS) as found:
        yield found
        assert complaints(found.router.envoy.log.read_text()) == []


# Plain HTTP


async def test_virtual_services_of_two_namespaces_share_a_host(gateway: Gateway) -> None:
    office = await fetch(gateway.ports["http"], "both.test", "/office")
    shop = await fetch(gateway.ports["http"], "both.test", "/")
    assert office.echo.header("x-by") == "office"
    assert shop.echo.header("x-by") == "shop"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        pytest.param("a.shop.test", 200, id="bound"),
        pytest.param("A.Shop.Test:8080", 200, id="case-and-port-mean-nothing"),
        pytest.param("b.shop.test", 404, id="of-a-namespace-that-may-not-bind"),
        pytest.param("elsewhere.test", 404, id="unknown"),
    ],
)
async def test_hosts(gateway: Gateway, host: str, status: int) -> None:
    assert (await fetch(gateway.ports["http"], host)).status == status


async def test_plain_requests_are_redirected(gateway: Gateway) -> None:
    reply = await fetch(gateway.ports["http"], "simple.test", "/a?b=c")
    assert reply.status == 301
    assert reply.header("location") == "https://simple.test/a?b=c"


async def test_what_strangers_say_of_themselves_does_not_count(gateway: Gateway) -> None:
    told = {"x-forwarded-client-cert": "By=a;Hash=b", "x-forwarded-for": "192.0.2.7"}
    reply = await fetch(gateway.ports["http"], "a.shop.test", headers=told)
    assert reply.header("server") == "istio-envoy"
    assert reply.echo.header("x-forwarded-client-cert") == ""
    believed, added = reply.echo.header("x-forwarded-for").split(",")
    assert believed == "192.0.2.7"
    assert added
    assert reply.echo.header("x-forwarded-proto") == "http"


# TLS


@pytest.mark.parametrize(
    "host", ["simple.test", "x.wild.test", "late.test", "new.test", "files.test"]
)
async def test_simple(gateway: Gateway, host: str) -> None:
    reply = await gateway.https(host)
    assert reply.status == 200
    assert reply.echo.header("x-forwarded-proto") == "https"


async def test_the_certificate_is_that_of_the_host(gateway: Gateway) -> None:
    for host in ("simple.test", "x.wild.test", "files.test"):
        async with dial(gateway.ports["tls"], tls=tls_client(CA), server_name=host):
            continue


@pytest.mark.parametrize(
    ("host", "client", "passes"),
    [
        pytest.param("mutual.test", CLIENT, True, id="mutual"),
        pytest.param("mutual.test", None, False, id="mutual-without"),
        pytest.param("mutual.test", FOREIGN, False, id="mutual-of-another-ca"),
        pytest.param("named.wild.test", CLIENT, True, id="named"),
        pytest.param("named.wild.test", OTHER_CLIENT, False, id="named-otherwise"),
        pytest.param("optional.test", CLIENT, True, id="optional"),
        pytest.param("optional.test", None, True, id="optional-without"),
        pytest.param("optional.test", FOREIGN, False, id="optional-of-another-ca"),
    ],
)
async def test_client_certificates(
    gateway: Gateway, host: str, client: Pair | None, passes: bool
) -> None:
    if not passes:
        with pytest.raises(Closed):
            await gateway.https(host, client=client)
        return
    reply = await gateway.https(host, client=client)
    assert reply.status == 200
    told = reply.echo.header("x-forwarded-client-cert")
    assert ("DNS=client.test" in told) is (client is CLIENT)


@pytest.mark.parametrize(("client", "passes"), [(PEER, True), (None, False), (CLIENT, False)])
async def test_mutual_tls_of_the_mesh(gateway: Gateway, client: Pair | None, passes: bool) -> None:
    if passes:
        assert (await gateway.https("mesh.test", client=client, ca=MESH_CA)).status == 200
        return
    with pytest.raises(Closed):
        await gateway.https("mesh.test", client=client, ca=MESH_CA)


async def test_the_oldest_tls_that_a_server_takes(gateway: Gateway) -> None:
    old = tls_client(CA)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert (
        await fetch(gateway.ports["tls"], "simple.test", tls=old, server_name="simple.test")
    ).status == 200
    with pytest.raises(Closed):
        await fetch(gateway.ports["tls"], "new.test", tls=old, server_name="new.test")


@pytest.mark.parametrize(
    ("sni", "host"),
    [
        pytest.param("simple.test", "mutual.test", id="past-client-certificates"),
        pytest.param("x.wild.test", "named.wild.test", id="closer-host-of-another-server"),
        pytest.param("simple.test", "passed.test", id="server-that-passes-on"),
    ],
)
async def test_requests_for_another_server_are_misdirected(
    gateway: Gateway, sni: str, host: str
) -> None:
    assert (await gateway.https(host, sni=sni)).status == 421


async def test_hosts_of_nobody_are_unknown(gateway: Gateway) -> None:
    assert (await gateway.https("nobody.test", sni="simple.test")).status == 404


async def test_names_of_nobody_are_refused(gateway: Gateway) -> None:
    with pytest.raises(Closed):
        await gateway.https("nobody.test")


async def said(port: int, context: ssl.SSLContext | None, name: str = "") -> bytes:
    async with dial(port, tls=context, server_name=name) as (reader, writer):
        writer.write(b"hello\n")
        return await reader.read()


async def test_tls_is_passed_on_by_server_name(gateway: Gateway) -> None:
    answer = await said(gateway.ports["tls"], tls_client(OTHER_CA), "passed.test")
    assert answer == b"echo hello\n"


async def test_tls_is_opened_for_plain_connections(gateway: Gateway) -> None:
    assert await said(gateway.ports["tls"], tls_client(CA), "opened.test") == b"echo hello\n"


async def test_mutual_tls_of_the_mesh_is_passed_on_to_its_service(gateway: Gateway) -> None:
    context = tls_client(MESH_CA, PEER)
    context.check_hostname = False
    context.set_alpn_protocols(["istio"])
    name = "outbound_.8443_._.sidecar.local"
    assert await said(gateway.ports["auto"], context, name) == b"echo hello\n"
    context.set_alpn_protocols(["h2"])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await said(gateway.ports["auto"], context, name)


async def test_plain_connections(gateway: Gateway) -> None:
    assert await said(gateway.ports["tcp"], None) == b"echo hello\n"


async def test_who_comes_late_is_told(gateway: Gateway) -> None:
    connections = gateway.router.ads.connections
    proxies = [each.proxy for each in connections.open.values()]
    snapshot = await connections.facilities.work(gateway.router.world.snapshot)
    told = {
        (each.key, str(each.winner))
        for each in snapshot.findings(proxies)
        if each.fault == "pilot_total_rejected_configs"
    }
    assert told == {
        (f"other/late:{gateway.ports['tls']}", "gateways edge/tls"),
        (f"other/late:{gateway.ports['tcp']}", "gateways edge/plain"),
    }


# Secrets


async def test_a_missing_or_bad_secret_affects_its_host_only(gateway: Gateway) -> None:
    for host in ("missing.test", "broken.test"):
        with pytest.raises(Closed):
            await gateway.https(host)
    assert (await gateway.https("simple.test")).status == 200
    assert gateway.router.ads.metric("pilot_sds_certificate_errors_total") == 2


async def test_a_secret_may_come_later_and_change(gateway: Gateway) -> None:
    mesh = gateway.router
    (stream,) = mesh.ads.connections.open
    await mesh.apply(credential("missing", "missing.test"))
    await until(lambda: answers(gateway, "missing.test", CA))
    other = OTHER_CA.leaf(dns=["missing.test"])
    await mesh.apply(secret_yaml("missing", "edge", tls_crt=other.chain, tls_key=other.key))
    await until(lambda: answers(gateway, "missing.test", OTHER_CA))
    assert list(mesh.ads.connections.open) == [stream]


async def answers(gateway: Gateway, host: str, ca: Ca) -> bool:
    """A server answers with a certificate of that authority."""
    try:
        return (await gateway.https(host, ca=ca)).status == 200
    except Closed:
        return False


async def test_a_router_that_proves_no_identity_gets_no_secrets(tmp_path: Path) -> None:
    async with running(tmp_path, *SECRETS, verified=False) as unproven:
        assert (await fetch(unproven.ports["http"], "a.shop.test")).status == 200
        assert (await unproven.https("mesh.test", client=PEER, ca=MESH_CA)).status == 200
        with pytest.raises(Closed):
            await unproven.https("simple.test")


async def test_state_of_the_world(tmp_path: Path) -> None:
    complete = (*SECRETS, credential("missing", "a"), credential("broken", "b"))
    async with running(tmp_path, *complete, delta=False) as found:
        assert (await found.https("simple.test")).status == 200
        assert (await found.https("mutual.test", client=CLIENT)).status == 200
