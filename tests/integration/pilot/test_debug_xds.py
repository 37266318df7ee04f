"""Debug pages, configuration and events over ADS, to identities that may have them (B27, B28)."""

import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.admin.v3.config_dump_shared_pb2 import ClustersConfigDump
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from envoy.service.status.v3.csds_pb2 import ClientConfig, ConfigStatus

from istio.mcp.v1alpha1.resource_pb2 import Resource as McpResource
from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.common.identity.tls_front import Material, tls_front
from mast.pilot.api.ads import Door
from mast.pilot.api.asides import DUMP, PAGE, SYNC, Asides
from mast.pilot.api.connection import EVENTS
from mast.pilot.api.pages import Pages, Sources
from mast.pilot.core.debug.events import CONNECT, DISCONNECT, NACK, came
from mast.pilot.core.security import trust
from mast.pilot.core.world.snapshot import MeshSnapshot
from mast.pilot.core.world.world import World
from mast.pilot.core.xds.report import Replica
from mast.pilot.core.xds.resources import CDS, LDS, MCP
from mastapi.trust.v1.trust_pb2 import Root, TrustBundle
from tests.support.ads_server import NODE_ID, Ads, ads_server, until
from tests.support.mesh_yaml import changes
from tests.support.pki import Ca
from tests.support.xds_client import XdsStream, node, xds_stream

NAME = "istio-pilot.istio-system.svc"
OPTIONS = (("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1))
SYSTEM_ID = "sidecar~127.0.0.1~tool.istio-system~istio-system.svc.cluster.local"
BANK_ID = "sidecar~127.0.0.1~till.bank~bank.svc.cluster.local"
VIRTUAL_SERVICE = "networking.istio.io/v1/VirtualService"


def route(name: str, host: str = "web.test", namespace: str = "shop") -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: VirtualService,
 metadata: {{name: {name}, namespace: {namespace}, labels: {{a: b}}}},
 spec: {{hosts: [{host}], http: [{{redirect: {{uri: /x}}}}]}}}}
