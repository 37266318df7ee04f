"""One change of an EnvoyFilter, ready to be applied; and all that are in force for a proxy."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from google.protobuf.message import Message

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.common.envoy import types
from mast.pilot.core.model.finding import Fault, Finding, ObjectName
from mast.pilot.core.model.model import Config
from mast.pilot.core.patches.old_filters import changes

MESSAGES: Final[Mapping[int, type[Message]]] = MappingProxyType(
    {
        EnvoyFilter.LISTENER: Listener,
        EnvoyFilter.LISTENER_FILTER: ListenerFilter,
        EnvoyFilter.FILTER_CHAIN: FilterChain,
        EnvoyFilter.NETWORK_FILTER: Filter,
        EnvoyFilter.HTTP_FILTER: HttpFilter,
        EnvoyFilter.ROUTE_CONFIGURATION: RouteConfiguration,
        EnvoyFilter.VIRTUAL_HOST: VirtualHost,
        EnvoyFilter.HTTP_ROUTE: Route,
        EnvoyFilter.CLUSTER: Cluster,
        EnvoyFilter.EXTENSION_CONFIG: TypedExtensionConfig,
        EnvoyFilter.BOOTSTRAP: Bootstrap,
    }
)
"""What the value of a patch is, by `applyTo`."""

MERGES: Final = frozenset({EnvoyFilter.Patch.MERGE, EnvoyFilter.Patch.MERGE_AND_REPLACE_LIST})
INSERTS: Final = frozenset(
    {
        EnvoyFilter.Patch.INSERT_BEFORE,
        EnvoyFilter.Patch.INSERT_AFTER,
        EnvoyFilter.Patch.INSERT_FIRST,
    }
)
ORDERED: Final = frozenset(
    {
        EnvoyFilter.LISTENER_FILTER,
        EnvoyFilter.NETWORK_FILTER,
        EnvoyFilter.HTTP_FILTER,
        EnvoyFilter.HTTP_ROUTE,
    }
)
"""Objects whose place among others matters; for the rest INSERT_* means ADD (pilot.md K2)."""


M = TypeVar("M", bound=Message)


def copied(message: M) -> M:
    """A message that can be changed on its own."""
    result = type(message)()
    result.CopyFrom(message)
    return result


class PatchName(NamedTuple):
    """Names a patch in all snapshots: the EnvoyFilter and its place among the patches of it."""

    namespace: str
    filter: str
    place: int

    def __str__(self) -> str:
        return f"{self.namespace}/{self.filter} configPatches[{self.place}]"


@dataclass(frozen=True, eq=False, kw_only=True)
class Patch:
    """One change. `value` is of the message that goes with `apply_to`; REMOVE has an empty one."""

    name: PatchName
    source: ObjectName
    apply_to: int
    operation: int
    match: EnvoyFilter.EnvoyConfigObjectMatch
    value: Any
    filter_class: int = EnvoyFilter.Patch.UNSPECIFIED

    @property
    def merges(self) -> bool:
        """Changes what is there instead of adding to it or taking from it."""
        return self.operation in MERGES

    @property
    def replaces_lists(self) -> bool:
        """Merges, but takes lists over instead of appending to them."""
        return self.operation == EnvoyFilter.Patch.MERGE_AND_REPLACE_LIST


class Skipped(NamedTuple):
    """A patch that could not be applied, and why."""

    patch: PatchName
    source: ObjectName
    reason: str

    def finding(self, key: str = "") -> Finding:
        """The same for people; `key` is the resource that stays as it was."""
        where = f" of {key}" if key else ""
        return Finding(
            fault=Fault.PATCH,
            key=key or str(self.patch),
            message=f"{self.patch}{where} is left out: {self.reason}",
            subject=self.source,
        )


class Unfit(ValueError):
    """A patch does not fit what it should change; says why."""


@dataclass(frozen=True, eq=False)
class Compiled:
    """The patches of one EnvoyFilter, and those that cannot be read."""

    patches: tuple[Patch, ...]
    unreadable: tuple[Skipped, ...] = ()


def compiled(config: Config[EnvoyFilter]) -> Compiled:
    """The patches of an EnvoyFilter in their order."""
    found: list[Patch] = []
    unreadable: list[Skipped] = []
    source = config.meta.object_name
    for place, each in enumerate(changes(config.spec)):
        name = PatchName(config.meta.namespace, config.meta.name, place)
        try:
            found.append(_patch(each, name, source))
        except ValueError as error:
            unreadable.append(Skipped(name, source, str(error)))
    return Compiled(tuple(found), tuple(unreadable))


def _patch(spec: EnvoyFilter.EnvoyConfigObjectPatch, name: PatchName, source: ObjectName) -> Patch:
    kind = MESSAGES.get(spec.apply_to)
    if kind is None:
        raise Unfit(f"applyTo: {spec.apply_to} is no kind of object")
    operation = spec.patch.operation
    if operation in INSERTS and spec.apply_to not in ORDERED:
        operation = EnvoyFilter.Patch.ADD
    value = kind()
    if operation != EnvoyFilter.Patch.REMOVE:
        value = types.parsed(spec.patch.value, kind)
    return Patch(
        name=name,
        source=source,
        apply_to=spec.apply_to,
        operation=operation,
        match=spec.match,
        value=value,
        filter_class=spec.patch.filter_class,
    )


@dataclass(frozen=True, eq=False)
class PatchSet:
    """Patches in the order in which they are applied. `key` names them within one snapshot."""

    patches: tuple[Patch, ...] = ()
    key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", tuple(each.name for each in self.patches))

    def of(self, *apply_to: int) -> Sequence[Patch]:
        """Those for some kinds of objects."""
        if len(apply_to) == 1:
            return self._by_kind.get(apply_to[0], ())
        return [each for each in self.patches if each.apply_to in apply_to]

    def only(self, patches: Iterable[Patch]) -> "PatchSet":
        """A set of some of them."""
        return PatchSet(tuple(patches))

    @cached_property
    def _by_kind(self) -> Mapping[int, Sequence[Patch]]:
        found: dict[int, list[Patch]] = {}
        for each in self.patches:
            found.setdefault(each.apply_to, []).append(each)
        return found
