"""Listeners of gRPC clients and servers (pilot.md B29)."""

from collections.abc import Sequence
from typing import Final

from envoy.config.core.v3.address_pb2 import SocketAddress
from envoy.config.core.v3.base_pb2 import TrafficDirection
from envoy.config.listener.v3.api_listener_pb2 import ApiListener
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import (
    NonForwardingAction,
    Route,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
    HttpFilter,
)

from mast.pilot.core import names
from mast.pilot.core.filters.faults import FAULT_FILTER
from mast.pilot.core.listeners.http_connection_manager import HTTP_CONNECTION_MANAGER, rds
from mast.pilot.core.model import model
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed
from mast.pilot.core.proxyless import tls
from mast.pilot.core.proxyless.names import ServerAddress, Target
from mast.pilot.core.proxyless.unsupported import left_out
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authentication.request_authentication import policies as for_tokens
from mast.pilot.core.security.peer_authentication import Mode, called_policies

_TLS_MODE: Final = "security.istio.io/tlsMode"
_ISTIO: Final = "istio"
_ROUTER: Final = HttpFilter(name="envoy.filters.http.router", typed_config=packed(Router()))


def client_listener(name: str, found: Target) -> Listener:
    """The listener of a target, under the name it was asked for by."""
    routes = names.outbound_cluster(found.port.number, "", found.service.host)
    manager = HttpConnectionManager(
        rds=rds(routes),
        http_filters=[HttpFilter(name=FAULT_FILTER, typed_config=packed(HTTPFault())), _ROUTER],
    )
    return Listener(name=name, api_listener=ApiListener(api_listener=packed(manager)))


def server_listener(
    name: str,
    address: ServerAddress,
    scope: Scope,
    proxy: Proxy,
    target: model.Target | None = None,
    filters: Sequence[HttpFilter] = (),
) -> Listener:
    """The listener of a server; `filters` judge calls before the application has them.

    `target` is the service port that it serves, if any. Whether it demands mutual TLS is what
    PeerAuthentication says of the port, or an old Policy of the service (pilot.md J1, J8). A gRPC
    server cannot have both: where both are allowed it is mutual TLS if callers are told that the
    workload can do it, by its label. So it changes over when its callers do. Nobody checks tokens
    there.
    """
    for each in for_tokens(scope, proxy):
        if told := left_out(name, each.meta.object_name, ["the check of tokens"]):
            scope.report(told)
    chain = FilterChain(name=f"inbound-{address.port}", filters=[_manager(address.port, filters)])
    service, port = (target.service, target.port) if target else (None, None)
    policies = called_policies(scope, proxy.namespace)
    mode = policies.on(proxy.labels, address.port, service, port)
    if mode is Mode.STRICT or (mode is Mode.PERMISSIVE and proxy.labels.get(_TLS_MODE) == _ISTIO):
        chain.transport_socket.CopyFrom(tls.server())
    listener = Listener(
        name=name, filter_chains=[chain], traffic_direction=TrafficDirection.INBOUND
    )
    listener.address.socket_address.CopyFrom(
        SocketAddress(address=address.address, port_value=address.port)
    )
    return listener


def _manager(port: int, filters: Sequence[HttpFilter]) -> Filter:
    own = Route(
        name=names.DEFAULT_ROUTE,
        match=RouteMatch(prefix="/"),
        non_forwarding_action=NonForwardingAction(),
    )
    host = VirtualHost(name=names.inbound_virtual_host(port), domains=["*"], routes=[own])
    manager = HttpConnectionManager(
        route_config=RouteConfiguration(name=names.inbound_cluster(port), virtual_hosts=[host]),
        http_filters=[*filters, _ROUTER],
    )
    return Filter(name=HTTP_CONNECTION_MANAGER, typed_config=packed(manager))
