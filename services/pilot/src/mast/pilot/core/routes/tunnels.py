"""Routes of CONNECT requests, with which clients of a forward proxy open tunnels (pilot.md E8).

Where unknown hosts are refused there is none for them, so Envoy answers 404.
Differs from Istio, whose forward proxies open no tunnels.
"""

from typing import Final

from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from mast.pilot.core.filters.extensions import NOTHING, Additions, Spot
from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import Port, Protocol, Service
from mast.pilot.core.routes.backends import Backends
from mast.pilot.core.routes.tcp_routes import Site, tcp_routes
from mast.pilot.core.scope.matches import Caller

_CONNECT: Final = "CONNECT"
_ANY_TUNNEL: Final = RouteMatch(connect_matcher=RouteMatch.ConnectMatcher())


def is_tunnelled(port: Port) -> bool:
    """Clients do not ask a proxy for what is behind the port, but talk to it through the proxy."""
    return port.protocol.is_tcp or port.protocol is Protocol.AUTO


def tunnel_route(name: str, proxied: TcpProxy, additions: Additions = NOTHING) -> Route:
    """The route of tunnels that lead where a TCP proxy leads."""
    action = RouteAction(timeout=Duration())
    upgrade = action.upgrade_configs.add(upgrade_type=_CONNECT)
    upgrade.connect_config.SetInParent()
    if proxied.cluster:
        action.cluster = proxied.cluster
    for each in proxied.weighted_clusters.clusters:
        weight = UInt32Value(value=each.weight)
        action.weighted_clusters.clusters.add(name=each.name, weight=weight)
    route = Route(name=name, match=_ANY_TUNNEL, route=action)
    additions.apply(route)
    additions.apply_metadata(route)
    return route


def proxied_port(
    backends: Backends, service: Service, port: Port, caller: Caller, spot: Spot
) -> TcpProxy | None:
    """Where tunnels to a service port lead: as its connections would, by its own name.

    Nothing is known of client and server name before the tunnel is there, so routes that look at
    addresses do not count. None if no destination has weight.
    """
    config = backends.egress.virtual_service(service.host)
    for route in tcp_routes(service, port, config, Site(caller=caller)):
        named = not route.snis or any(hosts.matches(each, service.host) for each in route.snis)
        if named and not route.subnets and not route.sources:
            return backends.tcp(route, spot)
    return None
