"""Outbound listeners of sidecars, and what they make of services that share a socket."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.listener.v3.listener_pb2 import Listener

from mast.pilot.core import names
from mast.pilot.core.clusters.dynamic_hosts import server_name_resolution
from mast.pilot.core.filters.extensions import Direction, Extensions, Spot
from mast.pilot.core.filters.tcp_proxies import tcp_filters, to_cluster
from mast.pilot.core.listeners.http_connection_manager import HttpChain, http_connection_manager
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Protocol, Resolution
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.ports.filter_chains import PLAIN_HTTP, RAW, Chain, apart, distinct
from mast.pilot.core.ports.outbound_sockets import Sharers, Wish, sockets
from mast.pilot.core.ports.sockets import (
    Draft,
    Socket,
    any_address,
    can_bind,
    capture,
    captures,
    listener,
    outbound_bind,
)
from mast.pilot.core.routes.backends import Backends, passthrough_cluster
from mast.pilot.core.routes.tcp_routes import Site, TcpRoute, tcp_routes
from mast.pilot.core.scope.egress import Egress
from mast.pilot.core.scope.matches import Caller
from mast.pilot.core.scope.scope import Scope

_UNSHARED: Final = frozenset({Protocol.MONGO, Protocol.MYSQL})
"""Protocols that share a socket with nobody who comes later (pilot.md E6)."""


@dataclass(kw_only=True)
class _Shared:
    """Who shares a socket: one HTTP part, TCP chains by criteria, and one without criteria."""

    socket: Socket
    closed: bool = False
    http: HttpChain | None = None
    chains: list[Chain] = field(default_factory=list)
    default: Chain | None = None

    @property
    def leads_somewhere(self) -> bool:
        """Somebody has come, with a route that has destinations."""
        return bool(self.http or self.chains or self.default)


def outbound(scope: Scope, proxy: Proxy, extensions: Extensions) -> Sequence[Listener]:
    """All outbound listeners of a sidecar, sorted by name (pilot.md E1 to E8).

    Service ports that do not get one, because an older service has it, are reported (E6, N10).
    """
    workshop = _Workshop(scope, proxy, extensions)
    wanted = sockets(scope, proxy)
    made: list[Listener] = []
    taken: frozenset[Socket] = frozenset()
    if number := proxy.http_proxy_port or scope.mesh.config.proxy_http_port:
        dynamic = any(
            each.service.resolution is Resolution.DYNAMIC_DNS
            for those in wanted.values()
            for each in those.wishes
        )
        forward = workshop.forward_proxy(number, dynamic_hosts=dynamic)
        made.append(workshop.listener(forward))
        taken = frozenset({forward.socket})
    for socket, those in wanted.items():
        if socket not in taken:
            made += _socket_listener(socket, those, workshop)
    if captures(proxy):
        made.append(workshop.virtual_outbound())
        known = {each.port for each in wanted if each.is_wildcard}
        made += map(workshop.on_demand, sorted(_undeclared_ports(scope, proxy) - known))
    return sorted(made, key=lambda each: each.name)


def _socket_listener(socket: Socket, those: Sharers, workshop: "_Workshop") -> Sequence[Listener]:
    """The listener of a socket, kept until a service on it, or a rule for one, changes."""

    def build(inner: Scope) -> Sequence[Listener]:
        http = inner.cached(("HTTP part", those), lambda deeper: _http_part(those, deeper))
        return replace(workshop, scope=inner).shared_by(socket, those.wishes, http)

    key = ("listener", workshop.proxy, workshop.extensions, those)
    return workshop.scope.cached(key, build)


@dataclass(frozen=True)
class _Workshop:
    scope: Scope
    proxy: Proxy
    extensions: Extensions

    def shared_by(
        self, socket: Socket, those: Sequence[Wish], http: HttpChain | None
    ) -> Sequence[Listener]:
        """The listener of a socket that services share, in order of precedence; none if empty.

        `http` is what they make if all of them speak HTTP.
        """
        place = _Shared(socket=socket, http=http)
        if http is not None:
            return [self.listener(place)]
        lost = [each for each in those if not self.admit(place, each)]
        winner = next((each for each in those if each not in lost), those[0])
        for each in lost:
            self.scope.report(_conflict(socket, each, winner))
        return [self.listener(place)] if place.leads_somewhere else []

    def admit(self, place: _Shared, wish: Wish) -> bool:
        """Add a service port to those that share a socket; False if it lost something.

        The table of pilot.md E6: HTTP and TCP together are sniffed; of TCP chains with the same
        criteria the first stays; a sniffed port adds nothing where HTTP is routed already.
        """
        if place.closed:
            return False
        protocol = wish.port.protocol
        place.closed = protocol in _UNSHARED
        if protocol.is_http or (protocol is Protocol.AUTO and place.http):
            place.http = _http(wish, place.http)
            return True
        lost = self._admit_chains(place, wish)
        if protocol is Protocol.AUTO:
            place.http = _http(wish, None)
            return True
        return not lost

    def listener(self, place: _Shared) -> Listener:
        """The listener of a socket (pilot.md E2, E3)."""
        captured = captures(self.proxy) and not place.socket.bound
        chains, default = list(place.chains), place.default
        if place.http:
            sniffed = bool(chains or default or (captured and place.socket.is_wildcard))
            chains.insert(0, self._http_chain(place.http, place.socket.port, sniffed=sniffed))
        if default and not chains:
            chains, default = [default], None
        elif captured and not default and not any(each.matches_everything for each in chains):
            default = self._passthrough_chain(names.PASSTHROUGH_CHAIN, place.socket.port)
        draft = Draft(
            name=place.socket.name,
            socket=place.socket,
            direction=Direction.OUTBOUND,
            chains=chains,
            default=default,
            access_log=self.extensions.listener_access_logs(Direction.OUTBOUND),
        )
        return listener(draft, self.proxy, self.scope.mesh)

    def virtual_outbound(self) -> Listener:
        """The listener that captured traffic arrives at (pilot.md E1)."""
        number = self.scope.mesh.config.proxy_listen_port
        guard = Chain(
            name=names.OUTBOUND_BLACK_HOLE_CHAIN,
            filters=self._to_cluster(names.BLACK_HOLE, number),
            port=number,
        )
        draft = Draft(
            name=names.VIRTUAL_OUTBOUND,
            socket=Socket(address=any_address(self.proxy), port=number, bound=True),
            direction=Direction.OUTBOUND,
            chains=[guard, self._passthrough_chain(names.OUTBOUND_CATCH_ALL_CHAIN, 0)],
            access_log=self.extensions.listener_access_logs(Direction.OUTBOUND),
        )
        result = listener(draft, self.proxy, self.scope.mesh)
        result.use_original_dst.value = True
        capture(result, self.proxy)
        return result

    def forward_proxy(self, number: int, *, dynamic_hosts: bool) -> _Shared:
        """The socket of applications that use the sidecar as their HTTP proxy (pilot.md E8)."""
        socket = Socket(address=outbound_bind(self.proxy), port=number, bound=True)
        http = HttpChain(
            stat_prefix=names.stat_prefix(Direction.OUTBOUND, socket.address, number),
            routes=names.HTTP_PROXY,
            absolute_urls=True,
            dynamic_hosts=dynamic_hosts,
        )
        return _Shared(socket=socket, http=http)

    def on_demand(self, number: int) -> Listener:
        """The listener of a port on which only hosts are that are asked for when called (B25)."""
        socket = Socket(address=any_address(self.proxy), port=number, bound=False)
        prefix = names.stat_prefix(Direction.OUTBOUND, socket.address, number)
        http = HttpChain(stat_prefix=prefix, routes=str(number))
        return self.listener(_Shared(socket=socket, http=http))

    def _admit_chains(self, place: _Shared, wish: Wish) -> bool:
        """Add the TCP chains of a service port; True if others had some of the criteria."""
        lost = False
        others = list(place.chains)
        for chain in distinct(self._tcp_chains(wish)):
            rest = apart(chain, others)
            lost = lost or rest is not chain
            if chain.matches_everything:
                lost = lost or place.default is not None
                place.default = place.default or chain
            elif rest is not None:
                place.chains.append(rest)
        return lost

    def _tcp_chains(self, wish: Wish) -> Iterator[Chain]:
        spot = self._spot(wish.number)
        egress = self.scope.egress[wish.where]
        backends = Backends(self.scope, egress, self.extensions)
        caller = Caller(port=wish.number, namespace=self.proxy.namespace, labels=self.proxy.labels)
        site = Site(caller=caller, subnets=wish.subnets, shared=wish.shared)
        config = egress.virtual_service(wish.service.host)
        for route in tcp_routes(wish.service, wish.port, config, site):
            proxied = backends.tcp(route, spot)
            if proxied:
                filters = tcp_filters(proxied, spot, self.extensions, wish.port.protocol)
                if wish.port.protocol.is_tls and _is_dynamic(egress, route):
                    resolution = server_name_resolution(self.proxy, wish.port.number)
                    filters = (resolution, *filters)
                yield Chain(
                    filters=filters,
                    subnets=route.subnets,
                    sources=route.sources,
                    snis=route.snis,
                )

    def _http_chain(self, http: HttpChain, number: int, *, sniffed: bool) -> Chain:
        if not captures(self.proxy):
            # Requests to unknown hosts pass by their host, see `fixed_clusters`.
            http = replace(http, dynamic_hosts=True)
        manager = http_connection_manager(
            http, self._spot(number), self.scope.mesh, self.extensions
        )
        if not sniffed:
            return Chain(filters=(manager,))
        return Chain(filters=(manager,), transport=RAW, alpns=PLAIN_HTTP)

    def _passthrough_chain(self, name: str, number: int) -> Chain:
        """What nobody claims goes where it was addressed to, or nowhere."""
        cluster = passthrough_cluster(self.scope) or names.BLACK_HOLE
        return Chain(name=name, filters=self._to_cluster(cluster, number))

    def _to_cluster(self, cluster: str, number: int) -> tuple[Filter, ...]:
        return tcp_filters(to_cluster(cluster), self._spot(number), self.extensions)

    def _spot(self, number: int) -> Spot:
        return Spot(proxy=self.proxy, direction=Direction.OUTBOUND, port=number)


def _undeclared_ports(scope: Scope, proxy: Proxy) -> frozenset[int]:
    """HTTP ports of services beyond the Sidecar, if the proxy asks for these at all."""
    if not proxy.on_demand:
        return frozenset()
    everything = scope.under(None)
    ports = everything.cached(
        "HTTP ports",
        lambda inner: frozenset(
            port.number
            for service in inner.services()
            for port in service.ports
            if port.protocol.is_http
        ),
    )
    address = any_address(proxy)
    return frozenset(
        each
        for each in ports
        if can_bind(proxy, scope.mesh, Socket(address=address, port=each, bound=False))
    )


def _http(wish: Wish, known: HttpChain | None) -> HttpChain:
    """The HTTP part of a socket with one more service: it can what any of them needs."""
    if known is None:
        address = wish.socket.address
        known = HttpChain(
            stat_prefix=names.stat_prefix(Direction.OUTBOUND, address, wish.socket.port),
            routes=wish.routes,
            protocol=wish.port.protocol,
        )
    if wish.port.protocol is Protocol.GRPC_WEB:
        known = replace(known, protocol=Protocol.GRPC_WEB)
    if wish.service.resolution is Resolution.DYNAMIC_DNS:
        known = replace(known, dynamic_hosts=True)
    return known


def _http_part(those: Sharers, scope: Scope) -> HttpChain | None:
    """What services make of a socket that all use for HTTP; None if one of them does not.

    The same for all proxies: where a thousand services share a port, it is found out once.
    """
    for each in those.wishes:
        scope.depend_on(each.service)
    made: HttpChain | None = None
    for wish in those.wishes:
        if not wish.port.protocol.is_http:
            return None
        made = _http(wish, made)
    return made


def _is_dynamic(egress: Egress, route: TcpRoute) -> bool:
    """Some destination is a service whose hosts the proxy resolves."""
    found = (egress.service(each.destination.host) for each in route.destinations)
    return any(each and each.resolution is Resolution.DYNAMIC_DNS for each in found)


def _conflict(socket: Socket, loser: Wish, winner: Wish) -> Finding:
    """A service port that did not get (all of) a listener, because an older one has it."""
    if loser.port.protocol.is_http:
        fault = Fault.HTTP_OVER_TCP
    else:
        fault = Fault.TCP_OVER_HTTP if winner.port.protocol.is_http else Fault.TCP_OVER_TCP
    return Finding(
        fault=fault,
        key=f"{socket.name} {loser.service.host}:{loser.port.number}",
        message=(
            f"Port {loser.port.number} ({loser.port.protocol or 'sniffed'}) of"
            f" {loser.service.host} has no listener of its own on {socket.name}: port"
            f" {winner.port.number} ({winner.port.protocol or 'sniffed'}) of"
            f" {winner.service.host} was there first."
        ),
        subject=loser.service.object_name,
        winner=winner.service.object_name,
    )
