"""Listeners and routes of a proxy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import FilterChain, FilterChainMatch
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from mast.cli.envoy.configuration import connection_manager
from mast.cli.inspect.dump import Dump
from mast.cli.inspect.tables import Table, address, origin

LISTENER_COLUMNS: Final = ("ADDRESSES", "PORT", "MATCH", "DESTINATION")
SHORT_COLUMNS: Final = ("ADDRESSES", "PORT", "TYPE")
ROUTE_COLUMNS: Final = ("NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE")
KINDS: Final = ("HTTP", "TCP", "HTTP+TCP", "UNKNOWN")

_DOMAINS_SHOWN: Final = 2


def listeners(
    dump: Dump, *, kind: str = "", port: int = 0, address_: str = "", verbose: bool = True
) -> Table:
    """One row per filter chain, by port and address; less ``verbose`` one per listener."""
    table = Table(LISTENER_COLUMNS if verbose else SHORT_COLUMNS)
    found = sorted(dump.listeners.values(), key=lambda each: (_places(each)[0][::-1], each.name))
    for listener in found:
        places = _places(listener)
        if (
            (not kind or _kind(listener) == kind.upper())
            and (not port or places[0][1] == port)
            and (not address_ or address_ in {host for host, _ in places})
        ):
            hosts = ",".join(host for host, _ in places)
            number = str(places[0][1])
            told = _chains(listener) if verbose else [(_kind(listener),)]
            table.add(listener, *dict.fromkeys((hosts, number, *each) for each in told))
    return table


def _places(listener: Listener) -> Sequence[tuple[str, int]]:
    more = (each.address for each in listener.additional_addresses)
    return [address(each) for each in (listener.address, *more)]


def _chains(listener: Listener) -> Iterator[tuple[str, str]]:
    for each in listener.filter_chains:
        yield match_text(each.filter_chain_match), destination(each)
    if listener.HasField("default_filter_chain"):
        yield "ALL", destination(listener.default_filter_chain)


def match_text(match: FilterChainMatch) -> str:
    """What a filter chain asks for: ``SNI: a; Addr: 10.0.0.1/32:80; Trans: tls; App: h2``."""
    parts = []
    if match.server_names:
        parts.append(f"SNI: {','.join(match.server_names)}")
    ranges = [
        each.address_prefix
        if each.prefix_len.value in {32, 128}
        else f"{each.address_prefix}/{each.prefix_len.value}"
        for each in match.prefix_ranges
    ]
    if ranges or match.HasField("destination_port"):
        number = f":{match.destination_port.value}" if match.HasField("destination_port") else ""
        parts.append(f"Addr: {','.join(ranges) or '*'}{number}")
    if match.transport_protocol:
        parts.append(f"Trans: {match.transport_protocol}")
    if match.application_protocols:
        parts.append(f"App: {','.join(match.application_protocols)}")
    return "; ".join(parts) or "ALL"


def destination(chain: FilterChain) -> str:
    """Where a filter chain leads: a route configuration, routes of its own, or clusters."""
    manager = connection_manager(chain)
    if manager is not None:
        if manager.HasField("rds"):
            return f"Route: {manager.rds.route_config_name}"
        paths = (
            path_text(route.match)
            for host in manager.route_config.virtual_hosts
            for route in host.routes
        )
        return f"Inline Route: {', '.join(dict.fromkeys(paths))}"
    for each in chain.filters:
        proxy = TcpProxy()
        if each.typed_config.Unpack(proxy):
            return _tcp(proxy)
    return "Non-HTTP/Non-TCP"


def _tcp(proxy: TcpProxy) -> str:
    if proxy.HasField("weighted_clusters"):
        clusters = (f"{each.name} ({each.weight})" for each in proxy.weighted_clusters.clusters)
        return f"Cluster: {', '.join(clusters)}"
    return f"Cluster: {proxy.cluster}" if "|" in proxy.cluster else proxy.cluster


def _kind(listener: Listener) -> str:
    chains = [*listener.filter_chains]
    if listener.HasField("default_filter_chain"):
        chains.append(listener.default_filter_chain)
    http = any(connection_manager(each) is not None for each in chains)
    tcp = any(connection_manager(each) is None and _is_tcp(each) for each in chains)
    return "+".join(name for name, found in (("HTTP", http), ("TCP", tcp)) if found) or "UNKNOWN"


def _is_tcp(chain: FilterChain) -> bool:
    return any(each.typed_config.Is(TcpProxy.DESCRIPTOR) for each in chain.filters)


def routes(dump: Dump, *, name: str = "") -> Table:
    """One row per route, by route configuration; a virtual host without routes answers 404."""
    table = Table(ROUTE_COLUMNS)
    for each in sorted(dump.routes.values(), key=_order):
        if not name or each.name == name:
            rows = (
                row for host in each.virtual_hosts for row in _virtual_host_rows(each.name, host)
            )
            table.add(each, *rows)
    return table


def _order(routes: RouteConfiguration) -> tuple[int, str]:
    return int(routes.name) if routes.name.isdecimal() else 0, routes.name


def _virtual_host_rows(name: str, host: VirtualHost) -> Iterator[tuple[str, ...]]:
    shown = ", ".join(host.domains[:_DOMAINS_SHOWN])
    if len(host.domains) > _DOMAINS_SHOWN:
        shown += f" + {len(host.domains) - _DOMAINS_SHOWN} more..."
    if not host.routes:
        yield name, host.name, shown, "/*", "404"
    for route in host.routes:
        yield name, host.name, shown, path_text(route.match), _virtual_service(route)


def _virtual_service(route: Route) -> str:
    found = origin(route.metadata)
    if route.HasField("direct_response") and not found:
        return str(route.direct_response.status)
    return found


def path_text(match: RouteMatch) -> str:
    """What a route asks of the path."""
    kind = match.WhichOneof("path_specifier")
    if kind == "path":
        return match.path
    if kind == "prefix":
        return f"{match.prefix}*"
    if kind == "path_separated_prefix":
        return f"{match.path_separated_prefix}/*"
    if kind == "safe_regex":
        return f"regex {match.safe_regex.regex}"
    if kind == "connect_matcher":
        return "CONNECT"
    return "/*"
