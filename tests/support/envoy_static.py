"""Static Envoy configuration around what Pilot generates, for tests without a control plane."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from mast.pilot.core.listeners.http_connection_manager import HTTP_CONNECTION_MANAGER
from mast.pilot.core.packing import packed
from mast.pilot.core.ports.sockets import ORIGINAL_DST

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def bootstrap(listeners: Iterable[Listener], clusters: Iterable[Cluster]) -> Bootstrap:
    """A configuration with these listeners and clusters."""
    result = Bootstrap()
    result.node.id, result.node.cluster = "test", "test"
    result.static_resources.listeners.extend(listeners)
    result.static_resources.clusters.extend(clusters)
    return result


def answering_listener(routes: Iterable[Route]) -> Listener:
    """A listener on a port of its own whose only virtual host has these routes."""
    manager = HttpConnectionManager(stat_prefix="test")
    manager.route_config.virtual_hosts.add(name="all", domains=["*"], routes=routes)
    manager.http_filters.add(name="envoy.filters.http.router", typed_config=packed(Router()))
    result = Listener(name="test")
    result.address.socket_address.address = "127.0.0.1"
    result.address.socket_address.port_value = 0
    chain = result.filter_chains.add()
    chain.filters.add(name=HTTP_CONNECTION_MANAGER, typed_config=packed(manager))
    return result


def cluster(name: str, *ports: int, http2: bool = False) -> Cluster:
    """A cluster with endpoints on ports of 127.0.0.1; port 0 stands for one nobody listens on."""
    result = Cluster(name=name, type=Cluster.STATIC)
    result.connect_timeout.FromSeconds(2)
    result.load_assignment.cluster_name = name
    locality = result.load_assignment.endpoints.add()
    locality.lb_endpoints.extend(_endpoint(port) for port in ports)
    if http2:
        options = HttpProtocolOptions()
        options.explicit_http_config.http2_protocol_options.SetInParent()
        result.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(packed(options))
    return result


def passthrough(name: str) -> Cluster:
    """A cluster that leads to the address that was dialled."""
    result = Cluster(name=name, type=Cluster.ORIGINAL_DST, lb_policy=Cluster.CLUSTER_PROVIDED)
    result.connect_timeout.FromSeconds(2)
    return result


def black_hole(name: str) -> Cluster:
    """A cluster without endpoints."""
    return cluster(name)


def route_names(listeners: Iterable[Listener]) -> set[str]:
    """Names of the route configurations that listeners subscribe."""
    return {
        manager.rds.route_config_name
        for each in listeners
        for chain in [*each.filter_chains, each.default_filter_chain]
        for _, manager in _subscribing(chain)
    }


def with_routes(
    listeners: Sequence[Listener], configurations: Mapping[str, RouteConfiguration]
) -> list[Listener]:
    """The listeners with route configurations in place of the names of such."""
    result = []
    for each in listeners:
        copy = Listener()
        copy.CopyFrom(each)
        for chain in [*copy.filter_chains, copy.default_filter_chain]:
            _inline_routes(chain, configurations)
        result.append(copy)
    return result


def told_destination(each: Listener) -> Listener:
    """A listener for captured traffic, on a port of its own, that is told what was dialled.

    A PROXY protocol header says what the kernel says after redirection.
    """
    result = Listener()
    result.CopyFrom(each)
    result.address.socket_address.address = "127.0.0.1"
    result.address.socket_address.port_value = 0
    kept = [other for other in result.listener_filters if other.name != ORIGINAL_DST]
    del result.listener_filters[:]
    result.listener_filters.add(
        name="envoy.filters.listener.proxy_protocol", typed_config=packed(ProxyProtocol())
    )
    result.listener_filters.extend(kept)
    return result


def _inline_routes(chain: FilterChain, configurations: Mapping[str, RouteConfiguration]) -> None:
    for each, manager in _subscribing(chain):
        manager.route_config.CopyFrom(configurations[manager.rds.route_config_name])
        each.typed_config.CopyFrom(packed(manager))


def _subscribing(chain: FilterChain) -> Iterator[tuple[Filter, HttpConnectionManager]]:
    for each in chain.filters:
        manager = HttpConnectionManager()
        if each.typed_config.Unpack(manager) and manager.HasField("rds"):
            yield each, manager


def _endpoint(port: int) -> LbEndpoint:
    result = LbEndpoint()
    address = result.endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", port or 1
    return result
