"""The Kubernetes source: what an API server has of configuration, kept in the store (A2).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, aclosing
from datetime import timedelta
from typing import Final, Protocol

import structlog

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.common.backoff import Backoff
from mast.common.etcd import Change as StoredChange
from mast.common.etcd import Compare, Leadership, Rejected, Unavailable
from mast.common.keys import CONFIG, SECRETS, parse_config_key
from mast.common.kinds import BY_COLLECTION, Kind
from mast.common.kubernetes import Api, Change, Resource, follow, labels_of
from mast.common.kubernetes.objects import NAMESPACES
from mast.common.latest import Latest
from mast.galley.core.cluster import (
    SOURCE,
    Cell,
    Cluster,
    cell,
    defined,
    map_key,
    mesh_key,
    mesh_settings,
    owner_of,
    served,
    step,
    stored_references,
)
from mast.galley.core.history import Operation, Origin
from mast.galley.core.objects import ConfigObject, Defaults
from mast.galley.core.observed import Observed
from mast.galley.core.plan import Aborted, TooLarge
from mast.galley.core.problem import Problem, Severity
from mast.galley.core.references import Reference
from mast.galley.core.resources import reference
from mast.galley.store.configs import Configs
from mast.galley.store.kubernetes_feeds import DEFINITIONS, Feed, fixed_feeds, map_feed

log = structlog.get_logger()

LEASE: Final = f"galley-source-{SOURCE}"


class Lead(Protocol):
    """Does a job whenever this process is its leader, and says so when somebody else is."""

    def __call__(
        self,
        what: str,
        job: Callable[[Leadership], Awaitable[None]],
        others: Callable[[], None],
    ) -> Awaitable[None]: ...


class KubernetesSource:
    """Keeps the store equal to what the API server has of configuration.

    Every replica follows the API server, so that any can take over at once; the one that leads
    writes. It also follows the store: what somebody else changes of the cluster's objects there is
    put right. ``source`` is its name, ``namespace`` that of the mesh's ConfigMap, ``report`` is
    told the number of objects and errors after each change. ``observed`` is kept as the API
    server's objects are, ``listed`` is set once it has all of them.
    """

    def __init__(
        self,
        configs: Configs,
        *,
        namespace: str,
        revision: str,
        defaults: Defaults,
        report: Callable[[str, int, int], None],
        random: Callable[[], float],
        later: Collection[str] = (),
        source: str = SOURCE,
    ) -> None:
        self._configs = configs
        self._source = source
        self._namespace = namespace
        self._revision = revision
        self._defaults = defaults
        self._report = report
        self._random = random
        self._later = frozenset(later)
        self.observed = Observed()
        self._mesh_key = mesh_key(namespace)
        self._cluster = Cluster(source)
        self._kinds: dict[str, tuple[Resource, asyncio.Task[None]]] = {}
        # Listings that are still to come, and whether the first of all have come.
        self._missing: set[str] = set()
        self.listed = asyncio.Event()
        # What stands in the store: the owner of each object, and the mesh's settings.
        self._owners: dict[str, str] = {}
        self._stored_mesh = b""
        # ConfigMaps that are referred to, by namespace and name.
        self._maps: Latest[frozenset[tuple[str, str]]] = Latest(frozenset())
        self._dirty: set[str] = set()
        self._news = asyncio.Event()
        # Whether the store is as the one that leads wants it: we do, or somebody else was seen to.
        self._agreed = False
        self._told: set[Problem] = set()

    @property
    def synced(self) -> bool:
        """Whether every kind was listed (A2.3), and stored once by the one that leads (A7)."""
        return self.listed.is_set() and self._agreed

    async def run(self, api: Api, lead: Lead) -> None:
        """Follow, and store as long as this process leads; for ever."""
        feeds = fixed_feeds(self._namespace, self._revision, secrets=self._configs.keeps_secrets)
        self._missing = {DEFINITIONS.plural, *(feed.name for feed in feeds)}
        async with asyncio.TaskGroup() as tasks:
            for feed in feeds:
                tasks.create_task(self._follow(api, feed), name=f"follow {feed.name}")
            tasks.create_task(self._follow_definitions(api, tasks), name="follow definitions")
            tasks.create_task(self._follow_maps(api, tasks), name="follow ConfigMaps")
            tasks.create_task(self._store(lead), name=f"store source {self._source}")

    async def _follow_definitions(self, api: Api, tasks: asyncio.TaskGroup) -> None:
        """Follow every kind of ours as long as the API server knows it."""
        async with aclosing(follow(api, DEFINITIONS)) as batches:
            async for batch in batches:
                for change in batch.changes:
                    self.observed.put(DEFINITIONS, "", change.name, change.object)
                    self._define(api, tasks, change)
                self._arrived(DEFINITIONS.plural)

    async def _follow_maps(self, api: Api, tasks: asyncio.TaskGroup) -> None:
        """Follow every ConfigMap that something refers to, each alone: others hold no roots."""
        following: dict[str, asyncio.Task[None]] = {}
        feeds: dict[str, Feed] = {}
        seen: frozenset[tuple[str, str]] | None = None
        while True:
            seen = await self._maps.after(seen)
            before, feeds = feeds, {feed.name: feed for feed in map(map_feed, seen)}
            for name in following.keys() - feeds.keys():
                following.pop(name).cancel()
                self._drop(name)
                feed = before[name]
                self.observed.put(feed.resource, feed.namespace, feed.referred, None)
            for name in feeds.keys() - following.keys():
                following[name] = tasks.create_task(
                    self._follow(api, feeds[name]), name=f"follow {name}"
                )

    def _define(self, api: Api, tasks: asyncio.TaskGroup, change: Change) -> None:
        kind = defined(change.object or change.previous or {})
        if kind is None:
            return
        resource = None if change.object is None else served(change.object, kind)
        followed, task = self._kinds.get(str(kind), (None, None))
        if resource == followed:
            return
        if change.object is not None and resource is None:
            # It exists: what it had stays until the definition is gone or serves a version of ours.
            log.warning("source.unserved", kind=str(kind), versions=list(kind.versions))
            return
        if task is not None:
            task.cancel()
            del self._kinds[str(kind)]
            self.observed.forget(str(kind))
        if resource is None:
            self._forget(kind)
            return
        if not self.listed.is_set():
            self._missing.add(str(kind))
        log.info("source.kind", kind=str(kind), version=resource.version)
        feed = Feed(str(kind), resource, defined=True)
        task = tasks.create_task(self._follow(api, feed), name=f"follow {kind}")
        self._kinds[str(kind)] = (resource, task)

    def _forget(self, kind: Kind) -> None:
        """A kind is gone, and with it its objects."""
        log.info("source.kind_gone", kind=str(kind))
        self._drop(str(kind))
        self._arrived(str(kind))
        self._report(self._source, self._cluster.objects, self._cluster.mistakes)

    async def _follow(self, api: Api, feed: Feed) -> None:
        first = True
        following = follow(
            api, feed.resource, feed.namespace, fields=feed.fields, defined=feed.defined
        )
        async with aclosing(following) as batches:
            async for batch in batches:
                cells = await asyncio.to_thread(self._judged, batch.changes, feed.alias)
                for change, found in zip(batch.changes, cells, strict=True):
                    self._take(feed, change, found)
                if first:
                    self._keep_only(feed, batch.changes)
                if first and feed.referred:
                    key = map_key(feed.namespace, feed.referred)
                    self._cluster.awaited.discard(key)
                    self._touch({key})
                first = False
                self._arrived(feed.name)
                self._report(self._source, self._cluster.objects, self._cluster.mistakes)

    def _judged(self, changes: Sequence[Change], alias: str) -> list[Cell | None]:
        cells: list[Cell | None] = []
        for found in (change.object for change in changes):
            if found is not None and alias:
                found = {**found, "metadata": {**found["metadata"], "name": alias}}
            cells.append(
                cell(found, self._defaults, self._revision, self._source) if found else None
            )
        return cells

    def _take(self, feed: Feed, change: Change, found: Cell | None) -> None:
        self.observed.put(feed.resource, change.namespace, change.name, change.object)
        if feed.resource == NAMESPACES:
            labels = labels_of(change.object) if change.object else None
            self._touch(self._cluster.label(change.name, labels))
        place = (feed.name, change.namespace, change.name)
        before = self._cluster.cells.get(place)
        known = before.problems if before else ()
        _tell(
            self._source,
            [problem for problem in (found.problems if found else ()) if problem not in known],
        )
        self._touch(self._cluster.put(place, found))

    def _keep_only(self, feed: Feed, listed: Sequence[Change]) -> None:
        """After a first listing (of a kind's other version, for instance) nothing else is there."""
        present = {(feed.name, change.namespace, change.name) for change in listed}
        for place in [place for place in self._cluster.cells if place[0] == feed.name]:
            if place not in present:
                self._touch(self._cluster.put(place, None))

    def _drop(self, name: str) -> None:
        """What a feed told is told no more."""
        for place in [place for place in self._cluster.cells if place[0] == name]:
            self._touch(self._cluster.put(place, None))

    def _refer(self, changes: Mapping[str, frozenset[Reference]]) -> None:
        """Take which credentials stored objects refer to."""
        for key, found in changes.items():
            self._touch(self._cluster.references.put(key, found))
        before, maps = self._maps.value, self._cluster.references.config_maps
        if maps != before:
            gone = {map_key(*each) for each in before - maps}
            self._cluster.awaited -= gone
            self._cluster.awaited |= {map_key(*each) for each in maps - before}
            self._touch(gone)
            self._maps.publish(maps)

    def _arrived(self, name: str) -> None:
        self._missing.discard(name)
        if not self._missing:
            self.listed.set()

    def _touch(self, keys: set[str]) -> None:
        if keys:
            self._dirty |= keys
            self._news.set()

    async def _store(self, lead: Lead) -> None:
        while True:
            try:
                await lead(LEASE, self._lead, self._yield)
            except Aborted as error:
                log.info("source.deposed", source_name=self._source, detail=str(error))

    def _yield(self) -> None:
        """Somebody else leads."""
        self._agreed = True

    async def _lead(self, leadership: Leadership) -> None:
        """Store everything once, then what changes here or there."""
        await self.listed.wait()
        self._owners.clear()
        self._cluster.references.forget()
        self._stored_mesh = b""
        with ExitStack() as following:
            for prefix in (CONFIG, *([SECRETS] if self._configs.keeps_secrets else [])):
                synced = asyncio.Event()
                mirror = self._mirror(prefix, synced)
                following.enter_context(
                    self._configs.store.background(mirror, f"source {self._source} {prefix}")
                )
                await synced.wait()
            owned = (key for key, owner in self._owners.items() if owner == self._source)
            self._touch({self._mesh_key, *self._cluster.keys, *owned})
            await self._write_changes(leadership.guard)

    async def _mirror(self, prefix: str, synced: asyncio.Event) -> None:
        """Note who owns what is stored, and look again at what is, or ought to be, ours."""
        async with aclosing(self._configs.follow(prefix)) as batches:
            async for batch in batches:
                self._refer(await asyncio.to_thread(_referring, batch.changes))
                touched = set()
                for change in batch.changes:
                    ours = self._owners.pop(change.key, None) == self._source
                    if change.value is not None:
                        self._owners[change.key] = owner_of(change.value)
                        ours |= self._owners[change.key] == self._source
                    if change.key == self._mesh_key:
                        self._stored_mesh = change.value or b""
                        ours = True
                    if ours or self._cluster.speaks(change.key):
                        touched.add(change.key)
                if synced.is_set():
                    self._touch(touched)
                elif batch.synced:
                    synced.set()

    async def _write_changes(self, guard: Compare) -> None:
        backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=10))
        while True:
            while not self._dirty:
                self._news.clear()
                await self._news.wait()
            keys, self._dirty = self._dirty, set()
            try:
                await self._agree(keys, guard)
            except (Unavailable, Rejected) as error:
                self._touch(keys)
                log.warning("source.waiting", source_name=self._source, error=str(error))
                await asyncio.sleep(backoff.next(self._random()).total_seconds())
                continue
            backoff.reset()
            self._agreed = True

    async def _agree(self, keys: set[str], guard: Compare) -> None:
        """Make these keys of the store agree with the cluster."""
        if self._mesh_key in keys:
            keys |= self._cluster.configure(self._mesh())
        todo = step(self._cluster, keys, self._owners.get, self._later)
        _tell(self._source, [problem for problem in todo.problems if problem not in self._told])
        self._told.update(todo.problems)
        if not todo.objects and not todo.deletions:
            return
        try:
            await self._replace(todo.objects, todo.deletions, guard)
        except TooLarge:
            await self._one_by_one(todo.objects, todo.deletions, guard)

    def _mesh(self) -> MeshConfig:
        """The mesh's settings that are in force: the cluster's unless somebody else owns them."""
        own = self._cluster.wanted(self._mesh_key)
        foreign = self._owners.get(self._mesh_key) not in (None, "", self._source)
        return mesh_settings(None if foreign else own, self._stored_mesh)

    async def _one_by_one(
        self, objects: Sequence[ConfigObject], deletions: Sequence[str], guard: Compare
    ) -> None:
        """One object that the store does not take is told, and keeps none of the others away."""
        await self._replace((), deletions, guard)
        for obj in objects:
            try:
                await self._replace((obj,), (), guard)
            except TooLarge as error:
                log.error(
                    "source.too_large", source_name=self._source, key=obj.key, error=str(error)
                )

    async def _replace(
        self, objects: Sequence[ConfigObject], deletions: Sequence[str], guard: Compare
    ) -> None:
        gone = {}
        for text in deletions:
            key = parse_config_key(text)
            gone[text] = reference(BY_COLLECTION[key.collection], key.namespace, key.name)
        written, deleted, revision = await self._configs.replace(
            objects,
            gone,
            guards=[guard],
            origin=Origin(f"source {self._source}", Operation.SOURCE),
        )
        if revision:
            log.info(
                "source.stored",
                source_name=self._source,
                written=written,
                deleted=deleted,
                revision=revision,
            )


def _referring(changes: Sequence[StoredChange]) -> dict[str, frozenset[Reference]]:
    return {each.key: stored_references(each.key, each.value or b"") for each in changes}


def _tell(source: str, problems: Sequence[Problem]) -> None:
    for problem in problems:
        level = log.error if problem.severity is Severity.ERROR else log.warning
        level("source.problem", source_name=source, problem=str(problem))
