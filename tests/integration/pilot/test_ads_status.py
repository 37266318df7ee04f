"""What operators are told of proxies under `status/proxies/`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from mast.common.etcd import EtcdConfig, Store, connect
from mast.pilot.core.xds.report import Replica
from mast.pilot.store.status import StatusPublisher, locate
from mastapi.status.v1.status_pb2 import ProxyStatus
from tests.support.ads_server import until
from tests.support.etcd_server import etcd_server
from tests.support.tcp_proxy import tcp_proxy

ID = "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local"
KEY = f"status/proxies/{ID}"
REPLICA = Replica("pilot-1", "0.1")


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
                self.publisher(store, ttl=2) as statuses,
            ):
                statuses.changed(KEY, "first", self.saying("a"))
                await until(lambda: self.says(direct, "a"))
                between.cut()
                await until(lambda: self.says(direct, None))
                statuses.changed(KEY, "first", self.saying("b"))
                between.heal()
                await until(lambda: self.says(direct, "b"))
