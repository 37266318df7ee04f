"""Statuses of Ingresses: the addresses of the mesh's gateway (D3, "Leader writes status").

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.common.etcd import Leadership, Store
from mast.common.kubernetes import Api, Change, Object, Resource, labels_of
from mast.galley.core.cluster import REVISION_LABEL, mesh_key, mesh_settings
from mast.galley.core.observed import Observed
from mast.galley.core.status.ingress import is_ours, load_balancer, reached, service_name
from mast.galley.kubernetes.leading import until_failure
from mast.galley.kubernetes.metrics import StatusMetrics
from mast.galley.kubernetes.mirror import Mirror
from mast.galley.kubernetes.statuses import Key, Statuses

_INGRESS: Final = "networking.k8s.io/Ingress"
_CLASS: Final = "networking.k8s.io/IngressClass"
_SERVICES: Final = Resource("", "v1", "services", "Service")


@dataclass
class IngressStatuses:
    """One process does this at a time: whoever leads.

    Ingresses that are not ours (any more) are somebody else's, and left as they are.
    """

    api: Api
    store: Store
    observed: Observed
    namespace: str
    revision: str
    metrics: StatusMetrics
    random: Callable[[], float]
    _mesh: MeshConfig | None = field(default=None, init=False)
    _services: Mirror = field(init=False)

    async def run(self, leadership: Leadership) -> None:
        """Keep the addresses in the statuses of Ingresses, until cancelled. Raises Deposed."""
        self._mesh = None
        writer = Statuses(
            self.api,
            self.store,
            self.observed,
            leadership,
            self._change,
            self.metrics,
            self.random,
        )

        def every() -> None:
            for key in self.observed.names():
                if key[0] == _INGRESS:
                    writer.work.add(key)

        def touched(kind: str, namespace: str, name: str) -> None:
            if kind == _INGRESS:
                writer.work.add((kind, namespace, name))
            elif kind == _CLASS:
                every()

        def moved(change: Change) -> None:
            if self._mesh is not None and change.name == service_name(self._mesh):
                every()

        self._services = Mirror(self.api, _SERVICES, moved, namespace=self.namespace)
        with self.observed.telling(touched):
            await until_failure(
                services=self._services.run(),
                settings=self._follow(every),
                write=writer.run(),
                what=leadership.what,
            )

    async def _follow(self, every: Callable[[], None]) -> None:
        """The settings of the mesh, as they are in force."""
        await self._services.synced.wait()
        async with aclosing(self.store.follow_key(mesh_key(self.namespace))) as batches:
            async for batch in batches:
                for change in batch.changes:
                    self._mesh = mesh_settings(None, change.value or b"")
                self._mesh = self._mesh or MeshConfig()
                every()

    def _change(self, key: Key, found: Object) -> Mapping[str, Any] | None:
        mesh = self._mesh
        if mesh is None or labels_of(found).get(REVISION_LABEL, self.revision) != self.revision:
            return None
        if not is_ours(found, mesh, lambda name: self.observed.get(_CLASS, "", name)):
            return None
        service = self._services.get(self.namespace, service_name(mesh))
        return reached(found.get("status") or {}, load_balancer(service))
