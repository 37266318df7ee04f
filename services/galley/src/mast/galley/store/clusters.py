"""Every cluster whose services are in the registry: the own one, and those of Secrets (D3).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta

import structlog

from mast.common.etcd import Store
from mast.common.kubernetes import Api, InvalidAccess, connect, follow, kubeconfig
from mast.common.kubernetes.objects import SECRETS, Object
from mast.common.kubernetes.remotes import (
    LABELS,
    Ignored,
    RemoteCluster,
    RemoteClusters,
    remote_clusters,
)
from mast.common.latest import Latest
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.remote_clusters import Status, Sync
from mast.galley.store.leftovers import Leftovers
from mast.galley.store.registry import RegistrySource

log = structlog.get_logger()

Duties = Callable[[str, Api], Awaitable[None]]
"""What else is done in a cluster, by its id, for ever."""


@dataclass(eq=False)
class _Member:
    """A cluster as one kubeconfig reaches it; ``settled`` when it is known what comes of that."""

    remote: RemoteCluster
    source: RegistrySource
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    late: bool = False
    invalid: str = ""
    task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    @property
    def sync(self) -> Sync:
        if self.invalid:
            return Sync.INVALID
        if self.source.listed.is_set():
            return Sync.SYNCED
        return Sync.TIMEOUT if self.late else Sync.SYNCING


class Clusters:
    """Keeps the registry equal to what clusters have of services.

    Where a kubeconfig changes, the new one is used as soon as everything was listed by it; until
    then the old one goes on, so that no entry is missed meanwhile. What cannot be reached delays
    nothing but itself, and readiness for ``timeout`` at most. ``own`` are the settings of the
    cluster that the Secrets are in; ``duties`` are done in every other.
    """

    def __init__(
        self,
        store: Store,
        *,
        own: Settings,
        identity: str,
        timeout: timedelta,
        duties: Duties,
        random: Callable[[], float],
    ) -> None:
        self._store = store
        self._settings = own
        self._identity = identity
        self._timeout = timeout
        self._duties = duties
        self._random = random
        self._own = self._source(own.cluster)
        self._wanted = RemoteClusters()
        self._serving: dict[str, _Member] = {}
        self._joining: dict[str, _Member] = {}
        self._listed = asyncio.Event()
        self._settled = False
        self._leftovers = Leftovers(store, own.cluster, identity, random)
        self.statuses: Latest[tuple[Status, ...]] = Latest(())
        self._tell()

    @property
    def synced(self) -> bool:
        """Whether the own cluster was listed and, by the one that leads, stored (A7)."""
        return self._own.synced

    @property
    def settled(self) -> bool:
        """Whether every other cluster of the start was listed, or had its time (D3)."""
        return self._settled

    async def run(self, api: Api) -> None:
        """Follow the clusters, for ever; ``api`` is the own one's."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._own.run(api), name="own cluster")
            tasks.create_task(self._follow(api, tasks), name="follow remote secrets")
            tasks.create_task(self._settle(), name="settle remote clusters")
            tasks.create_task(self._forget(), name="leftovers of clusters")

    def _source(self, cluster: str) -> RegistrySource:
        return RegistrySource(
            self._store,
            identity=self._identity,
            settings=replace(self._settings, cluster=cluster),
            random=self._random,
            kept_by=self._settings.cluster,
            noticed=self._tell,
        )

    async def _follow(self, api: Api, tasks: asyncio.TaskGroup) -> None:
        """Take what the Secrets say, whenever they say something else."""
        secrets: dict[tuple[str, str], Object] = {}
        namespace = self._settings.system_namespace
        async with aclosing(follow(api, SECRETS, namespace, labels=LABELS)) as batches:
            async for batch in batches:
                for change in batch.changes:
                    secrets.pop((change.namespace, change.name), None)
                    if change.object is not None:
                        secrets[change.namespace, change.name] = change.object
                self._take(remote_clusters(secrets.values(), self._settings.cluster), tasks)
                self._listed.set()

    def _take(self, told: RemoteClusters, tasks: asyncio.TaskGroup) -> None:
        for each in told.ignored:
            if each not in self._wanted.ignored:
                log.warning(
                    "remote_cluster.ignored",
                    cluster=each.cluster,
                    secret=each.secret,
                    reason=each.reason,
                )
        self._wanted = told
        for cluster in {*self._serving, *self._joining} - told.wanted.keys():
            log.info("remote_cluster.left", cluster=cluster)
            for members in (self._joining, self._serving):
                if member := members.pop(cluster, None):
                    member.stop()
        for remote in told.wanted.values():
            self._want(remote, tasks)
        self._leftovers.publish(frozenset(told.wanted))
        self._tell()

    def _want(self, remote: RemoteCluster, tasks: asyncio.TaskGroup) -> None:
        """See that a cluster is followed by this kubeconfig, or is going to be."""
        serving, joining = self._serving.get(remote.cluster), self._joining.get(remote.cluster)
        newest = joining or serving
        if newest is not None and newest.remote.kubeconfig == remote.kubeconfig:
            newest.remote = remote
            return
        if joining is not None:
            joining.stop()
            del self._joining[remote.cluster]
        if serving is not None and serving.remote.kubeconfig == remote.kubeconfig:
            serving.remote = remote
            return
        log.info("remote_cluster.joining", cluster=remote.cluster, secret=remote.secret)
        member = _Member(remote, self._source(remote.cluster))
        self._joining[remote.cluster] = member
        member.task = tasks.create_task(self._join(member), name=f"cluster {remote.cluster}")

    async def _join(self, member: _Member) -> None:
        """Follow a cluster; in place of its predecessor, as soon as everything was listed."""
        cluster = member.remote.cluster
        try:
            access = await asyncio.to_thread(kubeconfig, member.remote.kubeconfig)
            async with connect(access) as api, asyncio.TaskGroup() as tasks:
                tasks.create_task(member.source.run(api), name=f"services of {cluster}")
                await self._until_listed(member)
                self._succeed(member)
                await self._duties(cluster, api)
        except InvalidAccess as error:
            member.invalid = str(error)
            log.warning("remote_cluster.invalid", cluster=cluster, error=member.invalid)
        finally:
            member.settled.set()
            self._tell()

    async def _until_listed(self, member: _Member) -> None:
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await member.source.listed.wait()
        except TimeoutError:
            member.late = True
            member.settled.set()
            log.warning(
                "remote_cluster.timeout",
                cluster=member.remote.cluster,
                detail=member.source.trouble,
            )
            self._tell()
            await member.source.listed.wait()

    def _succeed(self, member: _Member) -> None:
        cluster = member.remote.cluster
        log.info("remote_cluster.synced", cluster=cluster, secret=member.remote.secret)
        if predecessor := self._serving.get(cluster):
            predecessor.stop()
        self._serving[cluster] = self._joining.pop(cluster)
        member.settled.set()
        self._tell()

    async def _settle(self) -> None:
        """Wait for what there is at the start, each for as long as it may take."""
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await self._listed.wait()
        except TimeoutError:
            log.warning("remote_cluster.secrets_unknown")
        for member in list(self._joining.values()):
            await member.settled.wait()
        self._settled = True

    async def _forget(self) -> None:
        """Take away what is left of clusters that no Secret tells of any more."""
        await self._listed.wait()
        await self._leftovers.run()

    def _tell(self) -> None:
        """Say how things stand, if that is news."""
        now = tuple(sorted((self._own_status(), *self._statuses(), *self._ignored())))
        if now != self.statuses.value:
            self.statuses.publish(now)

    def _own_status(self) -> Status:
        sync = Sync.SYNCED if self._own.listed.is_set() else Sync.SYNCING
        return Status(self._settings.cluster, "", sync, self._own.trouble)

    def _statuses(self) -> list[Status]:
        """Of two kubeconfigs of a cluster the one that serves, and what is wrong with the next."""
        found = []
        for cluster in {*self._serving, *self._joining}:
            serving, joining = self._serving.get(cluster), self._joining.get(cluster)
            member = serving or joining
            if member is not None:
                troubled = joining or member
                detail = troubled.invalid or troubled.source.trouble
                found.append(Status(cluster, member.remote.secret, member.sync, detail))
        return found

    def _ignored(self) -> list[Status]:
        return [_status(each) for each in self._wanted.ignored]


def _status(entry: Ignored) -> Status:
    return Status(entry.cluster, entry.secret, Sync.IGNORED, entry.reason)
