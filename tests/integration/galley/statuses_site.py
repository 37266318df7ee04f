"""A cluster and a store with Galleys that write statuses, and objects that have some."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from mast.common.etcd import Entry, Store
from mast.common.keys import STATUS_GATEWAYS, config_key, gateway_status_key, leader_key
from mast.common.kinds import BY_GROUP_KIND
from mast.common.kubernetes import connect as connect_kubernetes
from mast.common.kubernetes.objects import Object, Resource
from mast.common.process.telemetry import Metrics
from mast.galley.config import Config
from mast.galley.core.objects import Defaults
from mast.galley.kubernetes.leading import Leading
from mast.galley.kubernetes.metrics import KubernetesMetrics
from mast.galley.status_jobs import write_statuses
from mast.galley.store.configs import Configs
from mast.galley.store.kubernetes import KubernetesSource
from mastapi.status.v1.status_pb2 import ObjectStatus
from tests.fakes.kubernetes.server import Cluster
from tests.support.until import until


def now() -> datetime:
    return datetime.now(tz=UTC)  # noqa: TID251


@dataclass
class Site:
    """A cluster, a store, and Galleys without the rest of them."""

    cluster: Cluster
    store: Store
    metrics: Metrics
    etcd: str
    root: str

    def create(self, resource: Resource, name: str, **content: Any) -> None:
        namespace = "shop" if resource.namespaced else ""
        self.cluster.objects.create(resource, namespace, {"metadata": {"name": name}, **content})

    def get(self, resource: Resource, name: str) -> Object:
        return self.cluster.objects.get(resource, "shop" if resource.namespaced else "", name)

    def status(self, resource: Resource, name: str) -> Mapping[str, Any]:
        return self.get(resource, name).get("status") or {}

    def writes(self, resource: Resource, name: str) -> int:
        """How often the status of an object was written over the API."""
        path = resource.path("shop", name, "status")
        return self.cluster.asked(f"PATCH {path}")

    async def leader(self, what: str) -> str:
        entry = await self.store.get(leader_key(what))
        return entry.value.decode() if entry else ""

    async def led_by(self, what: str, who: str) -> None:
        async def leads() -> bool:
            return await self.leader(what) == who

        await until(leads)

    async def told(
        self, kind: str, name: str, status: Mapping[str, Any] | None, source: str = "kubernetes"
    ) -> None:
        """What Pilot publishes of an object."""
        known = BY_GROUP_KIND["gateway.networking.k8s.io", kind]
        key = gateway_status_key(known.collection, "shop", name)
        if status is None:
            await self.store.delete(key)
        else:
            told = ObjectStatus(status=json.dumps(status), source=source)
            await self.store.put(key, told.SerializeToString())

    async def fence(self, what: str) -> int:
        """What a leader's writes are guarded by."""
        entry = await self.store.get(leader_key(what))
        assert entry is not None
        return entry.create_revision

    async def is_stored(self, name: str) -> bool:
        """Whether the mesh has a VirtualService."""
        collection = BY_GROUP_KIND["networking.istio.io", "VirtualService"].collection
        return await self.store.get(config_key(collection, "shop", name)) is not None

    async def published(self) -> Sequence[Entry]:
        """Everything that Pilot publishes of Gateway API."""
        return (await self.store.list(STATUS_GATEWAYS)).entries

    @asynccontextmanager
    async def galley(self, identity: str, revision: str = "default") -> AsyncIterator[None]:
        """One more replica, stopped with the block."""
        config = Config(
            enable_analysis=True,
            kubernetes_services=False,
            revision=revision,
            analysis_interval=timedelta(seconds=2),
        )
        source = KubernetesSource(
            Configs(self.store, now, 300, bytes(32)),
            namespace="istio-system",
            revision=revision,
            defaults=Defaults(),
            report=lambda *_: None,
            random=lambda: 0.0,
        )
        leading = Leading(self.store, identity, revision)
        async with (
            connect_kubernetes(self.cluster.access()) as api,
            asyncio.TaskGroup() as tasks,
        ):
            kubernetes = KubernetesMetrics(self.metrics)
            statuses = write_statuses(config, self.store, api, source, leading, kubernetes, now)
            running = [
                tasks.create_task(source.run(api, leading.run)),
                tasks.create_task(leading.follow_tag(api)),
                tasks.create_task(statuses),
            ]
            try:
                yield
            finally:
                for each in running:
                    each.cancel()


def a_route(host: str, name: str = "a.com") -> Object:
    return {"spec": {"hosts": [name], "http": [{"route": [{"destination": {"host": host}}]}]}}


def codes(status: Mapping[str, Any]) -> list[str]:
    return [each["type"]["code"] for each in status.get("validationMessages") or ()]


def reasons(conditions: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
    """By type, with `!` before those of conditions that do not hold."""
    return {
        each["type"]: each["reason"] if each["status"] == "True" else f"!{each['reason']}"
        for each in conditions
    }


def a_definition(resource: Resource) -> Object:
    """Of a kind whose definitions come with Gateway API, not with the mesh."""
    names = {"plural": resource.plural, "kind": resource.kind}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": resource.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    spec = {
        "group": resource.group,
        "names": names,
        "scope": "Namespaced",
        "versions": [version],
    }
    return {"metadata": {"name": f"{resource.plural}.{resource.group}"}, "spec": spec}
