"""Analysis of what runs, and its findings in the statuses of objects (A8).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import structlog

from mast.common import keys
from mast.common.etcd import Leadership, Store
from mast.common.kubernetes import Api, Change, Object, Resource
from mast.common.kubernetes.objects import (
    CONFIG_MAPS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    PODS,
    SECRETS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
from mast.galley.core.analysis.analysis import Analyzer, Results, Superseded
from mast.galley.core.analysis.analyzers import ANALYZERS
from mast.galley.core.analysis.snapshot import Snapshot
from mast.galley.core.observed import Observed
from mast.galley.core.status.analysis_messages import analysed
from mast.galley.core.status.elsewhere import stored_items
from mast.galley.core.status.live_analysis import (
    Key,
    LiveAnalysis,
    Statuses,
    has_messages,
    items_of,
    statuses,
)
from mast.galley.kubernetes.leading import until_failure
from mast.galley.kubernetes.metrics import AnalysisMetrics, StatusMetrics
from mast.galley.kubernetes.mirror import Mirror
from mast.galley.kubernetes.statuses import Statuses as StatusWriter

log = structlog.get_logger()

QUIET: Final = timedelta(seconds=1)
_CHUNK: Final = 200
_WORKLOADS: Final = (
    Resource("", "v1", "services", "Service"),
    PODS,
    Resource("apps", "v1", "deployments", "Deployment"),
    Resource("apps", "v1", "statefulsets", "StatefulSet"),
    Resource("apps", "v1", "daemonsets", "DaemonSet"),
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
"""What analyzers look at beside configuration; workloads of other kinds are seen by their pods."""
_SECRET_TYPES: Final = ("kubernetes.io/tls", "Opaque")
_STORED: Final = (keys.CONFIG, keys.REGISTRY_SERVICES, keys.REGISTRY_WORKLOADS)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Whose cluster it is: the mesh's namespace, the revision, the domain and id of the cluster.

    Without ``secrets`` the source of configuration does not follow them.
    """

    namespace: str
    revision: str
    domain: str
    cluster: str
    secrets: bool


