"""Configuration out of an API server: G1 and A2 of galley-and-kubernetes.md, with a real etcd."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from mast.common.etcd import EtcdConfig, Store, connect
from mast.common.keys import CONFIG, SECRETS
from mast.common.kubernetes import connect as connect_kubernetes
from mast.common.kubernetes.objects import CONFIG_MAPS, NAMESPACES, Object, Resource
from mast.common.kubernetes.objects import SECRETS as SECRET_OBJECTS
from mast.galley.core.cluster import source_of
from mast.galley.core.discovery.settings import CLUSTER
from mast.galley.core.objects import Defaults, read_json
from mast.galley.core.references import CONFIG_MAP
from mast.galley.core.resources import Stored, stored
from mast.galley.kubernetes.leading import Leading
from mast.galley.store.configs import Configs
from mast.galley.store.kubernetes import KubernetesSource
from tests.fakes.kubernetes.objects import CRDS
from tests.fakes.kubernetes.server import Cluster, api_server
from tests.support.custom_resources import definitions
from tests.support.etcd_server import EtcdServer
from tests.support.pki import Ca
from tests.support.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

RULES = Resource("networking.istio.io", "v1", "destinationrules", "DestinationRule")
MERGE = "application/merge-patch+json"
KEY = bytes(32)
MESH = "istio/mesh/v1alpha1/MeshConfig/istio-system/default"


@dataclass
class Site:
    """A cluster, and a store that a source keeps equal to it."""

    cluster: Cluster
    store: Store
    configs: Configs
    sources: list[KubernetesSource] = field(default_factory=list)
    reported: tuple[int, int] = (0, 0)

    def define(self, name: str = "networking.istio.io/DestinationRule") -> None:
        self.cluster.objects.create(CRDS, "", dict(definitions()[name]))

    def create(self, name: str, host: str = "a.com", **metadata: Any) -> None:
        self.create_of(name, {"host": host}, **metadata)

    def create_of(self, name: str, spec: Object, **metadata: Any) -> None:
        body = {"metadata": {"name": name, **metadata}, "spec": spec}
        self.cluster.objects.create(RULES, "shop", body)

    def change(self, name: str, host: str) -> None:
        self.cluster.objects.patch(RULES, "shop", name, {"spec": {"host": host}}, MERGE)

    async def stored(self) -> dict[str, Stored]:
        """Everything, by key without the prefix."""
        found = {}
        for prefix in (CONFIG, SECRETS):
            for each in (await self.store.list(prefix)).entries:
                item = stored(each.key, each.value, each.mod_revision)
                found[each.key.removeprefix(CONFIG)] = item
        return found

    async def rules(self) -> dict[str, str]:
        """Hosts of the DestinationRules, by name."""
        found = {}
        for item in (await self.stored()).values():
            if item.kind.name == "DestinationRule":
                found[item.key.name] = host_of(item)
        return found

    async def until_rules(self, **hosts: str) -> None:
        async def agree() -> bool:
            return await self.rules() == hosts

        await until(agree)

    async def until_stored(self, key: str, *, there: bool = True) -> None:
        async def holds() -> bool:
            return (key in await self.stored()) is there

        await until(holds)

    @asynccontextmanager
    async def source(
        self, identity: str = "one", revision: str = "default", cluster: str = CLUSTER
    ) -> AsyncIterator[KubernetesSource]:
        """One more replica, stopped with the block."""

        def report(_: str, objects: int, errors: int) -> None:
            self.reported = objects, errors

        source = KubernetesSource(
            self.configs,
            namespace="istio-system",
            revision=revision,
            defaults=Defaults(),
            report=report,
            random=lambda: 0.0,
            source=source_of(cluster),
        )
        async with (
            connect_kubernetes(self.cluster.access()) as api,
            asyncio.TaskGroup() as tasks,
        ):
            leading = Leading(self.configs.store, identity, revision, cluster)
            running = tasks.create_task(source.run(api, leading.run))
            try:
                yield source
            finally:
                running.cancel()


def host_of(item: Stored) -> str:
    message = item.kind.message()
    item.resource.body.Unpack(message)
    return str(getattr(message, "host"))  # noqa: B009


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared_etcd: EtcdServer) -> AsyncIterator[Site]:
    root = f"/{secrets.token_hex(8)}"
    async with (
        api_server() as cluster,
        connect(EtcdConfig(endpoints=(shared_etcd.endpoint,), root=root)) as store,
    ):
        for namespace in ("istio-system", "shop"):
            cluster.objects.create(NAMESPACES, "", {"metadata": {"name": namespace}})
        yield Site(cluster, store, Configs(store, lambda: datetime.now(tz=UTC), 300, KEY))  # noqa: TID251


async def test_the_life_of_objects(site: Site) -> None:
    site.define()
    site.create("x")
    async with site.source() as source:
        await until(lambda: source.synced)
        await site.until_rules(x="a.com")
        site.create("y")
        site.change("x", "b.com")
        await site.until_rules(x="b.com", y="a.com")
        (item,) = (i for i in (await site.stored()).values() if i.key.name == "x")
        made = site.cluster.objects.get(RULES, "shop", "x")["metadata"]["creationTimestamp"]
        assert item.resource.metadata.create_time.ToJsonString() == made
        site.cluster.objects.delete(RULES, "shop", "x")
        await site.until_rules(y="a.com")
        assert "k8s/core/v1/namespaces/-/shop" in await site.stored()


async def test_an_invalid_object_keeps_what_was_and_delays_nothing(site: Site) -> None:
    site.define()
    site.create("x")
    async with site.source():
        await site.until_rules(x="a.com")
        site.change("x", "")
        site.create("y")
        await site.until_rules(x="a.com", y="a.com")
        assert site.reported[1] > 0
    async with site.source():
        site.create("z")
        await site.until_rules(x="a.com", y="a.com", z="a.com")
        site.cluster.objects.delete(RULES, "shop", "x")
        await site.until_rules(y="a.com", z="a.com")


async def test_what_the_store_does_not_take_keeps_nothing_else_away(site: Site) -> None:
    """etcd takes 1.5 MiB at once, an API server a bit more; and it takes any depth."""
    site.define()
    site.create("a")
    names = ["x" * 1000] * 1700
    tls = {"mode": "SIMPLE", "subjectAltNames": names}
    site.create_of("large", {"host": "a.com", "trafficPolicy": {"tls": tls}})
    deep: Any = "bottom"
    for _ in range(150):
        deep = [deep]
    site.create("deep", annotations={"a": "b"})
    site.cluster.objects.stored[RULES, "shop", "deep"]["spec"]["more"] = deep
    site.create("z")
    async with site.source() as source:
        await until(lambda: source.synced)
        await site.until_rules(a="a.com", z="a.com")
        assert site.reported[1] > 0


async def test_kinds_come_and_go_with_their_definitions(site: Site) -> None:
    async with site.source() as source:
        await until(lambda: source.synced)
        site.define()
        site.create("x")
        await site.until_rules(x="a.com")
        site.cluster.objects.delete(CRDS, "", "destinationrules.networking.istio.io")
        await site.until_rules()
        site.define()
        site.create("y")
        await site.until_rules(y="a.com")


async def test_a_lost_history_and_cut_streams_lose_nothing(site: Site) -> None:
    site.define()
    site.create("x")
    site.create("gone")
    async with site.source():
        await site.until_rules(x="a.com", gone="a.com")
        site.cluster.answering.clear()
        site.cluster.cut()
        site.cluster.objects.delete(RULES, "shop", "gone")
        site.create("y")
        site.cluster.objects.compact()
        site.cluster.answering.set()
        await site.until_rules(x="a.com", y="a.com")


async def test_a_restart_writes_nothing_that_is_the_same(site: Site) -> None:
    site.define()
    for name in ("same", "changed", "gone"):
        site.create(name)
    async with site.source() as source:
        await until(lambda: source.synced)
        await site.until_rules(same="a.com", changed="a.com", gone="a.com")
    before = await site.stored()
    site.change("changed", "b.com")
    site.cluster.objects.delete(RULES, "shop", "gone")
    async with site.source():
        await site.until_rules(same="a.com", changed="b.com")
    after = await site.stored()
    moved = {item.key.name for key, item in after.items() if item.revision != before[key].revision}
    assert moved == {"changed"}


async def test_one_of_two_writes_and_the_other_takes_over(site: Site) -> None:
    site.define()
    async with site.source("two") as second:
        async with site.source("one") as first:
            await until(lambda: first.synced and second.synced)
            site.create("x")
            await site.until_rules(x="a.com")
        site.create("y")
        await site.until_rules(x="a.com", y="a.com")
    changes = [item.generation for item in (await site.stored()).values()]
    assert set(changes) == {1}


def a_rule(name: str, host: str, **annotations: str) -> Any:
    content: Object = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {"host": host},
    }
    return read_json(content, "test", Defaults()).objects


async def test_clusters_that_share_a_store_do_not_fight(site: Site) -> None:
    """Of an object that both have the first counts, until it is gone there."""
    site.define()
    site.create("x")
    async with api_server() as east, site.source():
        await site.until_rules(x="a.com")
        other = replace(site, cluster=east)
        east.objects.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        other.define()
        other.create("x")
        other.create("y")
        other.change("x", "b.com")
        async with other.source("two", cluster="east") as source:
            await until(lambda: source.synced)
            await site.until_rules(x="a.com", y="a.com")
            site.change("x", "c.com")
            await site.until_rules(x="c.com", y="a.com")
            site.cluster.objects.delete(RULES, "shop", "x")
            await site.until_rules(x="b.com", y="a.com")
        site.create("z")
        await site.until_rules(x="b.com", y="a.com", z="a.com")


async def test_other_writers(site: Site) -> None:
    """Another source's objects stay its own, anything else of the cluster is put right."""
    site.define()
    await site.configs.apply(a_rule("files", "f.com", **{"mast.io/source": "files"}))
    await site.configs.apply(a_rule("free", "f.com"))
    await site.configs.apply(a_rule("mine", "f.com"))
    for name in ("files", "mine"):
        site.create(name)
    async with site.source():
        await site.until_rules(files="f.com", free="f.com", mine="a.com")
        await site.configs.apply(a_rule("mine", "meddled.com"))
        await site.until_rules(files="f.com", free="f.com", mine="a.com")
        mine = {i.key.name: str(i.key) for i in (await site.stored()).values()}
        await site.store.delete(mine["mine"])
        await site.until_rules(files="f.com", free="f.com", mine="a.com")
        await site.store.delete(mine["files"])
        await site.until_rules(files="a.com", free="f.com", mine="a.com")


