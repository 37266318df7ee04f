"""The Kubernetes source of services: what a cluster says of them, kept in the registry (D1, D2).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import structlog
from google.protobuf.message import DecodeError, Message

from istio.mcp.v1alpha1.resource_pb2 import Resource as StoredResource
from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.mesh.v1alpha1.network_pb2 import MeshNetworks
from mast.common import keys
from mast.common.backoff import Backoff
from mast.common.etcd import (
    Compare,
    Delete,
    Entry,
    Leadership,
    Put,
    Rejected,
    Store,
    Unavailable,
)
from mast.common.kinds import BY_GROUP_KIND
from mast.common.kubernetes import Api, ApiFailure, Change, Form, Resource, follow_as
from mast.common.kubernetes.objects import NAMESPACES, NODES, PODS
from mast.galley.core.discovery.converter import Converter
from mast.galley.core.discovery.objects import ObjectName, SliceId
from mast.galley.core.discovery.ownership import PREFIXES, in_order, is_of_cluster, keeper
from mast.galley.core.discovery.reading import Read, read
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.discovery.shapes import SHAPES
from mast.galley.core.plan import Aborted
from mast.galley.core.problem import Finding, path_text
from mast.galley.store.names import addresses_of
from mastapi.registry.v1.registry_pb2 import RemoteCluster

log = structlog.get_logger()

SERVICES: Final = Resource("", "v1", "services", "Service")
ENDPOINT_SLICES: Final = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
FOLLOWED: Final = (NAMESPACES, NODES, SERVICES, ENDPOINT_SLICES, PODS)
"""What an API server is asked for; endpoints that people write are among the slices too."""

RESOLVED_EVERY: Final = timedelta(seconds=30)
"""How often names of gateways are looked up again."""

LEADER_TTL: Final = timedelta(seconds=10)
VALUE_LIMIT_BYTES: Final = 1 << 20
"""Larger values etcd does not take; nothing that a cluster has comes near."""

_SOURCE: Final = "kubernetes services"
_MESH: Final = "mesh.istio.io"
_MESH_PREFIX: Final = "config/istio/mesh/v1alpha1/"
# What one transaction may hold.
_BATCH: Final = 100
_BATCH_BYTES: Final = 1 << 19


class RegistrySource:
    """Keeps the registry equal to what the API server has of services.

    Every replica follows the API server, so that any can take over at once; the one that leads
    writes, at first what differs from the store, then what changes. While a write takes long, later
    changes of a key replace earlier ones. ``settings`` name the cluster; the mesh's own settings
    are those in the store. ``kept_by`` is the cluster of this Galley if it is another one.
    ``listed`` is set when everything was listed; ``trouble`` says why the API server cannot be
    followed at the moment. ``noticed`` is called when one of them changes.
    """

    def __init__(
        self,
        store: Store,
        *,
        identity: str,
        settings: Settings,
        random: Callable[[], float],
        kept_by: str = "",
        noticed: Callable[[], None] = lambda: None,
    ) -> None:
        self.listed = asyncio.Event()
        self._troubles: dict[str, str] = {}
        self._kept_by = kept_by or settings.cluster
        self._noticed = noticed
        self._store = store
        self._identity = identity
        self._settings = settings
        self._random = random
        self._converter = Converter(settings)
        self._turn = asyncio.Lock()
        self._missing = {each.plural for each in FOLLOWED} | {_MESH_PREFIX}
        self._changed = asyncio.Event()
        self._problems: dict[tuple[str, ObjectName], tuple[Finding, ...]] = {}
        # What the registry is to hold, and which keys of it may differ.
        self._wanted: dict[str, bytes] = {}
        self._dirty: set[str] = set()
        self._news = asyncio.Event()
        self._named = asyncio.Event()
        # Whether the store is as the one that leads wants it: we do, or somebody else was seen to.
        self._agreed = False

    @property
    def synced(self) -> bool:
        """Whether everything was listed, and stored once by the one that leads (A7)."""
        return self.listed.is_set() and self._agreed

    @property
    def trouble(self) -> str:
        """Why something cannot be followed, "" if everything is."""
        return min(self._troubles.items(), default=("", ""))[1]

    async def run(self, api: Api) -> None:
        """Follow and store, for ever."""
        async with asyncio.TaskGroup() as tasks:
            for resource in FOLLOWED:
                tasks.create_task(self._follow(api, resource), name=f"follow {resource.plural}")
            tasks.create_task(self._follow_settings(), name="follow mesh settings")
            tasks.create_task(self._resolve(), name="resolve names of gateways")
            tasks.create_task(self._derive(), name="derive registry")
            tasks.create_task(self._lead_often(), name="store registry")

    async def _follow(self, api: Api, resource: Resource) -> None:
        def told(failure: ApiFailure | None) -> None:
            self._troubles.pop(resource.plural, None)
            if failure is not None:
                self._troubles[resource.plural] = str(failure)
            self._noticed()

        form = Form(SHAPES[resource.kind], read)
        async with aclosing(follow_as(form, api, resource, state=told)) as batches:
            async for batch in batches:
                async with self._turn:
                    before = self._converter.gateway_names
                    if await asyncio.to_thread(self._take, resource, batch.changes) - before:
                        self._named.set()
                self._arrived(resource.plural)

    def _take(self, resource: Resource, changes: Sequence[Change[Read]]) -> Set[str]:
        """Tell the converter; a broken object is told to people, and the last good one stays.

        Returns the names whose addresses are to be found out.
        """
        puts: Mapping[str, Callable[[Any, Any], None]] = {
            NAMESPACES.plural: self._converter.put_namespace,
            NODES.plural: self._converter.put_node,
            SERVICES.plural: self._converter.put_service,
            ENDPOINT_SLICES.plural: self._converter.put_slice,
            PODS.plural: self._converter.put_pod,
        }
        for change in changes:
            name, found = ObjectName(change.namespace, change.name), change.object
            self._tell(resource, name, found.findings if found else ())
            if found is None or not found.is_broken:
                key = SliceId(resource.kind, *name) if resource == ENDPOINT_SLICES else name
                puts[resource.plural](key, found.item if found else None)
        return self._converter.gateway_names

    def _tell(self, resource: Resource, name: ObjectName, findings: tuple[Finding, ...]) -> None:
        known = self._problems.pop((resource.plural, name), ())
        if findings:
            self._problems[resource.plural, name] = findings
        for each in findings:
            if each not in known:
                log.warning(
                    "source.problem",
                    source_name=_SOURCE,
                    kind=resource.kind,
                    namespace=name.namespace,
                    name=name.name,
                    path=path_text(each.path),
                    problem=each.message,
                )

    async def _follow_settings(self) -> None:
        """The mesh's settings in the store: of its own namespace, named default."""
        names = {
            keys.config_key(
                BY_GROUP_KIND[_MESH, kind].collection, self._settings.system_namespace, "default"
            ): field
            for kind, field in (("MeshConfig", "mesh"), ("MeshNetworks", "networks"))
        }
        known: dict[str, Any] = {}
        async with aclosing(self._store.follow(_MESH_PREFIX)) as batches:
            async for batch in batches:
                for change in batch.changes:
                    if field := names.get(change.key):
                        message = MeshConfig() if field == "mesh" else MeshNetworks()
                        known[field] = _unpacked(change.value, message)
                async with self._turn:
                    self._converter.configure(replace(self._settings, **known))
                self._arrived(_MESH_PREFIX if batch.synced else "")

    def _arrived(self, name: str) -> None:
        self._missing.discard(name)
        if not self._missing:
            self._changed.set()

    async def _resolve(self) -> None:
        """Find out where names of gateways lead to, and whether they still do (pilot.md D8)."""
        while True:
            async with self._turn:
                names = self._converter.gateway_names
            found = await addresses_of(names)
            async with self._turn:
                for name, addresses in found.items():
                    self._converter.put_addresses(name, addresses)
                if self._converter.gateway_names == names:
                    self._named.clear()
            self._arrived("")
            with suppress(TimeoutError):
                async with asyncio.timeout(RESOLVED_EVERY.total_seconds()):
                    await self._named.wait()

    async def _derive(self) -> None:
        """Once everything is known, whenever something changes: what the registry is to hold."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            async with self._turn:
                changes = await asyncio.to_thread(self._converter.settle_values)
            for key, value in changes.items():
                if value is None:
                    self._wanted.pop(key, None)
                else:
                    self._wanted[key] = value
            self._touch(set(changes))
            if not self.listed.is_set():
                self.listed.set()
                self._noticed()

    def _touch(self, changed: set[str]) -> None:
        if changed:
            self._dirty |= changed
            self._news.set()

    async def _lead_often(self) -> None:
        """Who has not listed does not stand: somebody else may be able to."""
        await self.listed.wait()
        what = leader_of(self._settings.cluster)
        while True:
            try:
                await self._store.lead(what, self._identity, self._lead, LEADER_TTL, self._yield_to)
            except Aborted as error:
                log.info("source.deposed", source_name=_SOURCE, detail=str(error))

    def _yield_to(self, _: str) -> bool:
        """Somebody else leads, and is not deposed."""
        self._agreed = True
        return False

    async def _lead(self, leadership: Leadership) -> None:
        """Store what differs, then what changes."""
        backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=10))
        changed: set[str] | None = None
        while True:
            try:
                if changed is None:
                    await self._claim(leadership.guard)
                    changed = await self._differing()
                    log.info("source.compared", source_name=_SOURCE, differing=len(changed))
                await self._write(changed, leadership.guard)
            except (Unavailable, Rejected) as error:
                log.warning("source.waiting", source_name=_SOURCE, error=str(error))
                await asyncio.sleep(backoff.next(self._random()).total_seconds())
                continue
            backoff.reset()
            self._agreed = True
            while not self._dirty:
                self._news.clear()
                await self._news.wait()
            changed, self._dirty = self._dirty, set()

    async def _claim(self, guard: Compare) -> None:
        """Note who keeps the cluster, before anything else of it; its own Galley goes first."""
        cluster = self._settings.cluster
        key, own = keys.cluster_key(cluster), self._kept_by == cluster
        found = await self._store.get(key)
        known = keeper(found.value) if found else ""
        if known != self._kept_by and (own or known != cluster):
            claim = RemoteCluster(cluster=cluster, kept_by=self._kept_by)
            await self._put(guard, [Put(key, claim.SerializeToString())])

    async def _differing(self) -> set[str]:
        """Keys of ours under which the store has something else than it is to hold."""
        self._dirty = set()
        left = dict(self._wanted)
        differing: set[str] = set()
        for prefix in PREFIXES:
            async with aclosing(self._store.pages(prefix)) as pages:
                async for page in pages:
                    for entry in page.entries:
                        wanted = left.pop(entry.key, None)
                        if wanted != entry.value and (wanted or self._owns(entry)):
                            differing.add(entry.key)
        return differing | left.keys()

    def _owns(self, entry: Entry) -> bool:
        return is_of_cluster(self._settings.cluster, entry.key, entry.value)

    async def _write(self, changed: set[str], guard: Compare) -> None:
        ordered = await asyncio.to_thread(in_order, changed, self._wanted)
        for operations in _batches(ordered, self._wanted):
            revision = await self._put(guard, operations)
            log.debug("source.stored", source_name=_SOURCE, keys=len(operations), revision=revision)

    async def _put(self, guard: Compare, operations: Sequence[Put | Delete]) -> int:
        result = await self._store.txn([guard], operations)
        if not result.succeeded:
            raise Aborted(f"another Galley writes the services of {self._settings.cluster}")
        return result.revision


def leader_of(cluster: str) -> str:
    """Whoever leads in this writes what the registry has of a cluster."""
    return f"galley-services-{cluster}"


def _unpacked(value: bytes | None, message: Message) -> Message:
    """The message in a stored resource; an empty one if there is none that can be read."""
    try:
        StoredResource.FromString(value or b"").body.Unpack(message)
    except DecodeError:
        message.Clear()
    return message


def _batches(ordered: Iterable[str], wanted: Mapping[str, bytes]) -> Iterator[list[Put | Delete]]:
    """Writes of one transaction each."""
    batch: list[Put | Delete] = []
    size = 0
    for key in ordered:
        value = wanted.get(key)
        if value is not None and len(value) > VALUE_LIMIT_BYTES:
            log.error("source.too_large", source_name=_SOURCE, key=key, size_bytes=len(value))
            continue
        if batch and (len(batch) == _BATCH or size + len(value or b"") > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(Delete(key) if value is None else Put(key, value))
        size += len(value or b"")
    if batch:
        yield batch
