"""TLS of Gateway API in a real Envoy, with certificates that Pilot serves (pilot.md I5, I8)."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from string import Template

import pytest
import pytest_asyncio

from tests.support.credentials import config_map_yaml, secret_yaml
from tests.support.envoy_server import complaints
from tests.support.etcd_server import free_port
from tests.support.gateway_envoy import IDENTITY, Router, router
from tests.support.http_probe import Closed, EchoServer, Reply, echo_server, fetch, serving
from tests.support.pki import Ca, Pair
from tests.support.sds_server import workload
from tests.support.tls_contexts import tls_client, tls_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

CA, BACKEND_CA, OTHER_CA = Ca.root(), Ca.root("backend"), Ca.root("other")
CLIENT, STRANGER = CA.leaf(dns=["client.test"]), OTHER_CA.leaf(dns=["client.test"])
OWN, GRANTED = CA.leaf(dns=["own.test", "mutual.test"]), CA.leaf(dns=["granted.test"])

MESH = Template(Path(__file__).with_name("gateway_api_tls.yaml").read_text())
CREDENTIALS = (
    secret_yaml("web", "edge", tls_crt=OWN.chain, tls_key=OWN.key),
    secret_yaml("web", "certs", tls_crt=GRANTED.chain, tls_key=GRANTED.key),
    # Roots of clients and of backends in one ConfigMap.
    config_map_yaml("roots", "edge", ca_crt=CA.pem + BACKEND_CA.pem),
    config_map_yaml("others", "edge", ca_crt=OTHER_CA.pem),
)


@dataclass
class Gateway:
    """The router under test, and the port of its listeners."""

    router: Router
    port: int

    async def https(
        self, host: str, path: str = "/", *, client: Pair | None = None, ca: Ca = CA
    ) -> Reply:
        """A request for a host, whose certificate is verified."""
        return await fetch(
            self.port, host, path, tls=tls_client(ca, client), server_name=host, seconds=20
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    directory: Path = tmp_path_factory.mktemp("gateway")
    secure = tls_server(BACKEND_CA.leaf(dns=["a.passed.test"]))
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(echo_server("plain"))
        behind = await stack.enter_async_context(serving(EchoServer("secure").serve, secure))
        port = free_port()
        mesh = MESH.substitute(tls=port, plain=plain.port, secure=behind)
        label = {"gateway.networking.k8s.io/gateway-name": "web"}
        agent = workload(Ca.root("mesh"), IDENTITY)
        found = await stack.enter_async_context(
            router(directory, mesh, *CREDENTIALS, secrets=agent, LABELS=label)
        )
        yield Gateway(found, port)
        assert complaints(found.envoy.log.read_text()) == []


@pytest.mark.parametrize("host", ["own.test", "granted.test"])
async def test_certificates(gateway: Gateway, host: str) -> None:
    reply = await gateway.https(host)
    assert (reply.status, reply.echo.server) == (200, "plain")


async def test_a_missing_certificate_concerns_its_host_only(gateway: Gateway) -> None:
    with pytest.raises(Closed):
        await gateway.https("missing.test")


@pytest.mark.parametrize(
    ("client", "passes"), [(CLIENT, True), (STRANGER, False), (None, False)],
    ids=["known", "unknown", "none"],
)  # fmt: skip
async def test_clients_are_verified(gateway: Gateway, client: Pair | None, *, passes: bool) -> None:
    if passes:
        assert (await gateway.https("mutual.test", client=client)).status == 200
        return
    with pytest.raises(Closed):
        await gateway.https("mutual.test", client=client)


async def test_tls_is_passed_on_by_its_server_name(gateway: Gateway) -> None:
    assert (await gateway.https("a.passed.test", ca=BACKEND_CA)).echo.server == "secure"
    with pytest.raises(Closed):
        await gateway.https("b.passed.test", ca=BACKEND_CA)


@pytest.mark.parametrize(
    ("path", "status"), [("/verified", 200), ("/distrusted", 503), ("/misnamed", 503)]
)
async def test_backends_are_verified(gateway: Gateway, path: str, status: int) -> None:
    reply = await gateway.https("own.test", path)
    assert reply.status == status
    if status == 200:
        assert reply.echo.server == "secure"
