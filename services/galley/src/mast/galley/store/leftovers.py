"""What the registry has of clusters that nobody tells of any more, taken away (D3).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from typing import Final

import structlog

from mast.common.backoff import Backoff
from mast.common.etcd import Delete, EtcdError, Leadership, Store
from mast.common.keys import REGISTRY_CLUSTERS, cluster_key
from mast.galley.core.discovery.ownership import PREFIXES, is_of_cluster, keeper
from mast.galley.core.plan import Aborted
from mast.galley.store.registry import LEADER_TTL, leader_of

log = structlog.get_logger()

_BATCH: Final = 100


class Leftovers:
    """Clusters that were read for the cluster ``own`` and are not wanted any more are forgotten.

    Also those that went while no Galley ran: the registry says whose they were. One of the replicas
    does that; before it deletes it leads the cluster itself, so that nobody else writes.
    """

    def __init__(self, store: Store, own: str, identity: str, random: Callable[[], float]) -> None:
        self._store = store
        self._own = own
        self._identity = identity
        self._random = random
        self._wanted: frozenset[str] = frozenset()
        self._kept: set[str] = set()
        self._changed = asyncio.Event()

    def publish(self, wanted: frozenset[str]) -> None:
        """These clusters are read."""
        self._wanted = wanted
        self._changed.set()

    async def run(self) -> None:
        """Forget what is to be forgotten, for ever; what is wanted must be known by now."""
        backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=10))
        what = f"galley-remote-clusters-{self._own}"
        while True:
            try:
                await self._store.lead(what, self._identity, self._lead, LEADER_TTL)
            except EtcdError as error:
                log.warning("leftovers.waiting", error=str(error))
            except Aborted as error:
                log.info("leftovers.deposed", detail=str(error))
            await asyncio.sleep(backoff.next(self._random()).total_seconds())

    async def _lead(self, _: Leadership) -> None:
        self._kept.clear()
        with self._store.background(self._follow(), "clusters that are kept"):
            while True:
                self._changed.clear()
                await self._until_changed(self._kept - self._wanted)

    async def _follow(self) -> None:
        """Which clusters are kept; a replica that is late may begin with one that is gone."""
        async with aclosing(self._store.follow(REGISTRY_CLUSTERS)) as batches:
            async for batch in batches:
                for change in batch.changes:
                    cluster = change.key.removeprefix(REGISTRY_CLUSTERS)
                    self._kept.discard(cluster)
                    if change.value and keeper(change.value) == self._own != cluster:
                        self._kept.add(cluster)
                self._changed.set()

    async def _until_changed(self, gone: set[str]) -> None:
        """Forget clusters, until it may be others."""
        try:
            async with asyncio.TaskGroup() as tasks:
                forgetting = [tasks.create_task(self._forget(each), name=each) for each in gone]
                await self._changed.wait()
                for task in forgetting:
                    task.cancel()
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _forget(self, cluster: str) -> None:
        async def work(leadership: Leadership) -> None:
            await self._delete(cluster, leadership)

        await self._store.lead(leader_of(cluster), self._identity, work, LEADER_TTL)

    async def _delete(self, cluster: str, leadership: Leadership) -> None:
        """Everything of a cluster, and last of all that it was there."""
        keys: list[str] = []
        for prefix in PREFIXES:
            async with aclosing(self._store.pages(prefix)) as pages:
                async for page in pages:
                    keys += [
                        each.key
                        for each in page.entries
                        if is_of_cluster(cluster, each.key, each.value)
                    ]
        keys.append(cluster_key(cluster))
        for start in range(0, len(keys), _BATCH):
            deletions = [Delete(key) for key in keys[start : start + _BATCH]]
            if not (await self._store.txn([leadership.guard], deletions)).succeeded:
                raise Aborted(f"another Galley writes the services of {cluster}")
        log.info("remote_cluster.forgotten", cluster=cluster, entries=len(keys) - 1)
