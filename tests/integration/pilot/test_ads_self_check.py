"""What Pilot holds is compared with etcd now and then, and repaired (pilot.md N6)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from mast.common import keys
from mast.common.etcd import EtcdConfig, Store, connect
from mast.pilot.core.world.world import World
from mast.pilot.store.follow import Mirror, News
from mast.pilot.store.self_check import Correction, SelfCheck
from tests.support.ads_server import MachineClock, until
from tests.support.etcd_server import etcd_server
from tests.support.mesh_yaml import changes


def service(name: str, port: int = 80) -> str:
    return f"""
{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}}},
 spec: {{hosts: [{name}.test], resolution: STATIC,
        ports: [{{number: {port}, name: http, protocol: HTTP}}]}}}}
"""


class Running:
    """A world that follows etcd, and what was made of it last."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.world = World()
        self.news: list[News] = []
        self.repaired: list[int] = []
        self.checks = 0
        self.mirror = Mirror(
            store, self.world, self.work, MachineClock(), self.publish, lambda kind, number: None
        )
        self.check = SelfCheck(
            store,
            self.world,
            self.work,
            self.mirror,
            lambda: 0.5,
            self.checked,
            self.repaired.append,
            every=timedelta(seconds=0.05),
            grace=timedelta(seconds=0.2),
        )

    async def work(self, task: Any, /) -> Any:
        return task()

    async def publish(self, news: News) -> None:
        self.news.append(news)

    def checked(self) -> None:
        self.checks += 1

    @property
    def hosts(self) -> dict[str, list[int]]:
        """Ports of services by host."""
        if not self.news:
            return {}
        return {
            host: [port.number for each in found for port in each.ports]
            for host, found in self.news[-1].snapshot.index.services.items()
        }


@pytest.fixture
async def store(tmp_path) -> AsyncIterator[Store]:
    async with (
        etcd_server(tmp_path) as etcd,
        connect(EtcdConfig(endpoints=(etcd.endpoint,))) as connected,
    ):
        yield connected


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[Running]:
    """Following three services."""
    for each in changes(service("a"), service("b"), service("c")):
        await store.put(each.key, each.value)
    made = Running(store)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(made.mirror.run())
        await until(lambda: made.hosts.keys() == {"a.test", "b.test", "c.test"})
        yield made
        following.cancel()


def key(name: str) -> str:
    (change,) = changes(service(name))
    return change.key


async def test_nothing_differs(store):
    async with running(store) as made:
        assert await made.check.check() == 0
        assert made.repaired == [0]


async def test_every_difference_is_repaired_and_counted(store):
    """A value that went missing, one that is old, one that should be gone."""
    async with running(store) as made:
        (old, extra) = changes(service("b", 81), service("x"))
        made.world.apply([Correction(key("a"), None), Correction(old.key, old.value), extra])
        assert await made.check.check() == 3
        await until(lambda: made.hosts == {f"{each}.test": [80] for each in "abc"})
        assert await made.check.check() == 0


async def test_what_is_on_its_way_is_no_difference(store):
    """The follower tells it while the check waits."""
    async with running(store) as made:
        missing = await store.get(key("a"))
        made.world.apply([Correction(key("a"), None)])
        async with asyncio.TaskGroup() as tasks:
            checking = tasks.create_task(made.check.check())
            await asyncio.sleep(0)
            made.world.apply([Correction(key("a"), missing.value)])
        assert checking.result() == 0


async def test_a_value_that_is_kept_out_is_no_difference(store):
    async with running(store) as made:
        await store.put(key("a"), b"\xff")
        await until(lambda: key("a") in made.world.rejected)
        assert await made.check.check() == 0


async def test_it_is_done_again_and_again(store):
    async with running(store) as made, asyncio.TaskGroup() as tasks:
        checking = tasks.create_task(made.check.run())
        await until(lambda: made.checks >= 2)
        made.world.apply([Correction(key("a"), None)])
        await until(lambda: sum(made.repaired) == 1)
        await until(lambda: made.news[-1].kinds == {"config"})
        checking.cancel()


async def test_pages_are_of_one_revision(store):
    async with running(store):
        pages = store.pages(keys.CONFIG, 2)
        first = await anext(pages)
        await store.put(key("d"), b"later")
        second = await anext(pages)
        assert [len(each.entries) for each in (first, second)] == [2, 1]
        assert first.revision == second.revision
        with pytest.raises(StopAsyncIteration):
            await anext(pages)
