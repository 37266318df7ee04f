"""ADS behind the TLS front: identities that certificates prove (pilot.md A5, acceptance 34)."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from envoy.service.status.v3 import csds_pb2_grpc
from envoy.service.status.v3.csds_pb2 import ClientStatusRequest
from grpc import aio

from mast.common.identity.tls_front import Material, tls_front
from mast.pilot.api.ads import Door
from mast.pilot.api.csds import ClientStatusService
from mast.pilot.core.security import trust
from mast.pilot.core.xds.resources import SDS
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle
from tests.fakes.pilot_views import FakeMesh, secret
from tests.support.ads_server import Ads, ads_server
from tests.support.pki import Ca
from tests.support.xds_client import node, xds_stream

NAME = "istio-pilot.istio-system.svc"
WEB = "spiffe://cluster.local/ns/shop/sa/web"


@pytest.fixture(scope="module")
def ca() -> Ca:
    return Ca.root()


@asynccontextmanager
async def secure(ca: Ca) -> AsyncIterator[tuple[Ads, int]]:
    """A Pilot that trusts the CA of its trust bundle."""
    mesh = FakeMesh()
    mesh.put(secret("cert", "top secret"))
    own = ca.leaf(dns=[NAME])
    bundle = TrustBundle(roots=[Root(pem=ca.pem.decode(), state=Root.ACTIVE)])
    material = Material(own.chain, own.key, trust.pools({"cluster.local": bundle}))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ads"
        async with tls_front("127.0.0.1:0", path, lambda: material) as front:
            door = Door(front.peers.identities, front.peers.address)
            async with ads_server(
                mesh,
                door=door,
                address=f"unix:{path}",
                also=lambda connections: ClientStatusService(
                    connections, front.peers.identities, "istio-system"
                ),
            ) as ads:
                yield ads, front.port


def credentials(ca: Ca, *uris: str) -> grpc.ChannelCredentials:
    if not uris:
        return grpc.ssl_channel_credentials(ca.pem)
    pair = ca.leaf(uris=list(uris))
    return grpc.ssl_channel_credentials(ca.pem, pair.key, pair.chain)


OPTIONS = (("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1))


async def test_the_identity_of_a_certificate_is_the_proxys(ca):
    async with (
        secure(ca) as (ads, port),
        xds_stream(
            f"127.0.0.1:{port}", credentials=credentials(ca, WEB), options=OPTIONS
        ) as stream,
    ):
        await stream.ask(SDS, "cert")
        assert [each.name for each in (await stream.told()).resources] == ["cert"]
        (connection,) = ads.connections.open.values()
        assert str(connection.peer.identity) == WEB
        assert connection.peer.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("uris", "metadata", "code"),
    [
        pytest.param(
            ["spiffe://cluster.local/ns/bank/sa/web"],
            {},
            grpc.StatusCode.PERMISSION_DENIED,
            id="foreign-namespace",
        ),
        pytest.param(
            [WEB],
            {"SERVICE_ACCOUNT": "admin"},
            grpc.StatusCode.PERMISSION_DENIED,
            id="foreign-account",
        ),
        pytest.param([], {}, grpc.StatusCode.UNAUTHENTICATED, id="no-certificate"),
    ],
)
async def test_others_are_refused(ca, uris, metadata, code):
    async with (
        secure(ca) as (_, port),
        xds_stream(
            f"127.0.0.1:{port}",
            who=node(**metadata),
            credentials=credentials(ca, *uris),
            options=OPTIONS,
        ) as stream,
    ):
        await stream.ask(SDS, "cert")
        assert (await stream.ended())[0] is code


async def test_a_foreign_root_vouches_for_nobody(ca):
    stranger = Ca.root("stranger").leaf(uris=[WEB])
    foreign = grpc.ssl_channel_credentials(ca.pem, stranger.key, stranger.chain)
    async with (
        secure(ca) as (_, port),
        xds_stream(f"127.0.0.1:{port}", credentials=foreign, options=OPTIONS) as stream,
    ):
        await stream.ask(SDS, "cert")
        assert (await stream.ended())[0] is grpc.StatusCode.UNAVAILABLE


class TestClientStatus:
    """CSDS: what proxies were told (B28)."""

    @staticmethod
    def stub(port: int, given: grpc.ChannelCredentials):
        channel = aio.secure_channel(f"127.0.0.1:{port}", given, OPTIONS)
        return channel, csds_pb2_grpc.ClientStatusDiscoveryServiceStub(channel)

    @pytest.mark.parametrize(("namespace", "seen"), [("istio-system", 1), ("shop", 1), ("bank", 0)])
    async def test_depends_on_who_asks(self, ca, namespace, seen):
        asking = credentials(ca, f"spiffe://cluster.local/ns/{namespace}/sa/x")
        async with (
            secure(ca) as (_, port),
            xds_stream(
                f"127.0.0.1:{port}", credentials=credentials(ca, WEB), options=OPTIONS
            ) as stream,
        ):
            await stream.ask(SDS, "cert")
            await stream.ack(await stream.told())
            channel, stub = self.stub(port, asking)
            async with channel:
                answer = await stub.FetchClientStatus(ClientStatusRequest())
                assert len(answer.config) == seen
                if seen:
                    (found,) = answer.config[0].generic_xds_configs
                    assert (found.type_url, found.name) == (SDS, "cert")
                call = stub.StreamClientStatus()
                for _ in range(2):
                    await call.write(ClientStatusRequest(exclude_resource_contents=True))
                    assert len((await call.read()).config) == seen
                await call.done_writing()
                assert await call.read() is aio.EOF

    async def test_needs_an_identity(self, ca):
        async with secure(ca) as (_, port):
            channel, stub = self.stub(port, credentials(ca))
            async with channel:
                with pytest.raises(aio.AioRpcError) as error:
                    await stub.FetchClientStatus(ClientStatusRequest())
                assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED

    async def test_names_what_it_does_not_understand(self, ca):
        request = ClientStatusRequest(node_matchers=[{"node_id": {}}])
        async with (
            secure(ca) as (_, port),
            xds_stream(
                f"127.0.0.1:{port}", credentials=credentials(ca, WEB), options=OPTIONS
            ) as stream,
        ):
            await stream.ask(SDS, "cert")
            await stream.told()
            channel, stub = self.stub(port, credentials(ca, WEB))
            async with channel:
                with pytest.raises(aio.AioRpcError) as error:
                    await stub.FetchClientStatus(request)
                assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                assert "string matcher" in error.value.details()
