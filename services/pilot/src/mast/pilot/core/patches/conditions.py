"""Whether a generated object is one that a patch is for (Istio EnvoyFilter, "match").

Each question assumes that what holds the object has been matched before. No condition matches
everything.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from google.protobuf.json_format import MessageToDict

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.common.envoy.extensions import (
    HTTP_FILTERS,
    LISTENER_FILTERS,
    NETWORK_FILTERS,
    canonical,
)
from mast.pilot.core import names
from mast.pilot.core.patches.patch import Patch

_VIRTUAL: Final = frozenset({names.VIRTUAL_INBOUND, names.VIRTUAL_OUTBOUND})
_FILTER_CATEGORIES: Final[Mapping[int, str]] = {
    EnvoyFilter.LISTENER_FILTER: LISTENER_FILTERS,
    EnvoyFilter.NETWORK_FILTER: NETWORK_FILTERS,
    EnvoyFilter.HTTP_FILTER: HTTP_FILTERS,
}
_ACTIONS: Final[Mapping[int, str]] = {
    EnvoyFilter.RouteConfigurationMatch.RouteMatch.ROUTE: "route",
    EnvoyFilter.RouteConfigurationMatch.RouteMatch.REDIRECT: "redirect",
    EnvoyFilter.RouteConfigurationMatch.RouteMatch.DIRECT_RESPONSE: "direct_response",
}


@dataclass(frozen=True)
class Scene:
    """Where an object belongs: the context, and how a gateway's service maps its ports.

    `service_ports` are those that lead to a port the gateway listens on.
    """

    context: int
    service_ports: Mapping[int, frozenset[int]] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def covers(self, patch: Patch) -> bool:
        """The patch is for this context."""
        return patch.match.context in (EnvoyFilter.ANY, self.context)

    def takes_additions(self, patch: Patch) -> bool:
        """The patch may add an object here: with ANY to outbound and gateways only (K2)."""
        if patch.match.context == EnvoyFilter.ANY:
            return self.context != EnvoyFilter.SIDECAR_INBOUND
        return self.covers(patch)


# Clusters


def cluster_name_may_match(name: str, patch: Patch) -> bool:
    """False if already the name of a cluster tells that the patch is not for it."""
    match = patch.match.cluster
    if match.name:
        return match.name == name
    port, subset, host = _cluster_parts(name)
    if match.subset and match.subset != subset:
        return False
    if match.port_number and match.port_number != port:
        return False
    return not match.service or not host or match.service == host


def cluster_matches(cluster: Cluster, patch: Patch) -> bool:
    """By exact name, or by service, subset and port; inbound ones by the services they serve."""
    match = patch.match.cluster
    if not cluster_name_may_match(cluster.name, patch):
        return False
    if match.name or not match.service or _cluster_parts(cluster.name)[2]:
        return True
    return match.service in _hosts(cluster)


def _hosts(cluster: Cluster) -> Iterator[str]:
    """Hosts of the services behind a cluster, from its metadata (pilot.md C3)."""
    described = MessageToDict(cluster.metadata).get("filterMetadata", {}).get("istio", {})
    return (str(each.get("host", "")) for each in described.get("services", ()))


def _cluster_parts(name: str) -> tuple[int, str, str]:
    """Port, subset and host of a cluster name; an inbound one has no host, others have nothing."""
    parts = names.parse_outbound_cluster(name)
    if parts is not None:
        return parts.port, parts.subset, parts.host
    direction, _, rest = name.partition("|")
    port = rest.partition("|")[0]
    return (int(port) if direction == "inbound" and port.isdecimal() else 0), "", ""


# Listeners


def listener_matches(listener: Listener, patch: Patch) -> bool:
    """By exact name and by port, which for parts of virtual listeners is that of the chain."""
    match = patch.match.listener
    if match.name and match.name != listener.name:
        return False
    if patch.apply_to != EnvoyFilter.LISTENER and listener.name in _VIRTUAL:
        return True
    port = listener.address.socket_address.port_value
    return not match.port_number or match.port_number == port


def chain_matches(listener: Listener, chain: FilterChain, patch: Patch) -> bool:
    """By name and by what the chain itself matches."""
    match, own = patch.match.listener, chain.filter_chain_match
    port = own.destination_port.value
    if listener.name in _VIRTUAL and match.port_number and match.port_number != port:
        return False
    wanted = match.filter_chain
    return (
        (not wanted.name or wanted.name == chain.name)
        and (not wanted.sni or wanted.sni in own.server_names)
        and (not wanted.transport_protocol or wanted.transport_protocol == own.transport_protocol)
        and _all_in(wanted.application_protocols, own.application_protocols)
        and (not wanted.destination_port or wanted.destination_port == port)
    )


def _all_in(wanted: str, present: Iterable[str]) -> bool:
    """Every one of some comma-separated names is present; true if there are none."""
    return not wanted or {each.strip() for each in wanted.split(",")} <= set(present)


def network_filter_matches(name: str, patch: Patch) -> bool:
    """By the name of the network filter, an old or a new one; true if none is wanted."""
    wanted = patch.match.listener.filter_chain.filter.name
    return not wanted or _same(NETWORK_FILTERS, wanted, name)


def wanted_filter(patch: Patch) -> str:
    """Name of the filter that a patch of filters is about, "" if of all."""
    match = patch.match.listener
    if patch.apply_to == EnvoyFilter.LISTENER_FILTER:
        return match.listener_filter
    if patch.apply_to == EnvoyFilter.NETWORK_FILTER:
        return match.filter_chain.filter.name
    return match.filter_chain.filter.sub_filter.name


def filter_matches(each: Any, patch: Patch) -> bool:
    """By the name of a listener, network or HTTP filter, an old or a new one."""
    return _same(_FILTER_CATEGORIES[patch.apply_to], wanted_filter(patch), each.name)


def _same(category: str, one: str, other: str) -> bool:
    return canonical(category, one) == canonical(category, other)


# Routes


def routes_match(name: str, patch: Patch, scene: Scene) -> bool:
    """By exact name and port of a route configuration, at gateways also by server and Gateway."""
    match = patch.match.route_configuration
    if match.name and match.name != name:
        return False
    if scene.context != EnvoyFilter.GATEWAY:
        return not match.port_number or match.port_number == _sidecar_port(name)
    port, port_name, gateway = _gateway_parts(name)
    return (
        (not match.port_number or match.port_number in scene.service_ports.get(port, {port}))
        and (not match.port_name or match.port_name == port_name)
        and (not match.gateway or match.gateway == gateway)
    )


def _sidecar_port(name: str) -> int:
    """Port of `80`, of `HOST:80` and of `inbound|80||`; 0 if there is none."""
    if name.startswith("inbound|"):
        return _cluster_parts(name)[0]
    text = name.rpartition(":")[2]
    return int(text) if text.isdecimal() else 0


def _gateway_parts(name: str) -> tuple[int, str, str]:
    """Port, port name and `NAMESPACE/NAME` of `http.PORT` or `https.PORT.PORTNAME.GATEWAY.NS`."""
    parts = name.split(".")
    port = int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else 0
    if parts[0] == "https" and len(parts) > 4:
        return port, parts[2], f"{parts[4]}/{parts[3]}"
    return port, "", ""


def virtual_host_matches(host: VirtualHost, patch: Patch) -> bool:
    """By name and by a domain that it lists."""
    match = patch.match.route_configuration.vhost
    return (not match.name or match.name == host.name) and (
        not match.domain_name or match.domain_name in host.domains
    )


def wants_route(patch: Patch) -> bool:
    """The patch is about certain routes of a virtual host."""
    return patch.match.route_configuration.vhost.HasField("route")


def route_matches(route: Route, patch: Patch) -> bool:
    """By name and by kind of action."""
    match = patch.match.route_configuration.vhost.route
    action = _ACTIONS.get(int(match.action))
    return (not match.name or match.name == route.name) and (
        action is None or route.WhichOneof("action") == action
    )