"""


class Mesh:
    """A world that a test feeds."""

    def __init__(self) -> None:
        self.world = World()
        self.revision = 0

    def snapshot(self) -> MeshSnapshot:
        self.revision += 1
        return self.world.snapshot(self.revision)

    def put(self, *texts: str) -> None:
        assert not self.world.apply(changes(*texts))


class Pilot:
    """A running ADS, behind TLS or not."""

    def __init__(self, ads: Ads, mesh: Mesh, ca: Ca | None, port: int) -> None:
        self.ads = ads
        self.mesh = mesh
        self._ca = ca
        self._port = port

    def stream(
        self, namespace: str = "istio-system", *, delta: bool = True, **metadata: Any
    ) -> AbstractAsyncContextManager[XdsStream]:
        """A stream of somebody of a namespace."""
        ids = {"istio-system": SYSTEM_ID, "bank": BANK_ID, "shop": NODE_ID}
        credentials = None
        if self._ca is not None:
            pair = self._ca.leaf(uris=[f"spiffe://cluster.local/ns/{namespace}/sa/x"])
            credentials = grpc.ssl_channel_credentials(self._ca.pem, pair.key, pair.chain)
        return xds_stream(
            f"127.0.0.1:{self._port}",
            delta=delta,
            who=node(ids[namespace], NAMESPACE=namespace, **metadata),
            credentials=credentials,
            options=OPTIONS,
        )


@pytest.fixture(scope="module")
def ca() -> Ca:
    return Ca.root()


async def nowhere(wanted: str) -> None:
    del wanted


@asynccontextmanager
async def pilot(ca: Ca | None, *texts: str) -> AsyncIterator[Pilot]:
    """Pilot over a mesh, with TLS if there is a CA."""
    mesh = Mesh()
    mesh.put(*texts)
    newest = mesh.snapshot()

    def asides(connections: Any) -> Asides:
        sources = Sources(connections, lambda: newest, list, nowhere, Replica("pilot-1", "0.1"))
        return Asides(connections, Pages(sources), "istio-system")

    if ca is None:
        async with ads_server(mesh, asides=asides) as ads:
            yield Pilot(ads, mesh, None, ads.port)
        return
    own = ca.leaf(dns=[NAME])
    bundle = TrustBundle(roots=[Root(pem=ca.pem.decode(), state=Root.ACTIVE)])
    material = Material(own.chain, own.key, trust.pools({"cluster.local": bundle}))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ads"
        async with tls_front("127.0.0.1:0", path, lambda: material) as front:
            door = Door(front.peers.identities, front.peers.address)
            async with ads_server(mesh, door=door, address=f"unix:{path}", asides=asides) as ads:
                yield Pilot(ads, mesh, ca, front.port)


@asynccontextmanager
async def proxy(running: Pilot) -> AsyncIterator[XdsStream]:
    """A proxy of namespace shop that has clusters and rejected its listeners."""
    async with running.stream("shop", CLUSTER_ID="c1", ISTIO_VERSION="1.30.3") as stream:
        for url in (CDS, LDS):
            await stream.ask(url)
            told = await stream.told()
            if url == CDS:
                await stream.ack(told)
            else:
                await stream.ask(url, nonce=told.nonce, error="no such filter")
        await until(lambda: _rejected(running))
        yield stream


def _rejected(running: Pilot) -> bool:
    watches = [each.session.state.watches for each in running.ads.connections.open.values()]
    return any(LDS in each and each[LDS].rejections for each in watches)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
class TestPages:
    """Debug types (B28, acceptance 34, 38)."""

    async def test_syncz(self, ca, delta):
        async with pilot(ca) as running, proxy(running):
            async with running.stream(delta=delta, GENERATOR="event") as tool:
                await tool.ask(SYNC)
                told = await tool.told()
                assert told.type_url == SYNC
                (config,) = clients(told, delta)
                assert config.node.id == "web-1.shop"
                assert dict(config.node.metadata)["CLUSTER_ID"] == "c1"
                states = {
                    each.type_url.rpartition(".")[2]: each.config_status
                    for each in config.generic_xds_configs
                }
                assert states == {
                    "Cluster": ConfigStatus.SYNCED,
                    "Listener": ConfigStatus.ERROR,
                    "RouteConfiguration": ConfigStatus.NOT_SENT,
                    "ClusterLoadAssignment": ConfigStatus.NOT_SENT,
                    "TypedExtensionConfig": ConfigStatus.NOT_SENT,
                }
                (error,) = [
                    each.error_state.details
                    for each in config.generic_xds_configs
                    if each.config_status == ConfigStatus.ERROR
                ]
                assert error == "no such filter"

    async def test_acknowledgements_are_no_questions(self, ca, delta):
        async with pilot(ca) as running, running.stream(delta=delta) as tool:
            await tool.ask(PAGE, "syncz")
            told = await tool.told()
            await tool.ack(told, *(() if delta else ("syncz",)))
            await tool.ask(PAGE, "syncz", nonce=told.nonce, error="what is this?")
            await tool.ask(PAGE, "connections", nonce=told.nonce)
            (page,) = pages(await tool.told(), delta)
            assert page["totalClients"] == 1

    async def test_pages_by_name(self, ca, delta):
        async with pilot(ca, route("r")) as running, running.stream(delta=delta) as tool:
            await tool.ask(PAGE, "configz", "adsz?proxyID=tool.istio-system")
            configs, clients_now = pages(await tool.told(), delta)
            assert configs[0]["metadata"]["name"] == "r"
            assert clients_now["totalClients"] == 1
            await tool.ask(f"{PAGE}/resourcesz")
            (kinds,) = pages(await tool.told(), delta)
            gateway = {"group": "networking.istio.io", "version": "v1", "kind": "Gateway"}
            assert gateway in kinds

    async def test_a_dump_in_parts(self, ca, delta):
        async with pilot(ca) as running, proxy(running), running.stream(delta=delta) as tool:
            await tool.ask(DUMP, "web-1.shop")
            told = await tool.told()
            bodies = [each.resource if delta else each for each in told.resources]
            clusters = ClustersConfigDump()
            (packed,) = [each for each in bodies if each.Is(ClustersConfigDump.DESCRIPTOR)]
            packed.Unpack(clusters)
            names = {each.version_info for each in clusters.dynamic_active_clusters}
            assert len(names) == len(clusters.dynamic_active_clusters) == 3

    @pytest.mark.parametrize(
        ("namespace", "type_url", "names", "code"),
        [
            ("bank", SYNC, (), grpc.StatusCode.PERMISSION_DENIED),
            ("bank", PAGE, ("syncz",), grpc.StatusCode.PERMISSION_DENIED),
            ("bank", PAGE, ("edsz?proxyID=web-1.shop",), grpc.StatusCode.PERMISSION_DENIED),
            ("bank", DUMP, ("web-1.shop",), grpc.StatusCode.PERMISSION_DENIED),
            ("shop", PAGE, ("force_disconnect?proxyID=web-1.shop",), None),
            ("istio-system", DUMP, (), grpc.StatusCode.INVALID_ARGUMENT),
            ("istio-system", DUMP, ("gone.shop",), grpc.StatusCode.NOT_FOUND),
            ("istio-system", PAGE, ("nonsense",), grpc.StatusCode.NOT_FOUND),
            ("istio-system", "istio.io/nonsense", (), grpc.StatusCode.INVALID_ARGUMENT),
            ("istio-system", CONNECT, (), grpc.StatusCode.INVALID_ARGUMENT),
        ],
        ids=[
            "sync-of-others",
            "page-of-the-mesh",
            "proxy-of-another",
            "dump-of-another",
            "nothing-to-change",
            "dump-of-nobody",
            "no-such-proxy",
            "no-such-page",
            "no-such-type",
            "events-without-generator",
        ],
    )
    async def test_refusals(self, ca, delta, namespace, type_url, names, code):
        async with pilot(ca) as running, proxy(running):
            async with running.stream(namespace, delta=delta) as tool:
                await tool.ask(type_url, *names)
                assert (await tool.ended())[0] is (code or grpc.StatusCode.PERMISSION_DENIED)

    async def test_own_proxies_may_be_seen(self, ca, delta):
        async with pilot(ca) as running, proxy(running):
            async with running.stream("shop", delta=delta) as tool:
                await tool.ask(f"{PAGE}/edsz", "web-1.shop")
                assert pages(await tool.told(), delta) == [[]]

    async def test_plaintext_gets_nothing(self, delta):
        """Acceptance 34: as for secrets."""
        async with pilot(None) as running, running.stream(delta=delta) as tool:
            await tool.ask(SYNC)
            assert (await tool.ended())[0] is grpc.StatusCode.UNAUTHENTICATED


def clients(told: Any, delta: bool) -> list[ClientConfig]:
    found = []
    for each in told.resources:
        made = ClientConfig()
        assert (each.resource if delta else each).Unpack(made)
        found.append(made)
    return found


def pages(told: Any, delta: bool) -> list[Any]:
    """Contents in the order in which they were asked for."""
    assert told.type_url.startswith(PAGE)
    bodies = [each.resource if delta else each for each in told.resources]
    assert {each.type_url for each in bodies} == {PAGE}
    return [json.loads(each.value) for each in bodies]


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
class TestConfiguration:
    """GENERATOR api: all configuration, for control planes (B27)."""

    @staticmethod
    def objects(told: Any, delta: bool) -> dict[str, McpResource]:
        found = {}
        for each in told.resources:
            made = McpResource()
            packed = each.resource if delta else each
            assert packed.type_url == MCP
            packed.Unpack(made)
            found[made.metadata.name] = made
            assert not delta or each.name == made.metadata.name
        return found

    async def test_objects_of_a_kind(self, ca, delta):
        async with (
            pilot(ca, route("a"), route("b", namespace="bank")) as running,
            running.stream(delta=delta, GENERATOR="api") as plane,
        ):
            await plane.ask(VIRTUAL_SERVICE)
            told = await plane.told()
            assert told.type_url == VIRTUAL_SERVICE
            found = self.objects(told, delta)
            assert found.keys() == {"shop/a", "bank/b"}
            assert dict(found["shop/a"].metadata.labels) == {"a": "b"}
            assert found["shop/a"].metadata.version == "1"
            assert found["shop/a"].metadata.create_time.seconds > 0
            spec = VirtualService()
            found["shop/a"].body.Unpack(spec)
            assert list(spec.hosts) == ["web.test"]
            await plane.ack(told)
            for unknown in ("networking.istio.io/v9/VirtualService", "x.y/v1/Z"):
                await plane.ask(unknown)
                assert not (await plane.told()).resources

    async def test_follow_changes(self, ca, delta):
        async with (
            pilot(ca, route("a"), route("b", namespace="bank")) as running,
            running.stream(delta=delta, GENERATOR="api") as plane,
        ):
            await plane.ask(VIRTUAL_SERVICE)
            await plane.ack(await plane.told())
            running.mesh.put(route("b", "other.test", "bank"))
            await running.ads.push()
            told = await plane.told()
            found = self.objects(told, delta)
            assert found.keys() == ({"bank/b"} if delta else {"shop/a", "bank/b"})
            await plane.ack(told)
            await running.ads.push()
            (gone,) = changes(route("a"))
            running.mesh.world.apply([Gone(gone.key)])
            await running.ads.push()
            told = await plane.told()
            if delta:
                assert list(told.removed_resources) == ["shop/a"]
            else:
                assert self.objects(told, delta).keys() == {"bank/b"}

    async def test_only_what_is_asked_for(self, ca, delta):
        async with (
            pilot(ca, route("a"), route("b")) as running,
            running.stream(delta=delta, GENERATOR="api") as plane,
        ):
            await plane.ask(VIRTUAL_SERVICE, "shop/b")
            assert self.objects(await plane.told(), delta).keys() == {"shop/b"}

    @pytest.mark.parametrize("generator", ["api", "event"])
    async def test_is_for_the_control_plane(self, ca, delta, generator):
        async with (
            pilot(ca, route("a")) as running,
            running.stream("bank", delta=delta, GENERATOR=generator) as plane,
        ):
            await plane.ask(VIRTUAL_SERVICE)
            assert (await plane.ended())[0] is grpc.StatusCode.PERMISSION_DENIED

    async def test_is_not_for_plaintext(self, delta):
        async with (
            pilot(None, route("a")) as running,
            running.stream(delta=delta, GENERATOR="api") as plane,
        ):
            await plane.ask(VIRTUAL_SERVICE)
            assert (await plane.ended())[0] is grpc.StatusCode.UNAUTHENTICATED

    async def test_is_not_for_proxies(self, ca, delta):
        async with (
            pilot(ca, route("a")) as running,
            running.stream("shop", delta=delta) as plane,
        ):
            await plane.ask(VIRTUAL_SERVICE)
            assert not (await plane.told()).resources


@dataclass(frozen=True)
class Gone:
    """A key that was deleted."""

    key: str
    value: bytes | None = None


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_events(ca, delta):
    """GENERATOR event: who comes, who goes, who rejects."""
    async with pilot(ca) as running, running.stream(delta=delta, GENERATOR="event") as tool:
        await tool.ask(CONNECT)
        assert not (await tool.told()).resources
        for url in (DISCONNECT, NACK):
            await tool.ask(url)
        await until(lambda: len(running.ads.connections.open) == 1)
        async with proxy(running):
            told = await tool.told()
            assert told.type_url == CONNECT
            came = Node()
            (body,) = [each.resource if delta else each for each in told.resources]
            body.Unpack(came)
            assert (came.id, dict(came.metadata)["CLUSTER_ID"]) == (NODE_ID, "c1")
            told = await tool.told()
            assert told.type_url == NACK
            request = DiscoveryRequest()
            (body,) = [each.resource if delta else each for each in told.resources]
            body.Unpack(request)
            assert (request.type_url, request.error_detail.message) == (LDS, "no such filter")
            assert request.node.id == NODE_ID
            assert "virtualInbound" in request.resource_names
        await until(lambda: len(running.ads.connections.open) == 1)
        types = set()
        while DISCONNECT not in types:
            types.add((await tool.told()).type_url)
        assert types <= {NACK, DISCONNECT}
        assert await tool.silent(0.05)


async def test_events_that_nobody_reads_are_lost_and_counted(ca):
    async with pilot(ca) as running, running.stream(GENERATOR="event") as tool:
        await tool.ask(CONNECT)
        await tool.told()
        await until(lambda: len(running.ads.connections.open) == 1)
        (connection,) = running.ads.connections.open.values()
        for _ in range(EVENTS + 3):
            connection.notify(CONNECT, came(connection.proxy))
        assert running.ads.metric("pilot_xds_events_lost") == 3
        for _ in range(3):
            assert (await tool.told()).type_url == CONNECT
