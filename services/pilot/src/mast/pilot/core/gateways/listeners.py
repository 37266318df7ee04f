"""Listeners of routers: one per socket, a filter chain per server that TLS tells apart (I3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.listener.v3.listener_components_pb2 import Filter, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.proxy_protocol.v3.proxy_protocol_pb2 import ProxyProtocol

from istio.mesh.v1alpha1.proxy_pb2 import Topology
from istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from mast.pilot.core import names
from mast.pilot.core.filters.extensions import Direction, Extensions, Spot
from mast.pilot.core.filters.tcp_proxies import tcp_filters
from mast.pilot.core.gateways.quic import offers_quic
from mast.pilot.core.gateways.servers import (
    Carries,
    RouterServer,
    SharedPort,
    Translation,
    shared_ports,
)
from mast.pilot.core.gateways.sni_dnat import passing_chains
from mast.pilot.core.gateways.tcp_routes import connection_routes
from mast.pilot.core.listeners.http_connection_manager import HttpChain, http_connection_manager
from mast.pilot.core.model.model import Protocol
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed
from mast.pilot.core.ports.filter_chains import Chain, distinct
from mast.pilot.core.ports.sockets import Draft, inspectors, listener
from mast.pilot.core.routes.backends import Backends
from mast.pilot.core.scope.proxy_configs import effective
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.server_tls import own_parameters, quic_tls, server_tls
from mast.pilot.core.security.transport_sockets import (
    SERVER_HTTP_ALPN,
    SERVER_TCP_ALPN,
    mesh_server,
)

HANDSHAKE_TIMEOUT: Final = timedelta(seconds=15)
"""How long a client may take for its TLS handshake (pilot.md I3)."""

PROXY_PROTOCOL: Final = "envoy.filters.listener.proxy_protocol"

_HTTP_3: Final = ("h3",)


def listeners(
    scope: Scope, proxy: Proxy, ports: Translation, extensions: Extensions
) -> Sequence[Listener]:
    """All listeners of a router, sorted by name (pilot.md I1 to I6)."""
    workshop = _Workshop(scope, proxy, extensions)
    made = [each for shared in shared_ports(scope, proxy, ports) for each in workshop.of(shared)]
    return sorted(made, key=lambda each: each.name)


@dataclass(frozen=True)
class _Workshop:
    scope: Scope
    proxy: Proxy
    extensions: Extensions

    def of(self, shared: SharedPort) -> Iterator[Listener]:
        """The listener of a socket, none if no connection would get anywhere; that of HTTP/3."""
        chains = distinct(self._chains(shared))
        if chains:
            draft = Draft(
                name=shared.socket.name,
                socket=shared.socket,
                direction=Direction.OUTBOUND,
                chains=chains,
                listener_filters=[*self._proxy_protocol(), *inspectors(chains)],
                access_log=self.extensions.listener_access_logs(Direction.OUTBOUND),
            )
            yield listener(draft, self.proxy, self.scope.mesh)
        quick = [each for each in shared.servers if offers_quic(self.scope.mesh, each)]
        if quick and shared.socket.port:
            yield self._over_udp(shared, quick)

    def _chains(self, shared: SharedPort) -> Iterator[Chain]:
        if shared.carries is Carries.HTTP:
            yield self._plain_http(shared)
            return
        for server in shared.servers:
            if server.ends_https:
                yield self._https(shared, server)
            elif server.passes_mesh_on:
                yield from passing_chains(
                    self.scope, self.proxy, server, self.extensions, self._spot(server)
                )
            else:
                yield from self._connections(shared, server)

    def _plain_http(self, shared: SharedPort) -> Chain:
        protocols = {each.protocol for each in shared.servers}
        web = Protocol.GRPC_WEB in protocols
        chain = HttpChain(
            stat_prefix=self._prefix(shared),
            routes=shared.route_name,
            protocol=Protocol.GRPC_WEB if web else Protocol.HTTP,
        )
        return Chain(filters=(self._manager(chain, shared.servers[0]),))

    def _https(self, shared: SharedPort, server: RouterServer) -> Chain:
        chain = HttpChain(stat_prefix=self._prefix(shared), routes=server.route_name)
        return Chain(
            filters=(self._manager(chain, server),),
            snis=server.snis,
            transport_socket=self._transport(server, SERVER_HTTP_ALPN),
            handshake_timeout=HANDSHAKE_TIMEOUT,
        )

    def _connections(self, shared: SharedPort, server: RouterServer) -> Iterator[Chain]:
        """Chains of a server that carries bytes: TLS passed on or opened, or plain TCP (F6)."""
        spot = self._spot(server)
        backends = Backends(self.scope, self.scope.egress[0], self.extensions)
        opened = server.carries is Carries.TLS and not server.passes_tls_on
        for route in connection_routes(self.scope, self.proxy, shared, server):
            if proxied := backends.tcp(route, spot):
                chain = Chain(
                    filters=tcp_filters(proxied, spot, self.extensions, server.protocol),
                    subnets=route.subnets,
                    sources=route.sources,
                    snis=route.snis,
                )
                if opened:
                    chain = replace(
                        chain,
                        transport_socket=self._transport(server, ()),
                        handshake_timeout=HANDSHAKE_TIMEOUT,
                    )
                yield chain

    def _over_udp(self, shared: SharedPort, servers: Sequence[RouterServer]) -> Listener:
        """The same servers for HTTP/3 (pilot.md C, I6)."""
        chains = []
        for server in servers:
            http = HttpChain(stat_prefix=self._prefix(shared), routes=server.route_name, quic=True)
            chains.append(
                Chain(
                    filters=(self._manager(http, server),),
                    snis=server.snis,
                    transport_socket=quic_tls(server.server.tls, alpn=_HTTP_3),
                )
            )
        draft = Draft(
            name=names.quic_listener(shared.socket.address, shared.socket.port),
            socket=shared.socket,
            direction=Direction.OUTBOUND,
            chains=chains,
            listener_filters=(),
            access_log=self.extensions.listener_access_logs(Direction.OUTBOUND),
        )
        return listener(draft, self.proxy, self.scope.mesh, quic=True)

    def _transport(self, server: RouterServer, alpn: Sequence[str]) -> TransportSocket:
        settings = server.server.tls
        if settings.mode == ServerTLSSettings.ISTIO_MUTUAL:
            return mesh_server(
                self.scope.mesh,
                self.proxy,
                alpn=alpn or SERVER_TCP_ALPN,
                parameters=own_parameters(settings),
            )
        return server_tls(settings, self.scope.mesh.config.tls_defaults, alpn=alpn)

    def _manager(self, chain: HttpChain, server: RouterServer) -> Filter:
        spot = self._spot(server)
        edge = replace(chain, edge=self._edge)
        return http_connection_manager(edge, spot, self.scope.mesh, self.extensions)

    def _proxy_protocol(self) -> Iterator[ListenerFilter]:
        """What a load balancer before the gateway says of the client (ProxyConfig, Topology)."""
        if self._edge.HasField("proxy_protocol"):
            yield ListenerFilter(name=PROXY_PROTOCOL, typed_config=packed(ProxyProtocol()))

    @property
    def _edge(self) -> Topology:
        """What stands before the router (ProxyConfig, "gatewayTopology")."""
        return effective(self.scope, self.proxy).gateway_topology

    def _prefix(self, shared: SharedPort) -> str:
        socket = shared.socket
        return names.stat_prefix(Direction.OUTBOUND, socket.address, socket.port)

    def _spot(self, server: RouterServer) -> Spot:
        number = server.server.port.number
        return Spot(proxy=self.proxy, direction=Direction.OUTBOUND, port=number)
