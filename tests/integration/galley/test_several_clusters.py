"""Clusters by Secrets, and several Galleys on one store (galley-and-kubernetes.md D3, G15)."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.keys import REGISTRY, REGISTRY_CLUSTERS, cluster_key
from mast.common.kubernetes import Api
from mast.common.kubernetes import connect as connect_kubernetes
from mast.common.kubernetes.objects import NAMESPACES, SECRETS
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.remote_clusters import Status
from mast.galley.store.clusters import Clusters
from mast.galley.store.registry import SERVICES
from mastapi.registry.v1.registry_pb2 import RemoteCluster
from tests.fakes.kubernetes.callers import ADMIN
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.etcd_server import EtcdServer
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYSTEM = "istio-system"
MERGE = "application/merge-patch+json"


def key(name: str, cluster: str) -> str:
    return f"registry/services/shop/{name}.shop.svc.cluster.local/{cluster}"


@dataclass
class Site:
    """The mesh's own cluster, two others, and a store."""

    own: Cluster
    east: Cluster
    west: Cluster
    store: Store
    duties: list[str] = field(default_factory=list)

    def tell(self, secret: str, **kubeconfigs: str) -> None:
        """A Secret that says how clusters are reached."""
        data = {
            name: base64.b64encode(text.encode()).decode() for name, text in kubeconfigs.items()
        }
        if (SECRETS, SYSTEM, secret) in self.own.objects.stored:
            self.own.objects.patch(SECRETS, SYSTEM, secret, {"data": data}, MERGE)
            return
        metadata = {"name": secret, "labels": {"istio/multiCluster": "true"}}
        self.own.objects.create(SECRETS, SYSTEM, {"metadata": metadata, "data": data})

    async def entries(self) -> Mapping[str, int]:
        """At which revision of the store each entry of the registry was written."""
        found = (await self.store.list(REGISTRY)).entries
        return {each.key: each.mod_revision for each in found if REGISTRY_CLUSTERS not in each.key}

    async def until_keys(self, *keys: str) -> None:
        async def agree() -> bool:
            return set(await self.entries()) == set(keys)

        await until(agree)

    @asynccontextmanager
    async def galley(self, identity: str = "one", **how: Any) -> AsyncIterator[Clusters]:
        """What one Galley of a cluster does, until the end of the block."""
        cluster = how.get("cluster", "Kubernetes")
        timeout = how.get("timeout", timedelta(minutes=10))
        clusters = Clusters(
            self.store,
            own=Settings(cluster),
            identity=identity,
            timeout=timeout,
            duties=self._duty,
            random=lambda: 0.0,
        )
        reached = how.get("reached", self.own)
        async with connect_kubernetes(reached.access()) as api, asyncio.TaskGroup() as tasks:
            running = tasks.create_task(clusters.run(api))
            try:
                yield clusters
            finally:
                running.cancel()

    async def _duty(self, cluster: str, _: Api) -> None:
        self.duties.append(cluster)


def offer(cluster: Cluster, *names: str) -> None:
    for name in names:
        spec = {"clusterIP": "10.0.0.9", "ports": [{"port": 80}]}
        cluster.objects.create(SERVICES, "shop", {"metadata": {"name": name}, "spec": spec})


def statuses(clusters: Clusters) -> dict[str, Status]:
    return {each.cluster: each for each in clusters.statuses.value}


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared_etcd: EtcdServer) -> AsyncIterator[Site]:
    root = f"/{secrets.token_hex(8)}"
    async with AsyncExitStack() as running:
        servers = [await running.enter_async_context(api_server()) for _ in range(3)]
        config = EtcdConfig(endpoints=(shared_etcd.endpoint,), root=root)
        store = await running.enter_async_context(connect(config))
        for each in servers:
            each.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        servers[0].objects.create(NAMESPACES, "", {"metadata": {"name": SYSTEM}})
        yield Site(*servers, store)


async def test_clusters_come_and_go_with_their_secrets(site: Site) -> None:
    offer(site.own, "web")
    offer(site.east, "web")
    offer(site.west, "db")
    async with site.galley() as clusters:
        await site.until_keys(key("web", "Kubernetes"))
        site.tell("both", east=site.east.kubeconfig(), west=site.west.kubeconfig())
        await site.until_keys(key("web", "Kubernetes"), key("web", "east"), key("db", "west"))
        assert {each[:3] for each in clusters.statuses.value} == {
            ("Kubernetes", "", "synced"),
            ("east", "istio-system/both", "synced"),
            ("west", "istio-system/both", "synced"),
        }
        assert sorted(site.duties) == ["east", "west"]
        offer(site.east, "late")
        shared = (key("web", "Kubernetes"), key("web", "east"), key("late", "east"))
        await site.until_keys(*shared, key("db", "west"))
        site.own.objects.patch(SECRETS, SYSTEM, "both", {"data": {"west": None}}, MERGE)
        await site.until_keys(*shared)
        site.own.objects.delete(SECRETS, SYSTEM, "both")
        await site.until_keys(key("web", "Kubernetes"))
        await until(lambda: len(clusters.statuses.value) == 1)
    assert await site.store.get(cluster_key("east")) is None


