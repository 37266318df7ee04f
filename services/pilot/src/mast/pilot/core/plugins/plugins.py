"""Plugins of a proxy: which there are, where they stand, and how listeners refer to them (K4).

A listener names a plugin only; what it is comes by ECDS. So a change of a plugin reaches Envoy
without a change of listeners, and a module that Envoy refuses is rejected alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    ExtensionConfigSource,
)
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.extensions.filters.http.lua.v3.lua_pb2 import Lua
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.http.wasm.v3.wasm_pb2 import Wasm as HttpWasm
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.extensions.filters.network.wasm.v3.wasm_pb2 import Wasm as NetworkWasm
from google.protobuf.message import Message

from istio.extensions.v1alpha1.traffic_extension_pb2 import TrafficExtension
from istio.extensions.v1alpha1.wasm_pb2 import FAIL_OPEN, NETWORK, WasmPlugin
from istio.type.v1beta1.selector_pb2 import WorkloadMode
from mast.pilot.core.filters.extensions import Direction, Phase, Spot
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed
from mast.pilot.core.scope.attachments import attached
from mast.pilot.core.scope.scope import Scope

COLLECTIONS: Final[Mapping[str, str]] = {
    "extensions.istio.io/wasmplugin": collection_names.WASM_PLUGINS,
    "extensions.istio.io/trafficextension": collection_names.TRAFFIC_EXTENSIONS,
}
"""Prefixes of the names of ECDS resources, and the objects behind them (pilot.md K4)."""

NETWORK_NAMES: Final = "/network"
"""What a prefix ends with in names of network plugins."""

_PREFIXES: Final = {collection: prefix for prefix, collection in COLLECTIONS.items()}
_ANY_MODE: Final = (WorkloadMode.UNDEFINED, WorkloadMode.CLIENT_AND_SERVER)
_MODES: Final = {Direction.OUTBOUND: WorkloadMode.CLIENT, Direction.INBOUND: WorkloadMode.SERVER}
_PHASES: Final = {1: Phase.AUTHN, 2: Phase.AUTHZ, 3: Phase.STATS}
"""By number, which both kinds of objects have in common."""

_OPEN_STATS: Final = "plugin_default."


@dataclass(frozen=True, kw_only=True)
class Match:
    """Traffic that a plugin sees; `mode` as in WorkloadMode, no ports: all."""

    mode: int
    ports: frozenset[int]

    def includes(self, spot: Spot) -> bool:
        """Whether the traffic of a chain is that."""
        if self.mode not in (*_ANY_MODE, _MODES[spot.direction]):
            return False
        return not self.ports or spot.port in self.ports


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """One plugin as listeners see it.

    `name` is that of its ECDS resource. With `fails_open` traffic passes where Envoy has no
    configuration of it that works; else there is none (Istio WasmPlugin, "failStrategy").
    """

    name: str
    phase: Phase
    is_network: bool
    fails_open: bool
    matches: tuple[Match, ...]

    def includes(self, spot: Spot) -> bool:
        """Whether the traffic of a chain passes it: that of any of its matches, or all."""
        return not self.matches or any(each.includes(spot) for each in self.matches)


@dataclass(frozen=True)
class Plugins:
    """The plugins of one proxy in the order in which traffic passes them."""

    all: tuple[Plugin, ...] = ()

    def http(self, spot: Spot, phase: Phase) -> Sequence[HttpFilter]:
        """HTTP filters of a phase."""
        return [
            HttpFilter(name=each.name, config_discovery=_http_source(each))
            for each in self._at(spot, phase, is_network=False)
        ]

    def network(self, spot: Spot, phase: Phase) -> Sequence[Filter]:
        """Network filters of a phase."""
        return [
            Filter(name=each.name, config_discovery=_network_source(each))
            for each in self._at(spot, phase, is_network=True)
        ]

    def _at(self, spot: Spot, phase: Phase, *, is_network: bool) -> Iterator[Plugin]:
        for each in self.all:
            if each.phase is phase and each.is_network is is_network and each.includes(spot):
                yield each


def plugins(scope: Scope, proxy: Proxy) -> Plugins:
    """The plugins of root and own namespace for a proxy: high priority first, then by name."""
    found = [
        each
        for collection in COLLECTIONS.values()
        for each in scope.policies(collection)
        if attached(each, proxy)
    ]
    ordered = sorted(found, key=lambda each: (-each.spec.priority.value, resource_name(each)))
    return Plugins(tuple(map(_plugin, ordered)))


def resource_name(config: Config[Any]) -> str:
    """Name of the ECDS resource of a plugin (pilot.md K4).

    Network plugins have names of their own: while Envoy drains the listeners of a plugin that was
    one of HTTP it would refuse that name's new kind.
    """
    prefix = _PREFIXES[config.meta.collection] + (NETWORK_NAMES if is_network(config) else "")
    return f"{prefix}/{config.meta.namespace}.{config.meta.name}"


def is_network(config: Config[Any]) -> bool:
    """Whether it sees bytes instead of requests."""
    return bool(_module(config).type == NETWORK)


def _plugin(config: Config[WasmPlugin] | Config[TrafficExtension]) -> Plugin:
    spec = config.spec
    return Plugin(
        name=resource_name(config),
        phase=_PHASES.get(spec.phase, Phase.LAST),
        is_network=is_network(config),
        fails_open=_module(config).fail_strategy == FAIL_OPEN,
        matches=tuple(
            Match(mode=each.mode, ports=frozenset(port.number for port in each.ports))
            for each in spec.match
        ),
    )


def _module(config: Config[Any]) -> Any:
    """The message with the settings of a module: a WasmPlugin itself has them."""
    return config.spec if isinstance(config.spec, WasmPlugin) else config.spec.wasm


def _http_source(plugin: Plugin) -> ExtensionConfigSource:
    return _source(plugin, HttpRbac(), HttpWasm(), Lua())


def _network_source(plugin: Plugin) -> ExtensionConfigSource:
    return _source(plugin, NetworkRbac(stat_prefix=_OPEN_STATS), NetworkWasm())


def _source(plugin: Plugin, passing: Message, *kinds: Message) -> ExtensionConfigSource:
    """ECDS with Envoy's time limit, 15 s: no listener waits for ever for a plugin (pilot.md B16).

    `passing` is a filter that lets everything pass: the default of plugins that fail open.
    """
    source = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
    result = ExtensionConfigSource(config_source=source)
    for each in (passing, *kinds):
        result.type_urls.append(f"type.googleapis.com/{each.DESCRIPTOR.full_name}")
    if plugin.fails_open:
        result.default_config.CopyFrom(packed(passing))
    return result