async def test_settings_of_the_mesh_say_which_namespaces_are_seen(site: Site) -> None:
    site.define()
    site.create("x")
    site.create("other", labels={"istio.io/rev": "canary"})
    selecting = "discoverySelectors: [{matchLabels: {mesh: mast}}]"
    body = {"metadata": {"name": "istio"}, "data": {"mesh": selecting}}
    site.cluster.objects.create(CONFIG_MAPS, "istio-system", body)
    async with site.source():
        await site.until_stored(MESH)
        await site.until_rules()
        labels = {"metadata": {"labels": {"mesh": "mast"}}}
        site.cluster.objects.patch(NAMESPACES, "", "shop", labels, MERGE)
        await site.until_rules(x="a.com")
        site.cluster.objects.patch(
            CONFIG_MAPS, "istio-system", "istio", {"data": {"mesh": "{}"}}, MERGE
        )
        labels = {"metadata": {"labels": {"mesh": None}}}
        site.cluster.objects.patch(NAMESPACES, "", "shop", labels, MERGE)
        site.create("y")
        await site.until_rules(x="a.com", y="a.com")
    async with site.source("canary", revision="canary"):
        await site.until_rules(x="a.com", y="a.com", other="a.com")
        await site.until_stored(MESH, there=False)


async def test_secrets_that_are_referred_to_are_sealed_and_others_stay(site: Site) -> None:
    """What gateways name comes, and goes with the last that names it (least privilege)."""
    pair = Ca.root("a").leaf(dns=["a.com"])
    data = {"tls.crt": pair.chain.decode(), "tls.key": pair.key.decode()}
    for name, kind, text in (
        ("gateway", "kubernetes.io/tls", data),
        ("generic", "Opaque", {"cert": data["tls.crt"], "key": data["tls.key"]}),
        ("generic-cacert", "Opaque", {"cacert": data["tls.crt"]}),
        ("unused", "kubernetes.io/tls", data),
        ("password", "Opaque", {"password": "x"}),
        ("token", "kubernetes.io/service-account-token", data),
    ):
        body = {"metadata": {"name": name}, "type": kind, "stringData": text}
        site.cluster.objects.create(SECRET_OBJECTS, "shop", body)

    async def secrets_are(*names: str) -> None:
        async def agree() -> bool:
            found = {key for key in await site.stored() if key.startswith("secrets/")}
            return found == {f"secrets/shop/{name}" for name in names}

        await until(agree)

    site.define()
    for name in ("gateway", "generic", "password", "token"):
        tls = {"mode": "MUTUAL", "credentialName": name}
        site.create_of(name, {"host": "a.com", "trafficPolicy": {"tls": tls}})
    async with site.source() as source:
        await until(lambda: source.synced)
        await secrets_are("gateway", "generic", "generic-cacert")
        found = await site.stored()
        assert pair.key not in found["secrets/shop/gateway"].resource.SerializeToString()
        site.cluster.objects.delete(RULES, "shop", "generic")
        await secrets_are("gateway")
    async with site.source("two"):
        site.cluster.objects.delete(RULES, "shop", "gateway")
        await secrets_are()


