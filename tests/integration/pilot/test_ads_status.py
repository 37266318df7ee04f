"""What operators are told of proxies: the published status and the debug pages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.monitoring import Readiness, http_server
from mast.pilot.api.debug import DebugPages
from mast.pilot.core.xds.report import Replica
from mast.pilot.core.xds.resources import CDS, EDS, LDS, RDS, SDS
from mast.pilot.store.status import StatusPublisher, locate
from mastapi.status.v1.status_pb2 import ProxyStatus
from tests.fakes.pilot_views import (
    FakeMesh,
    assignment,
    eds_cluster,
    listener,
    routes,
    secret,
)
from tests.support.ads_server import ads_server, until
from tests.support.etcd_server import etcd_server
from tests.support.mesh_yaml import world
from tests.support.tcp_proxy import tcp_proxy
from tests.support.xds_client import node, xds_stream

ID = "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local"
KEY = f"status/proxies/{ID}"
REPLICA = Replica("pilot-1", "0.1")

MESH = """
{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: web, namespace: shop},
 spec: {hosts: [web.shop.svc.cluster.local], resolution: STATIC,
        ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.9}]}}
"""


class TestPublishing:
    """`status/proxies/NODE-ID`."""

    @pytest.fixture
    async def store(self, tmp_path) -> AsyncIterator[Store]:
        async with (
            etcd_server(tmp_path) as etcd,
            connect(EtcdConfig(endpoints=(etcd.endpoint,))) as connected,
        ):
            yield connected

    @staticmethod
    @asynccontextmanager
    async def publisher(
        store: Store, ttl: float = 60, every: float = 0.02
    ) -> AsyncIterator[StatusPublisher]:
        made = StatusPublisher(store, lambda: 0.5, timedelta(seconds=every), timedelta(seconds=ttl))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(made.run())
            yield made
            running.cancel()

    @staticmethod
    def saying(text: str):
        async def make() -> ProxyStatus:
            return ProxyStatus(node_id=ID, pilot=text)

        return make

    @staticmethod
    async def says(store: Store, text: str | None, key: str = KEY) -> bool:
        entry = await store.get(key)
        return (entry and ProxyStatus.FromString(entry.value).pilot) == text

    async def test_follows_changes_on_a_lease(self, store):
        async with self.publisher(store) as statuses:
            statuses.changed(KEY, "first", self.saying("a"))
            await until(lambda: self.says(store, "a"))
            assert (await store.get(KEY)).lease
            statuses.changed(KEY, "first", self.saying("b"))
            await until(lambda: self.says(store, "b"))
            statuses.gone(KEY, "first")
            await until(lambda: self.says(store, None))

    async def test_is_conflated(self, store):
        """A storm of acknowledgements is one write."""
        async with self.publisher(store, every=0.2) as statuses:
            statuses.changed(KEY, "first", self.saying("before"))
            await until(lambda: self.says(store, "before"))
            for number in range(500):
                statuses.changed(KEY, "first", self.saying(str(number)))
                await asyncio.sleep(0)
            await until(lambda: self.says(store, "499"))
            assert (await store.get(KEY)).version == 2

    async def test_ends_with_the_newest_connection_only(self, store):
        async with self.publisher(store) as statuses:
            statuses.changed(KEY, "first", self.saying("a"))
            statuses.changed(KEY, "second", self.saying("b"))
            await until(lambda: self.says(store, "b"))
            statuses.gone(KEY, "first")
            statuses.changed("status/proxies/other", "x", self.saying("marker"))
            await until(lambda: self.says(store, "marker", "status/proxies/other"))
            assert await self.says(store, "b")

    async def test_of_another_replica_is_left_alone(self, store):
        async with self.publisher(store) as mine, self.publisher(store) as other:
            mine.changed(KEY, "first", self.saying("mine"))
            await until(lambda: self.says(store, "mine"))
            other.changed(KEY, "second", self.saying("other"))
            await until(lambda: self.says(store, "other"))
            mine.gone(KEY, "first")
            mine.changed("status/proxies/other", "x", self.saying("marker"))
            await until(lambda: self.says(store, "marker", "status/proxies/other"))
            assert await self.says(store, "other")

    async def test_of_a_proxy_that_came_and_went_at_once_is_nothing(self, store):
        async with self.publisher(store) as statuses:
            statuses.changed(KEY, "first", self.saying("a"))
            statuses.gone(KEY, "first")
            statuses.changed("status/proxies/other", "x", self.saying("marker"))
            await until(lambda: self.says(store, "marker", "status/proxies/other"))
            assert await self.says(store, None)

    async def test_all_that_an_owner_says_is_replaced(self, store):
        async with self.publisher(store) as statuses:
            one, two = ProxyStatus(pilot="1"), ProxyStatus(pilot="2")
            statuses.replace("me", {"status/a": one, "status/b": one})
            await until(lambda: self.says(store, "1", "status/b"))
            statuses.replace("me", {"status/a": one, "status/b": two, "status/c": one})
            await until(lambda: self.says(store, "1", "status/c"))
            assert await self.says(store, "2", "status/b")
            assert (await store.get("status/a")).version == 1
            statuses.replace("me", {"status/b": two})
            await until(lambda: self.says(store, None, "status/c"))
            assert await self.says(store, None, "status/a")

    async def test_tells_where_a_proxy_is(self, store):
        async with self.publisher(store) as statuses:
            statuses.changed(KEY, "first", self.saying("pilot-2"))
            await until(lambda: self.says(store, "pilot-2"))
            assert (await locate(store, ID)).pilot == "pilot-2"
            assert (await locate(store, "web-1.shop")).pilot == "pilot-2"
            assert await locate(store, "web-2.shop") is None
            assert await locate(store, ID.replace("web-1", "web-2")) is None

    async def test_is_written_again_after_etcd_was_away(self, tmp_path):
        async with etcd_server(tmp_path) as etcd, tcp_proxy(etcd.endpoint) as between:
            config = EtcdConfig(endpoints=(between.endpoint,), timeout=timedelta(seconds=1))
            async with (
                connect(config) as store,
                connect(EtcdConfig(endpoints=(etcd.endpoint,))) as direct,
                self.publisher(store, ttl=1) as statuses,
            ):
                statuses.changed(KEY, "first", self.saying("a"))
                await until(lambda: self.says(direct, "a"))
                between.cut()
                await until(lambda: self.says(direct, None), seconds=15)
                statuses.changed(KEY, "first", self.saying("b"))
                between.heal()
                await until(lambda: self.says(direct, "b"), seconds=15)


@pytest.fixture
def mesh():
    made = FakeMesh()
    made.put(eds_cluster("a"), assignment("a", [1]), listener("l", "r"), routes("r", "a"))
    made.put(secret("cert", "top secret"))
    return made


class Client:
    """Reads debug pages."""

    def __init__(self, http: aiohttp.ClientSession, port: int) -> None:
        self._http = http
        self._base = f"http://127.0.0.1:{port}"

    async def page(self, path: str) -> object:
        async with self._http.get(self._base + path) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def status(self, path: str) -> tuple[int, str]:
        async with self._http.get(self._base + path) as response:
            return response.status, await response.text()


@asynccontextmanager
async def pages(ads) -> AsyncIterator[Client]:
    index = world(MESH).snapshot(7).index
    made = DebugPages(ads.connections, lambda: index, REPLICA)
    ready = Readiness(True, {"etcd": "connected"})
    async with (
        http_server("127.0.0.1:0", made.routes(lambda: ready)) as port,
        aiohttp.ClientSession() as http,
    ):
        yield Client(http, port)


@asynccontextmanager
async def watching(ads, **metadata: object) -> AsyncIterator[object]:
    """A proxy that has everything and rejected its listener."""
    who = node(LABELS={"app": "web"}, CLUSTER_ID="c1", ISTIO_VERSION="1.30.3", **metadata)
    async with xds_stream(f"127.0.0.1:{ads.port}", who=who) as stream:
        for url, names in ((CDS, ()), (EDS, ("a",)), (LDS, ()), (RDS, ("r",))):
            await stream.ask(url, *names)
            told = await stream.told()
            if url == LDS:
                await stream.ask(url, nonce=told.nonce, error="no such filter")
            else:
                await stream.ack(told)
        await until(lambda: _all_answered(ads))
        yield stream


def _all_answered(ads) -> bool:
    (connection,) = ads.connections.open.values()
    watches = connection.session.state.watches
    return RDS in watches and not any(each.outstanding for each in watches.values())


class TestPages:
    """Acceptance 38."""

    async def test_syncz(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            (row,) = await client.page("/debug/syncz")
            assert (row["proxy"], row["proxy_type"]) == ("web-1.shop", "sidecar")
            assert (row["cluster_id"], row["istio_version"]) == ("c1", "1.30.3")
            assert row["cluster_sent"] == row["cluster_acked"] != ""
            assert row["listener_sent"] != row["listener_acked"] == ""
            assert row["extensionconfig_sent"] == ""
            assert await client.page("/debug/syncz?namespace=bank") == []
            assert len(await client.page("/debug/syncz?namespace=shop")) == 1

    async def test_adsz(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            found = await client.page("/debug/adsz")
            assert found["totalClients"] == 1
            (row,) = found["clients"]
            assert row["connectionId"] == f"{ID}-1"
            assert row["address"].startswith("ipv4:127.0.0.1:")
            assert row["labels"] == {"app": "web", "topology.istio.io/cluster": "c1"}
            assert row["metadata"]["ISTIO_VERSION"] == "1.30.3"
            assert row["watches"] == {"cds": [], "eds": ["a"], "lds": [], "rds": ["r"]}
            assert datetime.fromisoformat(row["connectedAt"]).tzinfo == UTC
            short = await client.page("/debug/connections")
            assert short["clients"][0].keys() == {"connectionId", "connectedAt", "address"}

    async def test_adsz_pushes_on_demand(self, mesh):
        async with ads_server(mesh) as ads, watching(ads) as stream, pages(ads) as client:
            await client.page("/debug/adsz?push=true&proxyID=web-1.shop")
            told = [await stream.told() for _ in range(3)]
            assert [each.type_url for each in told] == [CDS, EDS, RDS]

    async def test_config_dump(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            path = "/debug/config_dump?proxyID=web-1.shop"
            dump = (await client.page(path))["configs"]
            kinds = [each["@type"].rpartition(".")[2] for each in dump]
            assert "ClustersConfigDump" in kinds
            assert "EndpointsConfigDump" not in kinds
            (cluster,) = dump[kinds.index("ClustersConfigDump")]["dynamicActiveClusters"]
            assert cluster["cluster"]["name"] == "a"
            assert cluster["versionInfo"] == eds_cluster("a").version
            (with_eds,) = (await client.page(path + "&types=eds"))["configs"]
            assert len(with_eds["dynamicEndpointConfigs"]) == 1
            assert len((await client.page(path + "&include_eds=true"))["configs"]) == len(kinds) + 1

    async def test_secrets_are_not_shown(self, mesh):
        async with ads_server(mesh) as ads, watching(ads) as stream, pages(ads) as client:
            await stream.ask(SDS, "cert")
            await stream.told()
            _, text = await client.status("/debug/config_dump?proxyID=web-1.shop&types=sds")
            assert "top secret" not in text

    async def test_pages_of_one_type(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            (found,) = await client.page("/debug/edsz?proxyID=web-1.shop")
            assert found["clusterName"] == "a"
            assert await client.page("/debug/ecdsz?proxyID=web-1.shop") == []

    @pytest.mark.parametrize(
        ("path", "status", "words"),
        [
            ("/debug/config_dump", 400, "proxyID: name a proxy"),
            ("/debug/edsz?proxyID=x", 404, "may be connected to another Pilot"),
            ("/debug/force_disconnect", 400, "proxyID"),
            ("/debug/unheard_of", 404, ""),
        ],
        ids=["no-proxy", "unknown-proxy", "disconnect-nobody", "unknown-page"],
    )
    async def test_errors(self, mesh, path, status, words):
        async with ads_server(mesh) as ads, pages(ads) as client:
            code, text = await client.status(path)
            assert code == status
            assert words in text

    async def test_the_mesh(self, mesh):
        async with ads_server(mesh) as ads, pages(ads) as client:
            (service,) = await client.page("/debug/registryz")
            assert service["host"] == "web.shop.svc.cluster.local"
            (endpoints,) = await client.page("/debug/endpointz")
            assert endpoints["svc"] == "web.shop.svc.cluster.local"
            assert endpoints["ep"][0]["address"] == "10.0.0.9"
            assert await client.page("/debug/endpointShardz") == [endpoints]
            (config,) = await client.page("/debug/configz")
            assert (config["kind"], config["metadata"]["name"]) == ("ServiceEntry", "web")
            assert config["spec"]["hosts"] == ["web.shop.svc.cluster.local"]
            assert (await client.page("/debug/mesh"))["trustDomain"] == "cluster.local"

    async def test_push_status(self, mesh):
        async with ads_server(mesh) as ads, watching(ads), pages(ads) as client:
            assert await client.page("/debug/push_status") == {
                "push": ads.connections.push.number,
                "revision": 1,
                "rejected": {"web-1.shop": {"lds": "no such filter"}},
            }

    async def test_force_disconnect(self, mesh):
        async with ads_server(mesh) as ads, watching(ads) as stream, pages(ads) as client:
            await client.page("/debug/force_disconnect?proxyID=web-1.shop")
            await stream.ended()
            await until(lambda: not ads.connections.open)

    async def test_the_list_is_complete(self, mesh):
        async with ads_server(mesh, synced=False) as ads, pages(ads) as client:
            listed = await client.page("/debug")
            assert await client.page("/debug/list") == listed
            for path in listed:
                assert (await client.status(path))[0] in {200, 400}
            assert (await client.page("/debug/push_status"))["push"] is None
            assert (await client.page("/version"))["id"] == "pilot-1"
            assert (await client.page("/ready"))["ready"]
