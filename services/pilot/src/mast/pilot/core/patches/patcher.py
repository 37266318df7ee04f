"""Patches applied to the resources of a view: last of all, and nothing twice (pilot.md K1).

What patches make of a resource depends on the patches and on its content, so it is kept under
both: it is made again when one of them changes, and shared by all proxies with the same patches.
A resource that no patch is for stays the object it was.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.common.envoy.merging import merge
from mast.pilot.core import names
from mast.pilot.core.model.proxy import ProxyType
from mast.pilot.core.patches.application import applied
from mast.pilot.core.patches.clusters import patched_cluster
from mast.pilot.core.patches.conditions import Scene, cluster_name_may_match
from mast.pilot.core.patches.listeners import patched_listener
from mast.pilot.core.patches.patch import Patch, PatchName, PatchSet, Skipped
from mast.pilot.core.patches.routes import patched_routes
from mast.pilot.core.patches.selection import patch_set
from mast.pilot.core.patches.soundness import faults
from mast.pilot.core.routes.virtual_hosts import ordinary_name
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.xds.resources import (
    BOOTSTRAP,
    CDS,
    ECDS,
    LDS,
    RDS,
    VHDS,
    Collection,
    Part,
    Resource,
    part,
)

Make = Callable[[str, Message], Resource]
"""The resource of a type URL and a message."""

PortsOf = Callable[[Scope], Iterable[tuple[int, int]]]
"""Ports of the services of a gateway, each with the port of the gateway that it leads to."""

_INBOUND_CLUSTERS: Final = ("inbound|", names.INBOUND_PASSTHROUGH)
_ROUTE_KINDS: Final = (
    EnvoyFilter.ROUTE_CONFIGURATION,
    EnvoyFilter.VIRTUAL_HOST,
    EnvoyFilter.HTTP_ROUTE,
)
_LISTENER_KINDS: Final = (
    EnvoyFilter.LISTENER,
    EnvoyFilter.LISTENER_FILTER,
    EnvoyFilter.FILTER_CHAIN,
    EnvoyFilter.NETWORK_FILTER,
    EnvoyFilter.HTTP_FILTER,
    *_ROUTE_KINDS,
)
_ADDED: Final = {
    CDS: EnvoyFilter.CLUSTER,
    LDS: EnvoyFilter.LISTENER,
    ECDS: EnvoyFilter.EXTENSION_CONFIG,
}
PATCHED: Final = frozenset({CDS, LDS, RDS, ECDS, VHDS, BOOTSTRAP})
"""Types of resources that patches may change or add."""


@dataclass(frozen=True)
class Outcome:
    """What became of a resource, None if it was removed, and the patches that changed it."""

    resource: Resource | None
    applied: frozenset[PatchName] = frozenset()


@dataclass(frozen=True, eq=False)
class Patcher:
    """The patches of one class of proxies, at least one; `ports` are those of a gateway."""

    names: tuple[PatchName, ...]
    type: ProxyType
    make: Make
    ports: PortsOf

    def collection(self, type_url: str, generated: Collection, scope: Scope) -> Collection:
        """The resources of a wildcard type as patches leave them, then those that they add."""
        parts = [self._part(type_url, each, scope) for each in generated.parts]
        taken = {name for each in parts for name in each.resources}
        added = part(resource for _, resource in self.additions(type_url, taken, scope))
        return Collection((*parts, added) if added.resources else tuple(parts))

    def additions(
        self, type_url: str, taken: Container[str], scope: Scope
    ) -> Iterator[tuple[Patch, Resource]]:
        """What patches add beside resources of the names that are taken."""
        patches = patch_set(self.names, scope)
        if type_url == BOOTSTRAP:
            yield from self._bootstrap(patches)
        given: set[str] = set()
        for patch in patches.of(_ADDED[type_url]) if type_url in _ADDED else ():
            if patch.operation != EnvoyFilter.Patch.ADD or not self._takes(patch):
                continue
            name, wrong = patch.value.name, faults(patch.value)
            if name in taken or name in given:
                wrong.insert(0, f"name: there is a {name!r} already")
            if wrong:
                skipped = Skipped(patch.name, patch.source, "; ".join(wrong))
                scope.report(skipped.finding(name))
                continue
            given.add(name)
            yield patch, self.make(type_url, patch.value)

    def resource(self, resource: Resource, scope: Scope) -> Resource | None:
        """A resource as patches leave it, None if they remove it."""
        return self.outcome(resource, scope).resource

    def outcome(self, resource: Resource, scope: Scope) -> Outcome:
        """What patches make of a resource."""
        patches = patch_set(self.names, scope)
        scene = self._scene(resource)
        if not _concerned(resource, patches, scene):
            return Outcome(resource)
        if resource.type_url in (RDS, VHDS):
            scene = Scene(scene.context, _by_target(self.ports(scope)))
        ports = frozenset(scene.service_ports.items())
        key = ("patched", patches.key, self.type, resource.type_url, resource.name, ports)
        return scope.shared(
            (*key, resource.version), lambda inner: self._patched(resource, scene, inner)
        )

    def _part(self, type_url: str, whole: Part, scope: Scope) -> Part:
        """A part of a collection, shared by all views that share it and the patches."""
        patches = patch_set(self.names, scope)

        def made(inner: Scope) -> Part:
            found = {each: self.resource(each, inner) for each in whole.resources.values()}
            if all(before is after for before, after in found.items()):
                return whole
            return part(each for each in found.values() if each is not None)

        key = ("patched part", patches.key, self.type, type_url, whole.version)
        return scope.shared(key, made)

    def added_routes(self, name: str, scope: Scope) -> tuple[Patch, Resource] | None:
        """The route configuration of that name that a patch adds, itself patched by the others."""
        for patch in patch_set(self.names, scope).of(EnvoyFilter.ROUTE_CONFIGURATION):
            adds = patch.operation == EnvoyFilter.Patch.ADD and patch.value.name == name
            if adds and self._takes(patch) and not faults(patch.value):
                return patch, self.make(RDS, patch.value)
        return None

    def _patched(self, resource: Resource, scene: Scene, scope: Scope) -> Outcome:
        kind, apply = _APPLY[resource.type_url]
        original = kind()
        original.ParseFromString(resource.body)
        if isinstance(original, Listener):
            scene = Scene(self._context(original.traffic_direction == TrafficDirection.INBOUND))
        whole = _whole(resource, original)
        result = applied(
            whole,
            patch_set(self.names, scope),
            lambda message, patches, record: apply(message, patches, scene, record),
        )
        for each in result.skipped:
            scope.report(each.finding(resource.name))
        if result.message is whole:
            return Outcome(resource)
        changed = _unwrapped(resource, result.message)
        made = None if changed is None else self.make(resource.type_url, changed)
        return Outcome(made, frozenset(each.name for each in result.applied))

    def _bootstrap(self, patches: PatchSet) -> Iterator[tuple[Patch, Resource]]:
        """All that is to be merged into the bootstrap, as one message."""
        found = patches.of(EnvoyFilter.BOOTSTRAP)
        if found:
            message = Bootstrap()
            for patch in found:
                merge(message, patch.value)
            whole = self.make(BOOTSTRAP, message)
            yield from ((patch, whole) for patch in found)

    def _scene(self, resource: Resource) -> Scene:
        """By its name; that of a listener is known only from what is in it."""
        inbound = resource.type_url == CDS and resource.name.startswith(_INBOUND_CLUSTERS)
        return Scene(self._context(inbound))

    def _context(self, inbound: bool) -> int:
        if self.type is ProxyType.ROUTER:
            return EnvoyFilter.GATEWAY
        return EnvoyFilter.SIDECAR_INBOUND if inbound else EnvoyFilter.SIDECAR_OUTBOUND

    def _takes(self, patch: Patch) -> bool:
        """The patch may add an object to one of the parts of the proxy (pilot.md K2)."""
        contexts = {self._context(inbound) for inbound in (False, True)}
        return any(Scene(each).takes_additions(patch) for each in contexts)


def _by_target(ports: Iterable[tuple[int, int]]) -> Mapping[int, frozenset[int]]:
    """Ports of services by the port they lead to."""
    found: dict[int, set[int]] = {}
    for number, target in ports:
        found.setdefault(target, set()).add(number)
    return {target: frozenset(numbers) for target, numbers in found.items()}


def _concerned(resource: Resource, patches: PatchSet, scene: Scene) -> bool:
    """False if already its name tells that no patch changes the resource."""
    if resource.type_url == CDS:
        return any(
            scene.covers(each) and cluster_name_may_match(resource.name, each)
            for each in patches.of(EnvoyFilter.CLUSTER)
            if each.operation != EnvoyFilter.Patch.ADD
        )
    if resource.type_url == LDS:
        return bool(patches.of(*_LISTENER_KINDS))
    routes = patches.of(*_ROUTE_KINDS) if resource.type_url in (RDS, VHDS) else ()
    return any(scene.covers(each) for each in routes)


def _whole(resource: Resource, message: Message) -> Message:
    """What patches are applied to: for a virtual host on its own the configuration it is of.

    There it has the name that it would have there.
    """
    if isinstance(message, VirtualHost):
        message.name = ordinary_name(message)
        return RouteConfiguration(name=resource.name.partition("/")[0], virtual_hosts=[message])
    return message


def _unwrapped(resource: Resource, message: Message | None) -> Message | None:
    """The opposite of `_whole`."""
    if resource.type_url != VHDS:
        return message
    hosts = cast("RouteConfiguration", message).virtual_hosts
    if not hosts:
        return None
    hosts[0].name = resource.name
    return hosts[0]


_APPLY: Final[Mapping[str, tuple[type[Message], Callable[..., Any]]]] = {
    CDS: (Cluster, patched_cluster),
    LDS: (Listener, patched_listener),
    RDS: (RouteConfiguration, patched_routes),
    VHDS: (VirtualHost, patched_routes),
}
"""How resources are patched: their message, and what takes message, patches, scene and record."""