async def test_roots_in_config_maps_that_are_referred_to(site: Site) -> None:
    """By whichever source: the ConfigMap comes, changes, and goes with the last that names it."""
    one, two = (Ca.root(name).pem.decode() for name in ("one", "two"))
    for name in ("roots", "unused"):
        body = {"metadata": {"name": name}, "data": {"ca.crt": one}}
        site.cluster.objects.create(CONFIG_MAPS, "shop", body)
    key = f"{CONFIG_MAP.collection}/shop/roots"

    async def holds(text: str) -> None:
        async def agree() -> bool:
            found = (await site.stored()).get(key)
            return found is not None and text.encode() in found.resource.SerializeToString()

        await until(agree)

    tls = {"mode": "SIMPLE", "credentialName": "configmap://roots"}
    policy = {"host": "a.com", "trafficPolicy": {"tls": tls}}
    content = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "applied", "namespace": "shop"},
        "spec": policy,
    }
    (applied,) = read_json(content, "-", Defaults()).objects
    await site.configs.apply([applied])
    async with site.source() as source:
        await until(lambda: source.synced)
        await holds(one)
        site.cluster.objects.patch(CONFIG_MAPS, "shop", "roots", {"data": {"ca.crt": two}}, MERGE)
        await holds(two)
    async with site.source("two"):
        await site.until_stored(key)
        await site.store.delete(applied.key)
        await site.until_stored(key, there=False)
    assert not [each for each in await site.stored() if "unused" in each]
