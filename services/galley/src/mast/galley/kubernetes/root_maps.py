"""Keeps the roots of the mesh in a ConfigMap of every namespace (A9).

Section numbers are those of citadel-and-agent.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd import Store
from mast.common.kubernetes import (
    Api,
    ApiFailure,
    Change,
    Conflict,
    Forbidden,
    NotFound,
    Object,
    Unreachable,
)
from mast.common.kubernetes.objects import CONFIG_MAPS, NAMESPACES
from mast.common.latest import Latest
from mast.galley.core.root_maps import (
    LABELS,
    MapNames,
    Trust,
    changed_map,
    is_served,
    new_map,
    says,
    wanted_maps,
)
from mast.galley.kubernetes.mirror import Mirror
from mast.galley.kubernetes.trust import follow_trust
from mast.galley.kubernetes.work import Work

log = structlog.get_logger()

ATTEMPTS = 5


@dataclass
class RootMaps:
    """One process of the mesh does this at a time: whoever leads."""

    api: Api
    store: Store
    trust_domain: str
    names: MapNames
    random: Callable[[], float]
    _trust: Latest[Trust | None] = field(default_factory=lambda: Latest(None), init=False)

    async def run(self) -> None:
        """Keep the maps of all namespaces as they should be, for ever."""
        work = Work("root_maps", self._keep, (ApiFailure,), self.random)
        self._namespaces = Mirror(self.api, NAMESPACES, lambda change: work.add(change.name))
        self._maps = {
            name: Mirror(self.api, CONFIG_MAPS, _adding(work), fields=f"metadata.name={name}")
            for name in self.names.all
        }

        def everywhere() -> None:
            for namespace in self._namespaces:
                work.add(namespace["metadata"]["name"])

        async with asyncio.TaskGroup() as tasks:
            for mirror in (self._namespaces, *self._maps.values()):
                tasks.create_task(mirror.run(), name="root maps mirror")
            following = follow_trust(self.store, self.trust_domain, self._trust, everywhere)
            tasks.create_task(following, name="root maps trust")
            for mirror in (self._namespaces, *self._maps.values()):
                await mirror.synced.wait()
            tasks.create_task(work.run(), name="root maps work")

    async def _keep(self, name: str) -> None:
        """Make the maps of a namespace say what they must."""
        namespace, trust = self._namespaces.get("", name), self._trust.value
        if namespace is None or trust is None or not is_served(namespace):
            return
        for each, data in wanted_maps(name, trust, self.names).items():
            try:
                await self._patiently(name, each, data)
            except Forbidden as error:
                log.info("root_maps.forbidden", namespace=name, map=each, error=error.message)
                return

    async def _patiently(self, namespace: str, name: str, data: Mapping[str, str]) -> None:
        """A few attempts within a moment; what fails them all is for later."""
        backoff = Backoff(timedelta(milliseconds=5), timedelta(milliseconds=80))
        found = self._maps[name].get(namespace, name)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._write(namespace, name, data, found)
            except (Conflict, NotFound, Unreachable):
                if attempt == ATTEMPTS or await self._is_gone(namespace):
                    raise
                await asyncio.sleep(backoff.next(self.random()).total_seconds())
                found = await self._read(namespace, name)
            else:
                return

    async def _write(
        self, namespace: str, name: str, data: Mapping[str, str], found: Object | None
    ) -> None:
        if not data:
            if (
                found is not None
                and LABELS.items() <= (found["metadata"].get("labels") or {}).items()
            ):
                await self.api.delete(CONFIG_MAPS, name, namespace, uid=found["metadata"]["uid"])
                log.info("root_maps.removed", namespace=namespace, map=name)
        elif found is None:
            await self.api.create(CONFIG_MAPS, new_map(namespace, name, data))
            log.info("root_maps.created", namespace=namespace, map=name)
        elif not says(found, data):
            await self.api.update(CONFIG_MAPS, changed_map(found, data))
            log.info("root_maps.updated", namespace=namespace, map=name)

    async def _read(self, namespace: str, name: str) -> Object | None:
        try:
            return await self.api.get(CONFIG_MAPS, name, namespace)
        except NotFound:
            return None

    async def _is_gone(self, namespace: str) -> bool:
        """Whether what fails fails because there is no such namespace any more."""
        return self._namespaces.get("", namespace) is None


def _adding(work: Work[str]) -> Callable[[Change], None]:
    return lambda change: work.add(change.namespace)
