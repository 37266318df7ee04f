"""Sockets on which applications reach services: who wants to be where (pilot.md E2 to E8)."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from istio.networking.v1alpha3.sidecar_pb2 import CaptureMode, IstioEgressListener
from mast.pilot.core import names
from mast.pilot.core.model.hosts import is_single_address
from mast.pilot.core.model.model import Port, Protocol, Resolution, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.model.service_entries import protocol
from mast.pilot.core.ports.sockets import (
    UNIX,
    Socket,
    any_address,
    can_bind,
    captures,
    outbound_bind,
)
from mast.pilot.core.scope.scope import Scope


@dataclass(frozen=True, kw_only=True)
class Wish:
    """A service port that is to be reachable on a socket.

    `where` is the index of the egress listener. `number` is the port that applications dial, `port`
    the service's with the protocol that counts. `routes` names the route configuration of HTTP. A
    `shared` socket may serve several services, told apart by `subnets` or server name. The sockets
    of an `exclusive` egress listener are its own.
    """

    where: int
    service: Service
    port: Port
    number: int
    socket: Socket
    routes: str
    subnets: tuple[str, ...] = ()
    shared: bool = True
    exclusive: bool = False

    @property
    def key(self) -> Hashable:
        """Equal for equal wishes, as long as the service does not change."""
        return (
            (self.where, self.service.key, self.port.number, self.port.protocol, self.number),
            (self.socket, self.routes, self.subnets, self.shared, self.exclusive),
        )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """How one egress listener is bound: `address` is empty where services' own addresses count."""

    where: int
    address: str
    bound: bool
    exclusive: bool = False


@dataclass(frozen=True)
class Sharers:
    """The wishes for one socket, in order of precedence; quickly told from others."""

    wishes: tuple[Wish, ...]

    @cached_property
    def key(self) -> Hashable:
        """Equal for equal wishes, as long as the services do not change."""
        return tuple(each.key for each in self.wishes)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Sharers) and self.key == other.key)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.key)


def sockets(scope: Scope, proxy: Proxy) -> Mapping[Socket, Sharers]:
    """What services want of each socket, by egress listener, then the oldest first.

    If an egress listener has a socket for itself, only its wishes count. All proxies of a scope
    that bind in the same way share the result.
    """
    return scope.cached(("sockets", _binding(proxy)), lambda inner: _sockets(inner, proxy))


def _sockets(scope: Scope, proxy: Proxy) -> Mapping[Socket, Sharers]:
    found: dict[Socket, list[Wish]] = {}
    for wish in _wishes(scope, proxy):
        others = found.setdefault(wish.socket, [])
        if not others or others[0].where == wish.where or not others[0].exclusive:
            others.append(wish)
    return {socket: Sharers(tuple(those)) for socket, those in found.items()}


def _wishes(scope: Scope, proxy: Proxy) -> Iterator[Wish]:
    """What services want, in order of precedence."""
    for where, egress in enumerate(scope.egress):
        by_host = {each.host: each for each in sorted(egress.services(), key=lambda one: one.age)}
        made = scope.members(
            "wishes",
            (where, _binding(proxy)),
            tuple(by_host),
            partial(_service_wishes, where, proxy),
        )
        for host in by_host:
            yield from made[host]


def _binding(proxy: Proxy) -> Hashable:
    """Everything about a proxy that sockets depend on."""
    return (
        (proxy.interception_mode, proxy.outbound_bind, proxy.ip_addresses),
        (proxy.flag("UNPRIVILEGED_POD"), reaches_automatic_addresses(proxy), proxy.cluster_id),
    )


def reaches_automatic_addresses(proxy: Proxy) -> bool:
    """The applications of the proxy learn automatic addresses, from the agent's DNS (D2)."""
    return proxy.flag("DNS_CAPTURE")


def _service_wishes(where: int, proxy: Proxy, host: str, scope: Scope) -> Sequence[Wish]:
    """What one service wants; kept until it, its endpoints or the Sidecar change."""
    egress = scope.egress[where]
    service = egress.service(host)
    if service is None:
        return ()
    listener = egress.listener or IstioEgressListener()
    bound = not captures(proxy) or listener.capture_mode == CaptureMode.NONE
    address = listener.bind.removeprefix(UNIX) or (outbound_bind(proxy) if bound else "")
    number = listener.port.number
    place = _Place(where=where, address=address, bound=bound, exclusive=bool(number))
    if number:
        port = service.port(number) or (service.ports[0] if len(service.ports) == 1 else None)
        kind = protocol(listener.port.protocol, number)
        ports = [replace(port, protocol=kind)] if port else []
    else:
        ports = list(service.ports)
    wanted = (
        wish
        for port in ports
        if port.protocol is not Protocol.UDP
        for wish in _port_wishes(place, service, port, number or port.number, scope, proxy)
    )
    return tuple(each for each in wanted if can_bind(proxy, scope.mesh, each.socket))


def _port_wishes(
    place: _Place, service: Service, port: Port, number: int, scope: Scope, proxy: Proxy
) -> Iterator[Wish]:
    common = Wish(
        where=place.where,
        service=service,
        port=port,
        number=number,
        socket=Socket(address=any_address(proxy), port=number, bound=place.bound),
        routes=str(number),
        exclusive=place.exclusive,
    )
    if place.address.startswith(("/", "@")):
        socket = Socket(address=place.address, bound=True)
        yield replace(common, socket=socket, routes=place.address)
    elif place.address:
        yield replace(common, socket=replace(common.socket, address=place.address))
    elif port.protocol.is_http:
        yield common
    else:
        yield from _address_wishes(common, scope, proxy)


def _address_wishes(common: Wish, scope: Scope, proxy: Proxy) -> Iterator[Wish]:
    """A listener for each address of the service; one on any address for CIDRs, or if it has none.

    Headless services have one for each endpoint (pilot.md E3 to E5). Addresses of a family that the
    proxy lacks are left out.
    """
    service = common.service
    own_routes = names.virtual_host(service.host, common.port.number)
    vips = service.vips(proxy.cluster_id, automatic=reaches_automatic_addresses(proxy))
    addresses = [each for each in vips if is_single_address(each)]
    subnets = tuple(each for each in vips if "/" in each)
    if subnets:
        yield replace(common, subnets=subnets)
    elif not addresses:
        if service.headless or service.resolution is Resolution.PASSTHROUGH:
            addresses = _endpoint_addresses(service, common.port, scope, proxy)
            if not addresses and not _unknown_endpoints(service):
                return
        if not addresses:
            yield common
    for address in addresses:
        if not proxy.speaks(address):
            continue
        socket = replace(common.socket, address=address)
        yield replace(common, socket=socket, routes=own_routes, shared=False)


def _endpoint_addresses(service: Service, port: Port, scope: Scope, proxy: Proxy) -> list[str]:
    """Addresses of the endpoints of a port, without the proxy's own, each once."""
    return list(
        dict.fromkeys(
            address
            for each in scope.endpoints(service.key)
            if port.number in each.ports and each.is_ip
            for address in each.addresses
            if address not in proxy.ip_addresses
        )
    )


def _unknown_endpoints(service: Service) -> bool:
    """Nobody says where the service is: a ServiceEntry without addresses, endpoints, selector."""
    return not service.from_kubernetes and not service.selector
