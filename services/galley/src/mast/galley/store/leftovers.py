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
from mast.common.latest import Latest
from mast.galley.core.discovery.ownership import PREFIXES, is_of_cluster
from mast.galley.store.registry import LEADER_TTL, leader_of
from mastapi.registry.v1.registry_pb2 import RemoteCluster

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
        self._wanted: Latest[frozenset[str]] = Latest(frozenset())

    def publish(self, wanted: frozenset[str]) -> None:
        """These clusters are read."""
        self._wanted.publish(wanted)

    async def run(self) -> None:
        """Forget what is to be forgotten, for ever; what is wanted must be known by now."""
        backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=10))
        what = f"galley-remote-clusters-{self._own}"
        while True:
            try:
                await self._store.lead(what, self._identity, self._lead, LEADER_TTL)
            except EtcdError as error:
                log.warning("leftovers.waiting", error=str(error))
            except Deposed as error:
                log.info("leftovers.deposed", cluster=str(error))
            await asyncio.sleep(backoff.next(self._random()).total_seconds())

    async def _lead(self, _: Leadership) -> None:
        while True:
            wanted = self._wanted.value
            found = await self._store.list(REGISTRY_CLUSTERS)
            kept = [RemoteCluster.FromString(each.value) for each in found.entries]
            gone = [
                each.cluster
                for each in kept
                if each.kept_by == self._own and each.cluster not in {*wanted, self._own}
            ]
            await self._until_other(wanted, gone)

    async def _until_other(self, wanted: frozenset[str], gone: list[str]) -> None:
        """Forget clusters, until others are wanted."""
        try:
            async with asyncio.TaskGroup() as tasks:
                forgetting = [tasks.create_task(self._forget(each), name=each) for each in gone]
                await self._wanted.after(wanted)
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
                raise Deposed(cluster)
        log.info("remote_cluster.forgotten", cluster=cluster, entries=len(keys) - 1)


class Deposed(Exception):
    """Somebody else writes what the registry has of a cluster."""
