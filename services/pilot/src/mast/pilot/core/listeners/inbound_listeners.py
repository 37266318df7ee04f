"""Inbound listeners of sidecars, by mutual TLS mode (pilot.md E12, E13, E15)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from envoy.config.listener.v3.listener_components_pb2 import ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from istio.networking.v1alpha3.gateway_pb2 import ServerTLSSettings
from mast.pilot.core import names
from mast.pilot.core.clusters.inbound_clusters import connection_pool
from mast.pilot.core.filters.extensions import Direction, Extensions, Spot
from mast.pilot.core.filters.tcp_proxies import network_plugins, tcp_filters, to_cluster
from mast.pilot.core.listeners.http_connection_manager import HttpChain, http_connection_manager
from mast.pilot.core.listeners.inbound_chains import Ends, Kind, inbound_chains
from mast.pilot.core.model.model import Protocol, Target
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.ports.filter_chains import Chain
from mast.pilot.core.ports.inbound_ports import Served, served_ports
from mast.pilot.core.ports.sockets import (
    TLS_INSPECTOR,
    Draft,
    Socket,
    any_address,
    capture,
    captures,
    http_inspector,
    inspectors,
    listener,
    original_destination,
    tls_inspector,
)
from mast.pilot.core.routes.inbound_routes import inbound_route
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.peer_authentication import (
    Mode,
    PeerPolicy,
    served_mode,
    served_policy,
)
from mast.pilot.core.security.server_tls import server_tls, terminates
from mast.pilot.core.security.transport_sockets import (
    SERVER_HTTP_ALPN,
    SERVER_TCP_ALPN,
    mesh_server,
)


def inbound(
    scope: Scope, proxy: Proxy, targets: Sequence[Target], extensions: Extensions
) -> Sequence[Listener]:
    """All inbound listeners of a sidecar that serves the targets, sorted (E8, E12 to E15)."""
    workshop = _Workshop(scope, proxy, extensions)
    served = served_ports(scope, proxy, targets)
    made = [workshop.own_listener(each, each.socket) for each in served if each.socket]
    if captures(proxy):
        made.append(workshop.virtual_inbound([each for each in served if not each.socket]))
    return sorted(made, key=lambda each: each.name)


@dataclass(frozen=True)
class _Workshop:
    scope: Scope
    proxy: Proxy
    extensions: Extensions

    @property
    def peers(self) -> PeerPolicy:
        """Mutual TLS modes of the workload."""
        return served_policy(self.scope, self.proxy.namespace, self.proxy.labels)

    def own_listener(self, served: Served, socket: Socket) -> Listener:
        """The listener of a port that has its own socket: no other port needs telling apart."""
        chains = [replace(each, port=0) for each in self._port_chains(served)]
        draft = Draft(
            name=socket.name,
            socket=socket,
            direction=Direction.INBOUND,
            chains=chains,
            listener_filters=inspectors(chains),
            access_log=self.extensions.listener_access_logs(Direction.INBOUND),
        )
        return listener(draft, self.proxy, self.scope.mesh)

    def virtual_inbound(self, served: Sequence[Served]) -> Listener:
        """The listener that captured traffic arrives at (pilot.md E12)."""
        number = self.scope.mesh.config.proxy_inbound_listen_port
        guard = Chain(
            name=names.INBOUND_BLACK_HOLE_CHAIN,
            filters=tcp_filters(to_cluster(names.BLACK_HOLE), self._spot(number), self.extensions),
            port=number,
        )
        chains = [guard]
        for each in served:
            chains += self._port_chains(each)
        known = {each.number for each in served}
        for port in sorted(self.peers.ports.keys() - known):
            chains += self._passthrough_chains(port)
        chains += self._passthrough_chains(0)
        draft = Draft(
            name=names.VIRTUAL_INBOUND,
            socket=Socket(address=any_address(self.proxy), port=number, bound=True),
            direction=Direction.INBOUND,
            chains=chains,
            listener_filters=[*original_destination(self.proxy), *_needed_inspectors(chains)],
            access_log=self.extensions.listener_access_logs(Direction.INBOUND),
        )
        result = listener(draft, self.proxy, self.scope.mesh)
        capture(result, self.proxy)
        return result

    def _port_chains(self, served: Served) -> Iterator[Chain]:
        kind = Kind.of(served.protocol)
        mode = self._mode(served)
        cluster = names.inbound_cluster(served.number)
        spot = self._spot(served.number, served)
        address = served.socket.address if served.socket else any_address(self.proxy)
        chain = HttpChain(
            stat_prefix=names.stat_prefix(Direction.INBOUND, address, served.number),
            routes=inbound_route(
                cluster, served.service_port, served.protocol, spot, self.extensions
            ),
            protocol=served.protocol,
        )
        name = names.inbound_chain(served.number)
        proxied = to_cluster(cluster, connection_pool(served, self.scope).tcp)
        ends = self._ends((name, name), chain, proxied, spot)
        if mode is Mode.DISABLE and served.tls and terminates(served.tls):
            yield from self._with_own_tls(kind, served.tls, ends)
        else:
            yield from inbound_chains(kind, mode, ends)

    def _mode(self, served: Served) -> Mode:
        service = served.service
        port = service.port(served.service_port) if service else None
        return served_mode(
            self.scope, self.proxy.namespace, self.proxy.labels, served.number, service, port
        )

    def _passthrough_chains(self, port: int) -> Iterator[Chain]:
        """Chains of a port that no service has, 0 for all of them (pilot.md E15)."""
        cluster = names.INBOUND_PASSTHROUGH
        spot = self._spot(port)
        chain = HttpChain(
            stat_prefix=f"{cluster};",
            routes=inbound_route(cluster, port, Protocol.AUTO, spot, self.extensions),
            protocol=Protocol.AUTO,
        )
        chain_names = (names.INBOUND_CATCH_ALL_HTTP_CHAIN, names.VIRTUAL_INBOUND)
        ends = self._ends(chain_names, chain, to_cluster(cluster), spot)
        yield from inbound_chains(Kind.AUTO, self.peers.on(port), ends)

    def _ends(
        self, chain_names: tuple[str, str], chain: HttpChain, proxied: TcpProxy, spot: Spot
    ) -> Ends:
        mesh = self.scope.mesh
        return Ends(
            port=spot.port,
            http_name=chain_names[0],
            tcp_name=chain_names[1],
            http=(
                *network_plugins(spot, self.extensions),
                http_connection_manager(chain, spot, mesh, self.extensions),
            ),
            tcp=tcp_filters(proxied, spot, self.extensions, chain.protocol),
            http_tls=mesh_server(mesh, self.proxy, alpn=SERVER_HTTP_ALPN),
            tcp_tls=mesh_server(mesh, self.proxy, alpn=SERVER_TCP_ALPN),
        )

    def _with_own_tls(self, kind: Kind, tls: ServerTLSSettings, ends: Ends) -> list[Chain]:
        """Chains of a port that ends TLS by itself; what is inside cannot be sniffed."""
        defaults = self.scope.mesh.config.tls_defaults
        own = replace(
            ends,
            http_tls=server_tls(tls, defaults, alpn=SERVER_HTTP_ALPN),
            tcp_tls=server_tls(tls, defaults, alpn=()),
        )
        return inbound_chains(Kind.TCP if kind is Kind.AUTO else kind, Mode.STRICT, own)

    def _spot(self, port: int, served: Served | None = None) -> Spot:
        service = served.service if served else None
        return Spot(
            proxy=self.proxy,
            direction=Direction.INBOUND,
            port=port,
            service=service,
            service_port=served.service_port if served and service else 0,
        )


def _needed_inspectors(chains: Iterable[Chain]) -> list[ListenerFilter]:
    """Inspectors, switched off on ports whose chains do not ask what they find (pilot.md E7)."""
    chains = list(chains)
    ports = {each.port for each in chains} - {0}
    found = []
    for each in inspectors(chains):
        used = {
            port
            for port in ports
            if each in inspectors(other for other in chains if other.port == port)
        }
        switched_off = sorted(ports - used)
        found.append(
            tls_inspector(switched_off)
            if each.name == TLS_INSPECTOR
            else http_inspector(switched_off)
        )
    return found
