"""Patches of listeners and what is in them (Istio EnvoyFilter, "applyTo: LISTENER" and below).

They are applied from the outside to the inside: the listener, its listener filters, each filter
chain, its network filters, the HTTP filters and inline routes of its connection managers; then
chains are added. Among filters, merges come after additions and removals.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.common.envoy.merging import merge
from mast.common.envoy.types import type_name
from mast.pilot.core.packing import packed
from mast.pilot.core.patches.clusters import merge_socket
from mast.pilot.core.patches.conditions import (
    Scene,
    chain_matches,
    filter_matches,
    listener_matches,
    network_filter_matches,
    wanted_filter,
)
from mast.pilot.core.patches.lists import Wanted, edit, retain
from mast.pilot.core.patches.patch import Patch, PatchSet, Unfit, copied
from mast.pilot.core.patches.record import Record
from mast.pilot.core.patches.routes import patched_routes


def patched_listener(
    listener: Listener, patches: PatchSet, scene: Scene, record: Record
) -> Listener | None:
    """The listener, changed in place; None if a patch removes it."""
    work = _Work(listener, patches, scene, record)
    for patch in work.patches_of(EnvoyFilter.LISTENER):
        if patch.operation == EnvoyFilter.Patch.ADD:
            continue
        record.apply(patch)
        if patch.operation == EnvoyFilter.Patch.REMOVE:
            return None
        if patch.operation == EnvoyFilter.Patch.REPLACE:
            listener.CopyFrom(patch.value)
        else:
            merge(listener, patch.value, replace_lists=patch.replaces_lists)
    work.filters(listener.listener_filters, EnvoyFilter.LISTENER_FILTER, lambda _: True)
    work.chains()
    return listener


@dataclass(frozen=True)
class _Work:
    """One listener that is being patched."""

    listener: Listener
    patches: PatchSet
    scene: Scene
    record: Record

    def patches_of(self, apply_to: int) -> Iterator[Patch]:
        """Those that are for this listener."""
        for each in self.patches.of(apply_to):
            if self.scene.covers(each) and listener_matches(self.listener, each):
                yield each

    def chains(self) -> None:
        """Patch each chain, take out what is removed, then add."""
        listener = self.listener
        retain(listener.filter_chains, [self._keeps(each) for each in listener.filter_chains])
        default = listener.default_filter_chain
        if listener.HasField("default_filter_chain") and not self._keeps(default):
            listener.ClearField("default_filter_chain")
        for patch in self.patches_of(EnvoyFilter.FILTER_CHAIN):
            if patch.operation == EnvoyFilter.Patch.ADD:
                listener.filter_chains.add().CopyFrom(patch.value)
                self.record.apply(patch)

    def filters(self, items: Any, apply_to: int, fits: Callable[[Patch], bool]) -> None:
        """Patch a list of filters: additions and removals in order, then merges."""
        found = [each for each in self.patches_of(apply_to) if fits(each)]
        for patch in found:
            if not patch.merges:
                named = _named(patch) if wanted_filter(patch) else None
                if edit(items, patch, named):
                    self.record.apply(patch)
        for patch in found:
            if patch.merges:
                self._merge_filters(items, patch)

    def _keeps(self, chain: FilterChain) -> bool:
        """Patch a chain in place; false if a patch removes it."""
        for patch in self.patches_of(EnvoyFilter.FILTER_CHAIN):
            if patch.operation == EnvoyFilter.Patch.ADD:
                continue
            if not chain_matches(self.listener, chain, patch):
                continue
            self.record.apply(patch)
            if patch.operation == EnvoyFilter.Patch.REMOVE:
                return False
            if patch.operation == EnvoyFilter.Patch.REPLACE:
                chain.CopyFrom(patch.value)
            else:
                _merge_chain(chain, patch)

        def fits(patch: Patch) -> bool:
            return chain_matches(self.listener, chain, patch)

        self.filters(chain.filters, EnvoyFilter.NETWORK_FILTER, fits)
        for each in chain.filters:
            self._connection_manager(chain, each)
        return True

    def _connection_manager(self, chain: FilterChain, each: Filter) -> None:
        """Patch HTTP filters and inline routes of a connection manager; others stay as they are."""
        manager = HttpConnectionManager()
        if not each.typed_config.Unpack(manager):
            return
        before = packed(manager)

        def fits(patch: Patch) -> bool:
            return chain_matches(self.listener, chain, patch) and network_filter_matches(
                each.name, patch
            )

        self.filters(manager.http_filters, EnvoyFilter.HTTP_FILTER, fits)
        if manager.HasField("route_config"):
            patched_routes(manager.route_config, self.patches, self.scene, self.record)
        if (after := packed(manager)) != before:
            each.typed_config.CopyFrom(after)

    def _merge_filters(self, items: Sequence[Any], patch: Patch) -> None:
        """Merge into all filters of the name; without a name into those of the same type."""
        anyone = not wanted_filter(patch)
        for each in items:
            if not anyone and not filter_matches(each, patch):
                continue
            try:
                _merge_filter(each, patch)
            except Unfit as error:
                if not anyone:
                    self.record.skip(patch, str(error))
            else:
                self.record.apply(patch)


def _named(patch: Patch) -> Wanted:
    return lambda each: filter_matches(each, patch)


def _merge_filter(target: Any, patch: Patch) -> None:
    """Merge a listener, network or HTTP filter; the settings must be of one type (K3)."""
    value: Any = patch.value
    if value.HasField("typed_config"):
        if not target.HasField("typed_config"):
            raise Unfit(f"filter {target.name!r} has no typed_config to merge into")
        there, new = type_name(target.typed_config.type_url), type_name(value.typed_config.type_url)
        if there != new:
            raise Unfit(f"typed_config: filter {target.name!r} is a {there}, not a {new}")
    merge(target, patch.value, replace_lists=patch.replaces_lists)


def _merge_chain(chain: FilterChain, patch: Patch) -> None:
    value: FilterChain = copied(patch.value)
    if value.HasField("transport_socket"):
        merge_socket(chain, value.transport_socket, patch)
        value.ClearField("transport_socket")
    merge(chain, value, replace_lists=patch.replaces_lists)
