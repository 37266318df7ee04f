"""Services of an API server in the registry: D1, D2 and G14 of galley-and-kubernetes.md."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import pytest_asyncio
import yaml

from istio.mcp.v1alpha1.resource_pb2 import Resource as StoredResource
from istio.mesh.v1alpha1.config_pb2 import LabelSelector, MeshConfig
from mast.common.etcd import Entry, EtcdConfig, Store, connect
from mast.common.keys import REGISTRY, REGISTRY_CLUSTERS
from mast.common.kubernetes import connect as connect_kubernetes
from mast.common.kubernetes.objects import NAMESPACES, NODES, PODS, Resource
from mast.galley.core.discovery.settings import Settings
from mast.galley.store.registry import ENDPOINT_SLICES, SERVICES, RegistrySource
from mastapi.registry.v1.registry_pb2 import EndpointShard, Service, Workload
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.cluster_yaml import N1, POD, SERVICE, SHARD, SLICE, WEB, WEB_1
from tests.support.etcd_server import EtcdServer
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

MERGE = "application/merge-patch+json"
MESH = "config/istio/mesh/v1alpha1/MeshConfig/istio-system/default"
MACHINE = "registry/workloads/Kubernetes/shop/machine"
KINDS = {each.kind: each for each in (NAMESPACES, NODES, SERVICES, ENDPOINT_SLICES, PODS)}


@dataclass
class Site:
    """A cluster, and a store whose registry sources keep equal to it."""

    cluster: Cluster
    store: Store

    def create(self, *texts: str) -> None:
        for text in texts:
            body = yaml.safe_load(text)
            resource: Resource = KINDS[body["kind"]]
            namespace = "shop" if resource.namespaced else ""
            self.cluster.objects.create(resource, namespace, body)
            if "status" in body:
                status = {"status": body["status"]}
                name = body["metadata"]["name"]
                self.cluster.objects.patch(resource, namespace, name, status, MERGE, "status")

    def delete(self, resource: Resource, name: str) -> None:
        self.cluster.objects.delete(resource, "shop" if resource.namespaced else "", name)

    def patch(self, resource: Resource, name: str, change: object) -> None:
        namespace = "shop" if resource.namespaced else ""
        self.cluster.objects.patch(resource, namespace, name, change, MERGE)

    async def entries(self) -> dict[str, Entry]:
        found = (await self.store.list(REGISTRY)).entries
        return {each.key: each for each in found if not each.key.startswith(REGISTRY_CLUSTERS)}

    async def until_keys(self, *keys: str) -> None:
        async def agree() -> bool:
            return set(await self.entries()) == set(keys)

        await until(agree)

    async def shard(self) -> EndpointShard:
        entry = await self.store.get(SHARD)
        return EndpointShard.FromString(entry.value) if entry else EndpointShard()

    @asynccontextmanager
    async def source(self, identity: str = "one") -> AsyncIterator[RegistrySource]:
        """One more replica, stopped with the block."""
        source = RegistrySource(
            self.store, identity=identity, settings=Settings(), random=lambda: 0.0
        )
        async with (
            connect_kubernetes(self.cluster.access()) as api,
            asyncio.TaskGroup() as tasks,
        ):
            running = tasks.create_task(source.run(api))
            try:
                yield source
            finally:
                running.cancel()


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared_etcd: EtcdServer) -> AsyncIterator[Site]:
    root = f"/{secrets.token_hex(8)}"
    async with (
        api_server() as cluster,
        connect(EtcdConfig(endpoints=(shared_etcd.endpoint,), root=root)) as store,
    ):
        cluster.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        yield Site(cluster, store)


async def test_the_life_of_a_service(site: Site) -> None:
    site.create(WEB, SLICE)
    async with site.source() as source:
        await until(lambda: source.synced)
        await site.until_keys(SERVICE)
        site.create(N1, WEB_1)
        await site.until_keys(SERVICE, SHARD, POD)
        (endpoint,) = (await site.shard()).endpoints
        assert (endpoint.service_account, endpoint.locality) == ("seller", "eu/eu-1")
        site.patch(NODES, "n1", {"metadata": {"labels": {"topology.istio.io/subzone": "r"}}})

        async def moved() -> bool:
            return [each.locality for each in (await site.shard()).endpoints] == ["eu/eu-1/r"]

        await until(moved)
        site.delete(PODS, "web-1")
        await site.until_keys(SERVICE)
        site.delete(SERVICES, "web")
        await site.until_keys()


async def test_a_restart_writes_differences_only(site: Site) -> None:
    site.create(WEB, SLICE, WEB_1, N1)
    machine = Workload(name="machine", cluster="Kubernetes", registration_group="machines")
    foreign = Service(host="db.example.com", namespace="shop", registry="External")
    await site.store.put(MACHINE, machine.SerializeToString())
    await site.store.put("registry/services/shop/db.example.com", foreign.SerializeToString())
    others = (MACHINE, "registry/services/shop/db.example.com")
    async with site.source():
        await site.until_keys(SERVICE, SHARD, POD, *others)
    before = await site.entries()
    left = {key: key.replace("web", "gone") for key in (SERVICE, SHARD, POD)}
    for key, stale in left.items():
        await site.store.put(stale, before[key].value)
    async with site.source("two") as source:
        await until(lambda: source.synced)
        await site.until_keys(SERVICE, SHARD, POD, *others)
    after = await site.entries()
    assert {key: each.version for key, each in after.items()} == dict.fromkeys(after, 1)


async def test_a_broken_object_keeps_what_was_and_delays_nothing(site: Site) -> None:
    site.create(WEB)
    async with site.source():
        await site.until_keys(SERVICE)
        site.patch(SERVICES, "web", {"spec": {"clusterIP": "nowhere", "clusterIPs": None}})
        site.create(WEB_1)
        await site.until_keys(SERVICE, POD)
        entry = await site.store.get(SERVICE)
        assert entry is not None
        assert list(Service.FromString(entry.value).addresses) == ["10.0.0.9"]


async def test_settings_of_the_mesh_say_which_namespaces_are_seen(site: Site) -> None:
    site.create(WEB)
    settings = MeshConfig(discovery_selectors=[LabelSelector(matchLabels={"mesh": "yes"})])
    stored = StoredResource()
    stored.body.Pack(settings)
    async with site.source():
        await site.until_keys(SERVICE)
        await site.store.put(MESH, stored.SerializeToString())
        await site.until_keys()
        site.patch(NAMESPACES, "shop", {"metadata": {"labels": {"mesh": "yes"}}})
        await site.until_keys(SERVICE)


async def test_a_gateway_that_has_a_name_is_reached_by_its_addresses(site: Site) -> None:
    gate = WEB.replace("namespace: shop", "namespace: shop, labels: {topology.istio.io/network: n}")
    gate = gate.replace("spec: {", "spec: {type: LoadBalancer, ")
    site.create(gate + "status: {loadBalancer: {ingress: [{hostname: localhost}]}}")
    async with site.source():

        async def resolved() -> bool:
            entry = await site.store.get(SERVICE)
            return entry is not None and "127.0.0.1" in list(
                Service.FromString(entry.value).external_addresses
            )

        await until(resolved)


async def test_one_of_two_writes_and_the_other_takes_over(site: Site) -> None:
    site.create(WEB)
    async with site.source("two") as second:
        async with site.source("one"):
            await site.until_keys(SERVICE)
        site.create(WEB_1)
        await site.until_keys(SERVICE, POD)
        assert second.synced
    assert (await site.entries())[SERVICE].version == 1
