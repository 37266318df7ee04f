"""Patches of route configurations (Istio EnvoyFilter, "applyTo: ROUTE_CONFIGURATION" and below).

The configuration first, then each virtual host and its routes, then virtual hosts are added.
"""

from collections.abc import Iterator

from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.common.envoy.merging import merge
from mast.pilot.core.patches.conditions import (
    Scene,
    route_matches,
    routes_match,
    virtual_host_matches,
    wants_route,
)
from mast.pilot.core.patches.lists import Wanted, edit, retain
from mast.pilot.core.patches.patch import Patch, PatchSet
from mast.pilot.core.patches.record import Record


def patched_routes(
    configuration: RouteConfiguration, patches: PatchSet, scene: Scene, record: Record
) -> RouteConfiguration:
    """The configuration, changed in place.

    A removed one keeps its name and loses its virtual hosts: a listener would wait for it.
    """

    def patches_of(apply_to: int) -> Iterator[Patch]:
        name = configuration.name
        for each in patches.of(apply_to):
            if scene.covers(each) and routes_match(name, each, scene):
                yield each

    for patch in patches_of(EnvoyFilter.ROUTE_CONFIGURATION):
        if patch.operation == EnvoyFilter.Patch.REMOVE:
            del configuration.virtual_hosts[:]
            record.apply(patch)
        elif patch.merges:
            merge(configuration, patch.value, replace_lists=patch.replaces_lists)
            record.apply(patch)
    hosts = list(patches_of(EnvoyFilter.VIRTUAL_HOST))
    routes = list(patches_of(EnvoyFilter.HTTP_ROUTE))
    if hosts or routes:
        keeps = [_keeps(each, hosts, routes, record) for each in configuration.virtual_hosts]
        retain(configuration.virtual_hosts, keeps)
    for patch in hosts:
        if patch.operation == EnvoyFilter.Patch.ADD:
            configuration.virtual_hosts.add().CopyFrom(patch.value)
            record.apply(patch)
    return configuration


def _keeps(host: VirtualHost, hosts: list[Patch], routes: list[Patch], record: Record) -> bool:
    """Patch a virtual host in place; false if a patch removes it."""
    for patch in hosts:
        if patch.operation == EnvoyFilter.Patch.ADD or not virtual_host_matches(host, patch):
            continue
        record.apply(patch)
        if patch.operation == EnvoyFilter.Patch.REMOVE:
            return False
        if patch.operation == EnvoyFilter.Patch.REPLACE:
            host.CopyFrom(patch.value)
        else:
            merge(host, patch.value, replace_lists=patch.replaces_lists)
    _patch_routes(host, [each for each in routes if virtual_host_matches(host, each)], record)
    return True


def _patch_routes(host: VirtualHost, patches: list[Patch], record: Record) -> None:
    """Removals and merges of what is there, then additions."""
    retain(host.routes, [_keeps_route(each, patches, record) for each in host.routes])
    for patch in patches:
        if patch.operation == EnvoyFilter.Patch.REMOVE or patch.merges:
            continue
        first = patch.operation == EnvoyFilter.Patch.INSERT_FIRST
        wanted = wants_route(patch)
        if first and wanted and not any(route_matches(each, patch) for each in host.routes):
            continue
        if edit(host.routes, patch, _wanted(patch) if wanted else None):
            record.apply(patch)


def _keeps_route(route: Route, patches: list[Patch], record: Record) -> bool:
    """Patch a route in place; false if a patch removes it."""
    for patch in patches:
        removes = patch.operation == EnvoyFilter.Patch.REMOVE
        if not (removes or patch.merges) or not route_matches(route, patch):
            continue
        record.apply(patch)
        if removes:
            return False
        merge(route, patch.value, replace_lists=patch.replaces_lists)
    return True


def _wanted(patch: Patch) -> Wanted:
    return lambda route: route_matches(route, patch)
