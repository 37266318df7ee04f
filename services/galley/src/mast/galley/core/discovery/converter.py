"""Kubernetes' objects into the canonical registry, change by change (D1, D2).

Objects come one by one in any order; ``settle`` tells what they change in the registry. A change
costs what it reaches: a Pod its workload and the slices that name it, a Node its Pods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import Message

from mast.galley.core.discovery.cluster import Cluster, own_addresses
from mast.galley.core.discovery.endpoints import Entry, entry, parts, shard, shard_key
from mast.galley.core.discovery.objects import (
    Backend,
    ClusterNode,
    Item,
    Namespace,
    ObjectName,
    Pod,
    Service,
    Slice,
    SliceId,
)
from mast.galley.core.discovery.places import NETWORK, Place, locality
from mast.galley.core.discovery.services import (
    canonical_service,
    drains,
    gateway_names,
    service_key,
)
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.discovery.workloads import canonical_workload, workload_key


class Waiting(NamedTuple):
    """An address that is held back until its Pod is known (D2.2)."""

    slice: SliceId
    address: str
    pod: ObjectName


class _Entries(NamedTuple):
    """What was made of the addresses of a slice; of None, and the rest is to be made."""

    slice: Slice | None
    made: Mapping[Backend, Entry | None]


class _Parts(NamedTuple):
    """What the endpoints of a Service were made of, part by part."""

    draining: bool
    made_of: Sequence[tuple[Entry, ...]]


@dataclass
class _Stale:
    """What has to be derived anew."""

    services: set[ObjectName] = field(default_factory=set)
    shards: set[ObjectName] = field(default_factory=set)
    workloads: set[ObjectName] = field(default_factory=set)


class Converter:
    """One cluster. What it was told last counts, in whatever order it was told."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._cluster = Cluster()
        self._stale = _Stale()
        self._everything = False
        self._resolved: dict[str, tuple[str, ...]] = {}
        self._entries: dict[SliceId, _Entries] = {}
        # Of what the endpoints of large Services were made.
        self._parts: dict[ObjectName, _Parts] = {}
        # Hashes of what was told: all messages of a large cluster would take 250 MB.
        self._told: dict[str, int] = {}

    def configure(self, settings: Settings) -> None:
        """Other settings; nothing happens if they are the same."""
        if settings != self._settings:
            self._settings = settings
            self._everything = True

    def put(self, item: Item) -> None:
        """An object as it is now."""
        match item:
            case Service():
                self.put_service(item.id, item)
            case Slice():
                self.put_slice(item.id, item)
            case Pod():
                self.put_pod(item.id, item)
            case ClusterNode():
                self.put_node(item.id, item)
            case _:
                self.put_namespace(item.id, item)

    def put_service(self, name: ObjectName, service: Service | None) -> None:
        """A Service as it is now, None if it is gone."""
        old = self._cluster.services.get(name)
        if old != service:
            self._cluster.put_service(name, service)
            for each in gateway_names(old) - self.gateway_names:
                self._resolved.pop(each, None)
            self._stale.services.add(name)
            self._stale.shards.add(name)

    def put_slice(self, name: SliceId, found: Slice | None) -> None:
        """An EndpointSlice or Endpoints as it is now, None if it is gone or of no interest."""
        old = self._cluster.slices.get(name)
        if old != found:
            self._cluster.put_slice(name, found)
            if found is None:
                self._entries.pop(name, None)
            self._stale.shards |= {each.service for each in (old, found) if each is not None}

    def put_pod(self, name: ObjectName, pod: Pod | None) -> None:
        """A Pod as it is now, None if it is gone; one that has finished is as good as gone."""
        now = None if pod is None or pod.finished else pod
        old = self._cluster.pods.get(name)
        if old == now:
            return
        self._cluster.put_pod(name, now)
        self._stale.workloads.add(name)
        addresses = own_addresses(old) | own_addresses(now)
        at_addresses = (self._cluster.slices_at[each] for each in addresses)
        for slices in (self._cluster.slices_naming[name], *at_addresses):
            self._forget(slices, lambda each: each.pod == name or each.address in addresses)

    def put_node(self, name: ObjectName, node: ClusterNode | None) -> None:
        """A Node as it is now, None if it is gone."""
        if self._cluster.nodes.get(name) == node:
            return
        self._cluster.put_node(name, node)
        self._stale.services |= self._cluster.by_nodes
        self._forget(self._cluster.slices_on[name.name])
        for pod in self._cluster.pods_on[name.name]:
            self._stale.workloads.add(pod)
            self._forget(self._cluster.slices_naming[pod])
            for address in own_addresses(self._cluster.pods[pod]):
                self._forget(self._cluster.slices_at[address])

    @property
    def gateway_names(self) -> Set[str]:
        """Names whose addresses somebody has to find out."""
        return frozenset(self._cluster.by_name)

    def put_addresses(self, name: str, addresses: Sequence[str]) -> None:
        """The addresses that a name leads to now."""
        if self._resolved.get(name) != tuple(addresses):
            self._resolved[name] = tuple(addresses)
            self._stale.services |= self._cluster.by_name[name]

    def put_namespace(self, name: ObjectName, namespace: Namespace | None) -> None:
        """A Namespace as it is now, None if it is gone."""
        seen, network = self._sees(name.name), self._own_network
        if self._cluster.namespaces.get(name) == namespace:
            return
        self._cluster.put_namespace(name, namespace)
        if self._sees(name.name) != seen:
            self._stale.services |= self._cluster.services_in(name.name)
            self._stale.shards |= self._cluster.services_in(name.name)
            self._stale.workloads |= self._cluster.pods_in(name.name)
        self._everything |= self._own_network != network

    def settle(self) -> Mapping[str, Message | None]:
        """What has changed in the registry since the last call, by key; None for what is gone.

        Messages are ``mastapi.registry.v1`` Service, Workload and EndpointShard.
        """
        return {key: message for key, message, _ in self._changes()}

    def settle_values(self) -> Mapping[str, bytes | None]:
        """The same in the form that is stored."""
        return {key: value for key, _, value in self._changes()}

    def _changes(self) -> Iterator[tuple[str, Message | None, bytes | None]]:
        derived = self._derive_all() if self._everything else self._derived(self._stale)
        self._stale = _Stale()
        for key, message in derived:
            if message is None:
                if self._told.pop(key, None) is not None:
                    yield key, None, None
                continue
            value = message.SerializeToString(deterministic=True)
            told = hash(value)
            if self._told.get(key) != told:
                self._told[key] = told
                yield key, message, value

    def waiting(self) -> Iterator[Waiting]:
        """Addresses of slices that count but whose Pods are not known, by Service."""
        for service in sorted(self._cluster.services):
            for found in self._cluster.counting(service):
                for each in found.backends:
                    if each.pod is not None and each.pod not in self._cluster.pods:
                        yield Waiting(found.id, each.address, each.pod)

    def _derive_all(self) -> Iterator[tuple[str, Message | None]]:
        """Everything that there is, then that the rest of what was told is gone."""
        self._everything = False
        self._entries.clear()
        self._parts.clear()
        services = set(self._cluster.services)
        gone = set(self._told)
        for key, message in self._derived(_Stale(services, services, set(self._cluster.pods))):
            gone.discard(key)
            yield key, message
        yield from ((key, None) for key in gone)

    def _derived(self, stale: _Stale) -> Iterator[tuple[str, Message | None]]:
        settings = self._settings
        for name in stale.services:
            yield service_key(name, settings), self._service(name)
        for name in stale.shards:
            yield from self._shard_parts(name)
        for name in stale.workloads:
            yield workload_key(name, settings), self._workload(name)

    def _service(self, name: ObjectName) -> Message | None:
        service = self._cluster.services.get(name)
        if service is None or not self._sees(name.namespace):
            return None
        nodes = self._cluster.nodes
        wanted = sorted(nodes) if service.node_selector is not None else ()
        known = (nodes[each] for each in wanted)
        return canonical_service(service, self._settings, known, self._resolved)

    def _shard_parts(self, name: ObjectName) -> Iterator[tuple[str, Message | None]]:
        """Endpoints of a Service, without the parts that are made of what they were made of."""
        service = self._cluster.services.get(name)
        draining = service is not None and drains(service)
        before = self._parts.pop(name, _Parts(draining, ((),)))
        now = _Parts(draining, parts(self._entries_behind(service)))
        if len(now.made_of) > 1:
            self._parts[name] = now
        comparable = before.draining == draining and len(before.made_of) == len(now.made_of)
        for part, entries in enumerate(now.made_of):
            if not comparable or before.made_of[part] != entries:
                made = shard(name, entries, self._settings, drains=draining)
                yield shard_key(name, self._settings, part), made
        for part in range(len(now.made_of), len(before.made_of)):
            yield shard_key(name, self._settings, part), None

    def _entries_behind(self, service: Service | None) -> Iterator[Entry]:
        """None if there is no Service with endpoints of its own."""
        if service is None or service.alias_of or not self._sees(service.id.namespace):
            return
        for found in self._cluster.counting(service.id):
            yield from self._entries_of(found)

    def _workload(self, name: ObjectName) -> Message | None:
        pod = self._cluster.pods.get(name)
        if pod is None or not pod.addresses or not self._sees(name.namespace):
            return None
        return canonical_workload(pod, self._settings, self._place(pod, pod.addresses[0], pod.node))

    def _entries_of(self, found: Slice) -> Iterable[Entry]:
        """What is known of the addresses of a slice; those whose Pod is unknown are held back.

        What a slice before had too is not made again.
        """
        known = self._entries.get(found.id)
        if known is None or known.slice is not found:
            old = known.made if known is not None else {}
            made = {
                each: old[each] if each in old else self._entry(each, found.service.namespace)
                for each in found.backends
            }
            known = self._entries[found.id] = _Entries(found, made)
        return filter(None, known.made.values())

    def _entry(self, backend: Backend, namespace: str) -> Entry | None:
        if backend.pod is None:
            pod = self._cluster.pod_at(backend.address)
        elif (pod := self._cluster.pods.get(backend.pod)) is None:
            return None
        place = self._place(pod, backend.address, pod.node if pod else backend.node)
        return entry(backend, namespace, pod, place, self._settings)

    def _place(self, pod: Pod | None, address: str, node: str) -> Place:
        """Locality by the Pod, else the Node; network by Pod, system namespace, mesh (D2.3)."""
        labels = pod.labels if pod else {}
        network = labels.get(NETWORK) or self._own_network or self._settings.network(address)
        return Place(locality(labels, self._cluster.node(node)), network, node)

    @property
    def _own_network(self) -> str:
        """Network of the whole cluster, by the label of the system namespace."""
        found = self._cluster.namespaces.get(ObjectName("", self._settings.system_namespace))
        return found.labels.get(NETWORK, "") if found else ""

    def _sees(self, namespace: str) -> bool:
        found = self._cluster.namespaces.get(ObjectName("", namespace))
        return self._settings.sees(found.labels if found else {})

    def _forget(
        self, slices: Set[SliceId], concerned: Callable[[Backend], bool] = lambda _: True
    ) -> None:
        """Derive those addresses of slices anew, and what they are part of."""
        for each in slices:
            if known := self._entries.pop(each, None):
                left = {key: made for key, made in known.made.items() if not concerned(key)}
                self._entries[each] = _Entries(None, left)
            self._stale.shards.add(self._cluster.slices[each].service)