async def test_a_kubeconfig_is_rotated_without_a_gap(site: Site) -> None:
    """G15: no entry is deleted or written again, and what changes meanwhile is not missed."""
    offer(site.east, "web", "db")
    entries = (key("web", "east"), key("db", "east"))
    site.tell("east", east=site.east.kubeconfig())
    async with site.galley("one"), site.galley("two"):
        await site.until_keys(*entries)
        await until(lambda: len(site.duties) == 2)
        before = await site.entries()
        for number in (1, 2, 3):
            site.east.callers.static[f"token-{number}"] = ADMIN
            site.tell("east", east=site.east.kubeconfig(f"token-{number}"))
            await until(lambda n=number: len(site.duties) == 2 + 2 * n)
        for token in ("admin-token", "token-1", "token-2"):
            site.east.callers.static.pop(token)
        site.east.cut()
        offer(site.east, "late")
        await site.until_keys(*entries, key("late", "east"))
        after = await site.entries()
        assert {each: after[each] for each in before} == before


async def test_what_a_rotation_brings_cannot_make_worse(site: Site) -> None:
    """A kubeconfig that is no good leaves the one before in force."""
    offer(site.east, "web")
    site.tell("east", east=site.east.kubeconfig())
    async with site.galley() as clusters:
        await site.until_keys(key("web", "east"))
        site.tell("east", east="users: {")
        await until(lambda: "no YAML" in statuses(clusters)["east"].detail)
        site.tell("east", east=site.east.kubeconfig("stolen"))
        await until(lambda: "401" in statuses(clusters)["east"].detail)
        offer(site.east, "db")
        await site.until_keys(key("web", "east"), key("db", "east"))
        assert statuses(clusters)["east"].sync == "synced"
        site.tell("east", east=site.east.kubeconfig())
        await until(lambda: statuses(clusters)["east"].detail == "")


EXEC = "users: [{name: fake, user: {exec: {command: sh}}}]"


async def test_what_cannot_be_reached_delays_nothing(site: Site) -> None:
    offer(site.own, "web")
    offer(site.west, "db")
    forbidden = site.east.kubeconfig().replace("token:", "tokenFile:")
    site.tell(
        "a", east=site.east.kubeconfig("stolen"), files=forbidden, west=site.west.kubeconfig()
    )
    site.tell("b", Kubernetes=site.west.kubeconfig(), west=site.east.kubeconfig())
    async with site.galley(timeout=timedelta(milliseconds=300)) as clusters:
        await site.until_keys(key("web", "Kubernetes"), key("db", "west"))
        await until(lambda: clusters.settled and clusters.synced)
        expected = {
            ("Kubernetes", "", "synced"): "",
            ("Kubernetes", "istio-system/b", "ignored"): "own cluster",
            ("east", "istio-system/a", "timeout"): "401",
            ("files", "istio-system/a", "invalid"): "tokenFile",
            ("west", "istio-system/a", "synced"): "",
            ("west", "istio-system/b", "ignored"): "istio-system/a has the same id",
        }

        def told() -> bool:
            found = {each[:3]: each.detail for each in clusters.statuses.value}
            same = found.keys() == expected.keys()
            return same and all(expected[each] in found[each] for each in expected)

        await until(told)
        site.east.callers.static["stolen"] = ADMIN
        offer(site.east, "late")
        await site.until_keys(key("web", "Kubernetes"), key("db", "west"), key("late", "east"))
        await until(lambda: statuses(clusters)["east"].sync == "synced")
        site.own.objects.delete(SECRETS, SYSTEM, "a")
        await site.until_keys(key("web", "Kubernetes"), key("late", "west"))


async def test_a_cluster_that_left_while_no_galley_ran_is_forgotten(site: Site) -> None:
    offer(site.own, "web")
    offer(site.east, "web")
    site.tell("east", east=site.east.kubeconfig())
    async with site.galley():
        await site.until_keys(key("web", "Kubernetes"), key("web", "east"))
    site.own.objects.delete(SECRETS, SYSTEM, "east")
    async with site.galley():
        await site.until_keys(key("web", "Kubernetes"))


async def test_galleys_of_two_clusters_share_a_store(site: Site) -> None:
    """Each writes its own; of two with one cluster one does, and the other takes over."""
    offer(site.own, "web")
    offer(site.east, "web")
    both = (key("web", "Kubernetes"), key("web", "east"))
    async with (
        site.galley("one"),
        site.galley("three", cluster="east", reached=site.east),
        site.galley("four", cluster="east", reached=site.east),
    ):
        async with site.galley("two"):
            await site.until_keys(*both)
            before = await site.entries()
        site.tell("east", east=site.east.kubeconfig())
        await until(lambda: site.duties == ["east"])
        site.own.objects.delete(SECRETS, SYSTEM, "east")
        offer(site.own, "late")
        offer(site.east, "late")
        await site.until_keys(*both, key("late", "Kubernetes"), key("late", "east"))
        after = await site.entries()
        assert {each: after[each] for each in both} == before
        found = await site.store.get(cluster_key("east"))
        assert found is not None
        assert RemoteCluster.FromString(found.value).kept_by == "east"
