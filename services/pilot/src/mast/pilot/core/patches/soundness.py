"""What Envoy refuses of a whole object: checked after patches, which may break anything.

The rules of the descriptors, and those rules between fields that patches break most easily. What
only Envoy's code knows of an extension's settings stays its own to find.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
    HttpFilter,
)
from google.protobuf.message import Message

from mast.common.envoy.constraints import Path, Violation, violations
from mast.common.envoy.extensions import HTTP_FILTERS, NETWORK_FILTERS, config_types
from mast.common.envoy.types import type_name

_ROUTER: Final = frozenset({"envoy.extensions.filters.http.router.v3.Router"})
_HTTP_ENDS: Final = _ROUTER | {
    f"envoy.extensions.filters.http.{each}"
    for each in (
        "composite.v3.Composite",
        "dynamic_modules.v3.DynamicModuleFilter",
        "file_server.v3.FileServerConfig",
        "filter_chain.v3.FilterChainConfig",
        "match_delegate.v3.ExtensionWithMatcher",
    )
}
_TERMINAL: Final = frozenset(
    f"envoy.extensions.filters.network.{each}"
    for each in (
        "direct_response.v3.Config",
        "dubbo_proxy.v3.DubboProxy",
        "echo.v3.Echo",
        "generic_proxy.v3.GenericProxy",
        "http_connection_manager.v3.HttpConnectionManager",
        "redis_proxy.v3.RedisProxy",
        "reverse_tunnel.v3.DrainAwareHttpConnectionManager",
        "tcp_proxy.v3.TcpProxy",
        "thrift_proxy.v3.ThriftProxy",
    )
)
_NETWORK_ENDS: Final = _TERMINAL | {
    f"envoy.extensions.filters.network.{each}"
    for each in ("dynamic_modules.v3.DynamicModuleNetworkFilter", "reverse_tunnel.v3.ReverseTunnel")
}


def faults(message: Message) -> list[str]:
    """Why Envoy refuses a resource; empty if nothing is known to be wrong."""
    if isinstance(message, RouteConfiguration):
        return [*_configuration(message), *_routes(message)]
    found = [str(each) for each in violations(message)]
    if isinstance(message, Listener):
        found += _listener(message)
    elif isinstance(message, Cluster):
        found += _cluster(message)
    return found


def _configuration(configuration: RouteConfiguration) -> Iterator[str]:
    """What is wrong by the descriptors; virtual hosts that were judged before are not again."""
    rest = RouteConfiguration()
    rest.CopyFrom(configuration)
    del rest.virtual_hosts[:]
    yield from (str(each) for each in violations(rest))
    for index, host in enumerate(configuration.virtual_hosts):
        for path, complaint in _virtual_host(host.SerializeToString(deterministic=True)):
            yield str(Violation(("virtual_hosts", index, *path), complaint))


@lru_cache(maxsize=8192)
def _virtual_host(body: bytes) -> Sequence[tuple[Path, str]]:
    """The violations of a serialised virtual host: most of a large configuration stays the same."""
    return tuple((path, why) for path, why, _ in violations(VirtualHost.FromString(body)))


def _listener(listener: Listener) -> Iterator[str]:
    chains = [*listener.filter_chains]
    if len({each.filter_chain_match.SerializeToString(deterministic=True) for each in chains}) < (
        len(chains)
    ):
        yield "filter_chains: two of them match the same connections"
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    other = listener.HasField("api_listener") or listener.HasField("udp_listener_config")
    if not chains and not other:
        yield "filter_chains: none is left"
    for each in chains:
        yield from _chain(each)


def _chain(chain: FilterChain) -> Iterator[str]:
    yield from _ends(chain.filters, _TERMINAL, _NETWORK_ENDS, NETWORK_FILTERS)
    for each in chain.filters:
        manager = HttpConnectionManager()
        if each.typed_config.Unpack(manager):
            yield from _ends(manager.http_filters, _ROUTER, _HTTP_ENDS, HTTP_FILTERS)
            if manager.HasField("route_config"):
                yield from _routes(manager.route_config)


def _ends(
    filters: Iterable[Filter] | Iterable[HttpFilter],
    terminal: frozenset[str],
    ends: frozenset[str],
    category: str,
) -> Iterator[str]:
    """A filter that ends the chain stands at its end, and one that does not does not."""
    own = [(each.name, type_name(each.typed_config.type_url)) for each in filters]
    for name, of in own[:-1]:
        if of in terminal:
            yield f"filter {name!r} must be the last, but {own[-1][0]!r} is"
    if own and own[-1][1] in config_types(category) - ends:
        yield f"filter {own[-1][0]!r} must not be the last"
    if not own and category == HTTP_FILTERS:
        yield "http_filters: none is left"


def _routes(configuration: RouteConfiguration) -> Iterator[str]:
    names = Counter(each.name for each in configuration.virtual_hosts)
    domains = Counter(
        domain.lower() for each in configuration.virtual_hosts for domain in each.domains
    )
    for what, counted in (("name", names), ("domain", domains)):
        for value, number in counted.items():
            if number > 1:
                yield f"virtual_hosts: {number} have the {what} {value!r}"


def _cluster(cluster: Cluster) -> Iterator[str]:
    is_eds = not cluster.HasField("cluster_type") and cluster.type == Cluster.EDS
    if cluster.HasField("eds_cluster_config") and not is_eds:
        yield "eds_cluster_config: goes with type EDS only"
    if cluster.HasField("load_assignment") and is_eds:
        yield "load_assignment: does not go with type EDS"
    provided = cluster.lb_policy == Cluster.CLUSTER_PROVIDED
    if cluster.WhichOneof("cluster_discovery_type") == "type":
        original = cluster.type == Cluster.ORIGINAL_DST
        if original != provided and not cluster.HasField("load_balancing_policy"):
            yield "lb_policy: CLUSTER_PROVIDED goes with type ORIGINAL_DST, and only with it"
