"""Everything known of a cluster, and what leads from one object to others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import Generic, TypeVar

from mast.galley.core.discovery.objects import (
    ClusterNode,
    Namespace,
    ObjectName,
    Pod,
    Service,
    Slice,
    SliceId,
)
from mast.galley.core.discovery.services import gateway_names

K = TypeVar("K")
V = TypeVar("V")


class Links(Generic[K, V]):
    """Which values belong to a key; a key without values is gone."""

    def __init__(self) -> None:
        self._values: dict[K, set[V]] = {}

    def __iter__(self) -> Iterator[K]:
        return iter(self._values)

    def __getitem__(self, key: K) -> Set[V]:
        return self._values.get(key, frozenset())

    def move(self, value: V, old: Iterable[K], new: Iterable[K]) -> None:
        """Put a value under its new keys in place of the old ones."""
        for key in old:
            left = self._values.get(key, set())
            left.discard(value)
            if not left:
                self._values.pop(key, None)
        for key in new:
            self._values.setdefault(key, set()).add(value)


class Cluster:
    """Objects by name; `None` in place of one takes it away. Every change costs what it reaches."""

    def __init__(self) -> None:
        self.services: dict[ObjectName, Service] = {}
        self.slices: dict[SliceId, Slice] = {}
        self.pods: dict[ObjectName, Pod] = {}
        self.nodes: dict[ObjectName, ClusterNode] = {}
        self.namespaces: dict[ObjectName, Namespace] = {}
        self.slices_of: Links[ObjectName, SliceId] = Links()
        self.slices_naming: Links[ObjectName, SliceId] = Links()
        self.slices_at: Links[str, SliceId] = Links()
        self.slices_on: Links[str, SliceId] = Links()
        self.pods_at: Links[str, ObjectName] = Links()
        self.pods_on: Links[str, ObjectName] = Links()
        self.by_nodes: set[ObjectName] = set()
        self.by_name: Links[str, ObjectName] = Links()
        self._services_in: Links[str, ObjectName] = Links()
        self._pods_in: Links[str, ObjectName] = Links()

    def put_service(self, name: ObjectName, service: Service | None) -> None:
        """Note a Service."""
        old = self.services.pop(name, None)
        if service is not None:
            self.services[name] = service
        self._services_in.move(name, _namespaces(old), _namespaces(service))
        self.by_name.move(name, gateway_names(old), gateway_names(service))
        self.by_nodes.discard(name)
        if service is not None and service.node_selector is not None:
            self.by_nodes.add(name)

    def put_slice(self, name: SliceId, found: Slice | None) -> None:
        """Note a slice, by the Service, Pods, addresses without Pod, and Nodes that it names."""
        old = self.slices.pop(name, None)
        if found is not None:
            self.slices[name] = found
        self.slices_of.move(name, *({each.service} if each else () for each in (old, found)))
        self.slices_naming.move(name, _named_pods(old), _named_pods(found))
        self.slices_at.move(name, _bare_addresses(old), _bare_addresses(found))
        self.slices_on.move(name, _bare_nodes(old), _bare_nodes(found))

    def put_pod(self, name: ObjectName, pod: Pod | None) -> None:
        """Note a Pod; those on the network of their Node are not found by address (D2.2)."""
        old = self.pods.pop(name, None)
        if pod is not None:
            self.pods[name] = pod
        self.pods_at.move(name, own_addresses(old), own_addresses(pod))
        self.pods_on.move(name, *({each.node} if each else () for each in (old, pod)))
        self._pods_in.move(name, _namespaces(old), _namespaces(pod))

    def put_node(self, name: ObjectName, node: ClusterNode | None) -> None:
        """Note a Node."""
        self.nodes.pop(name, None)
        if node is not None:
            self.nodes[name] = node

    def put_namespace(self, name: ObjectName, namespace: Namespace | None) -> None:
        """Note a Namespace."""
        self.namespaces.pop(name, None)
        if namespace is not None:
            self.namespaces[name] = namespace

    def services_in(self, namespace: str) -> Set[ObjectName]:
        """Services of a namespace."""
        return self._services_in[namespace]

    def pods_in(self, namespace: str) -> Set[ObjectName]:
        """Pods of a namespace."""
        return self._pods_in[namespace]

    def node(self, name: str) -> ClusterNode | None:
        """A Node by its name."""
        return self.nodes.get(ObjectName("", name))

    def pod_at(self, address: str) -> Pod | None:
        """The Pod that has an address; of several that say so the one with the last name."""
        names = self.pods_at[address]
        return self.pods[max(names)] if names else None

    def counting(self, service: ObjectName) -> Iterator[Slice]:
        """Slices of a Service that count: Endpoints only where there is no EndpointSlice (D2.1)."""
        found = [self.slices[each] for each in sorted(self.slices_of[service])]
        mirrored = all(each.is_mirrored for each in found)
        return (each for each in found if mirrored or not each.is_mirrored)


def own_addresses(pod: Pod | None) -> Set[str]:
    """Addresses that a Pod has for itself."""
    return frozenset() if pod is None or pod.on_host_network else frozenset(pod.addresses)


def _namespaces(found: Service | Pod | None) -> Set[str]:
    return frozenset() if found is None else frozenset({found.id.namespace})


def _named_pods(found: Slice | None) -> Set[ObjectName]:
    return frozenset(each.pod for each in found.backends if each.pod) if found else frozenset()


def _bare_addresses(found: Slice | None) -> Set[str]:
    if found is None:
        return frozenset()
    return frozenset(each.address for each in found.backends if each.pod is None)


def _bare_nodes(found: Slice | None) -> Set[str]:
    if found is None:
        return frozenset()
    return frozenset(each.node for each in found.backends if each.pod is None and each.node)