@dataclass
class Analysis:
    """One process does this at a time: whoever leads.

    Changes are looked at once nothing came for ``QUIET``, at the latest ``interval`` after the
    first of them, in a thread; analyzers whose inputs are the same are not run again. What comes
    meanwhile makes an analysis void, unless the one before it was void already.
    """

    api: Api
    store: Store
    observed: Observed
    scope: Scope
    interval: timedelta
    metrics: AnalysisMetrics
    status_metrics: StatusMetrics
    random: Callable[[], float]
    analyzers: Sequence[Analyzer] = ANALYZERS
    _live: LiveAnalysis = field(init=False)
    _own: Observed = field(default_factory=Observed, init=False)
    _dirty: set[Key] = field(default_factory=set, init=False)
    _news: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _wanted: Statuses = field(default_factory=dict, init=False)
    _synced: list[asyncio.Event] = field(default_factory=list, init=False)
    # Whether the store said something new, a newer analysis waits, and the last one was void.
    _differs_elsewhere: bool = field(default=True, init=False)
    _superseding: bool = field(default=False, init=False)
    _void: bool = field(default=False, init=False)

    async def run(self, leadership: Leadership) -> None:
        """Analyze and tell, until cancelled. Raises Deposed."""
        self._live = LiveAnalysis(self.analyzers, self.scope.domain)
        writer = StatusWriter(
            self.api,
            self.store,
            self.observed,
            leadership,
            self._change,
            self.status_metrics,
            self.random,
        )
        with ExitStack() as telling:
            telling.enter_context(self.observed.telling(self._touch))
            telling.enter_context(self._own.telling(self._touch))
            self._dirty.update(self.observed.names())
            self._news.set()
            parts = {f"mirror {number}": each.run() for number, each in enumerate(self._mirrors())}
            await until_failure(
                **parts,
                **{prefix: self._follow(prefix) for prefix in _STORED},
                write=writer.run(),
                analyse=self._analyse_often(writer),
                what=leadership.what,
            )

    def _mirrors(self) -> Iterator[Mirror]:
        for resource in _WORKLOADS:
            yield self._mirror(resource)
        revision = self.scope.revision
        name = "istio-sidecar-injector" + ("" if revision == "default" else f"-{revision}")
        yield self._mirror(CONFIG_MAPS, f"metadata.name={name}", self.scope.namespace)
        for kind in () if self.scope.secrets else _SECRET_TYPES:
            yield self._mirror(SECRETS, f"type={kind}")

    def _mirror(self, resource: Resource, fields: str = "", namespace: str = "") -> Mirror:
        def told(change: Change) -> None:
            self._own.put(resource, change.namespace, change.name, change.object)

        synced = self._awaited()
        return Mirror(self.api, resource, told, fields=fields, namespace=namespace, synced=synced)

    def _awaited(self) -> asyncio.Event:
        """One more thing that has to be known first."""
        self._synced.append(asyncio.Event())
        return self._synced[-1]

    def _touch(self, kind: str, namespace: str, name: str) -> None:
        self._dirty.add((kind, namespace, name))
        self._news.set()

    async def _follow(self, prefix: str) -> None:
        """What the mesh has that is not from this cluster."""
        synced = self._awaited()
        async with aclosing(self.store.follow(prefix)) as batches:
            async for batch in batches:
                for start in range(0, len(batch.changes), _CHUNK):
                    chunk = batch.changes[start : start + _CHUNK]
                    values = {change.key: change.value for change in chunk}
                    found = await asyncio.to_thread(self._stored_items, values)
                    for key, items in found.items():
                        if self._live.put_elsewhere(key, items):
                            self._differs_elsewhere = True
                            self._news.set()
                if batch.synced:
                    synced.set()

    def _stored_items(self, values: Mapping[str, bytes | None]) -> Mapping[str, Any]:
        return {
            key: stored_items(key, value, self.scope.cluster) if value is not None else ()
            for key, value in values.items()
        }

    async def _analyse_often(self, writer: StatusWriter) -> None:
        while waiting := [each for each in self._synced if not each.is_set()]:
            await waiting[0].wait()
        running: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._settled()
                if not await self._refresh(writer):
                    continue
                if running is not None:
                    if not running.done() and not self._void:
                        self.metrics.superseded()
                    self._superseding = True
                    await asyncio.wait([running])
                    self._superseding = False
                snapshot = await asyncio.to_thread(self._live.snapshot)
                analysing = self._analyse(snapshot, dict(self._live.generations), writer)
                running = tasks.create_task(analysing, name="analysis")

    async def _analyse(
        self, snapshot: Snapshot, generations: Mapping[Key, int], writer: StatusWriter
    ) -> None:
        """Look at everything, and have what differs told; what was not told yet stays to be."""
        clock = asyncio.get_running_loop().time
        begun, stoppable = clock(), not self._void

        def analysis() -> tuple[Results, Statuses]:
            results = self._live.analysed(snapshot, lambda: stoppable and self._superseding)
            return results, statuses(results.messages, generations)

        try:
            results, wanted = await asyncio.to_thread(analysis)
        except Superseded:
            self._void = True
            return
        self._void = False
        self._live.results = results
        codes = Counter(message.code for message in results.messages)
        self.metrics.finished(clock() - begun, codes)
        before, self._wanted = self._wanted, wanted
        for key, told in wanted.items():
            if before.get(key) != told:
                writer.work.add(key)

    async def _settled(self) -> None:
        """Until something changed, and nothing more came for a while."""
        await self._news.wait()
        clock = asyncio.get_running_loop().time
        latest = clock() + self.interval.total_seconds()
        while True:
            self._news.clear()
            left = min(QUIET.total_seconds(), latest - clock())
            try:
                async with asyncio.timeout(max(0.0, left)):
                    await self._news.wait()
            except TimeoutError:
                return

    async def _refresh(self, writer: StatusWriter) -> bool:
        """Take up what changed; whether an analyzer could see a difference.

        Statuses that somebody else wrote are looked at in any case.
        """
        pending, self._dirty = list(self._dirty), set()
        differs, self._differs_elsewhere = self._differs_elsewhere, False
        for start in range(0, len(pending), _CHUNK):
            found = {key: self._object(key) for key in pending[start : start + _CHUNK]}
            items = await asyncio.to_thread(self._items, found)
            for key, each in found.items():
                generation = None
                if each is not None:
                    generation = int(each["metadata"].get("generation") or 0)
                differs |= self._live.put(key, items[key], generation)
                if has_messages(key[0]):
                    writer.work.add(key)
        return differs

    def _object(self, key: Key) -> Object | None:
        return self.observed.get(*key) or self._own.get(*key)

    def _items(self, found: Mapping[Key, Object | None]) -> Mapping[Key, Any]:
        scope = self.scope
        return {
            key: () if each is None else items_of(each, scope.namespace, scope.revision)
            for key, each in found.items()
        }

    def _change(self, key: Key, found: Object) -> Mapping[str, Any] | None:
        """None also while the last analysis was about another generation of the object."""
        told = self._wanted.get(key)
        generation = int(found["metadata"].get("generation") or 0)
        if told is None or told.generation != generation:
            return None
        return analysed(found.get("status") or {}, generation, told.messages)
