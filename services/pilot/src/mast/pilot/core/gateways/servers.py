"""Servers of the Gateways that select a router, merged per socket (pilot.md I1)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Final

from istio.networking.v1alpha3.gateway_pb2 import Gateway, Server, ServerTLSSettings
from mast.pilot.core import names
from mast.pilot.core.gateways.bindings import Binding, binding
from mast.pilot.core.model import collection_names, hosts
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config, ConfigMeta, Protocol, Target, selects
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.model.service_entries import protocol
from mast.pilot.core.ports.sockets import Socket, any_address, can_bind
from mast.pilot.core.scope.scope import Scope

NO_TRANSLATION: Final = "experimental.istio.io/disable-gateway-port-translation"
"""Label of a Service whose port numbers are those that its gateways listen on (pilot.md I2)."""

Translation = tuple[tuple[int, int], ...]
"""Pairs of a Service port and the port of the router that stands behind it, sorted."""

_PASSING: Final = (ServerTLSSettings.PASSTHROUGH, ServerTLSSettings.AUTO_PASSTHROUGH)
_UNIX: Final = "unix:"
_NOT: Final = (False, 0)
"""The rank of a server none of whose hosts covers a host."""


class Carries(StrEnum):
    """What a port of a router carries; servers share a port only if they agree."""

    HTTP = "plain HTTP"
    TLS = "TLS"
    TCP = "plain TCP"


@dataclass(frozen=True, kw_only=True, eq=False)
class RouterServer:
    """A server of a Gateway, on one of the ports that it has on a router.

    `port` is that port (0 for a Unix socket); `server.port.number` is what clients dial.
    """

    gateway: ConfigMeta
    server: Server
    port: int
    bindings: tuple[Binding, ...]

    @property
    def gateway_name(self) -> str:
        """The name by which VirtualServices bind to the Gateway."""
        return f"{self.gateway.namespace}/{self.gateway.name}"

    @cached_property
    def protocol(self) -> Protocol:
        """The application protocol; one that Istio does not know is carried as TCP."""
        return protocol(self.server.port.protocol, self.server.port.number)

    @property
    def carries(self) -> Carries:
        """What arrives at its port."""
        if self.protocol.is_http:
            return Carries.HTTP
        return Carries.TLS if self.protocol.is_tls else Carries.TCP

    @property
    def passes_tls_on(self) -> bool:
        """TLS is routed by server name and not opened."""
        return self.carries is Carries.TLS and self.server.tls.mode in _PASSING

    @property
    def passes_mesh_on(self) -> bool:
        """Mutual TLS of the mesh is passed on to the service that its server name tells."""
        return self.passes_tls_on and self.server.tls.mode == ServerTLSSettings.AUTO_PASSTHROUGH

    @property
    def ends_https(self) -> bool:
        """TLS is opened and HTTP found inside."""
        return self.protocol is Protocol.HTTPS and not self.passes_tls_on

    @cached_property
    def hosts(self) -> tuple[str, ...]:
        """The hosts without their namespaces, each once."""
        return tuple(dict.fromkeys(each.host for each in self.bindings))

    @cached_property
    def snis(self) -> tuple[str, ...]:
        """Server names that lead to it, sorted; none if any does."""
        return () if "*" in self.hosts else tuple(sorted({each.lower() for each in self.hosts}))

    @property
    def route_name(self) -> str:
        """Route configuration of its HTTP connection manager, empty if it has none (pilot.md C)."""
        if self.carries is Carries.HTTP:
            return names.gateway_http_route(self.port, self.server.bind)
        if not self.ends_https:
            return ""
        return names.gateway_https_route(
            self.port,
            self.server.port.name,
            self.gateway.name,
            self.gateway.namespace,
            self.server.bind,
        )

    def rank(self, host: str) -> tuple[bool, int]:
        """How closely one of its hosts covers a host: by name, else by the longest wildcard."""
        found = (each for each in self.hosts if hosts.matches(each, host))
        return max(((not hosts.is_wildcard(each), len(each)) for each in found), default=_NOT)


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedPort:
    """Servers that share a socket, the oldest first."""

    socket: Socket
    carries: Carries
    servers: tuple[RouterServer, ...]

    @property
    def route_name(self) -> str:
        """Route configuration that all its HTTP servers have, as the oldest of them names it."""
        return self.servers[0].route_name

    def owner(self, host: str) -> RouterServer | None:
        """The server that TLS with that server name ends up at: the closest host wins."""
        able = (each for each in self.servers if not each.passes_mesh_on)
        best = max(able, key=lambda each: each.rank(host), default=None)
        return best if best is not None and best.rank(host) != _NOT else None


@dataclass(kw_only=True)
class _Place:
    """Who has come to a socket so far."""

    socket: Socket
    carries: Carries
    servers: list[RouterServer] = field(default_factory=list)


def translation(targets: Iterable[Target]) -> Translation:
    """Which ports of a router stand behind the ports of its Services (pilot.md I2)."""
    return tuple(
        sorted(
            {
                (each.port.number, each.target_port)
                for each in targets
                if each.service.labels.get(NO_TRANSLATION) != "true"
            }
        )
    )


def gateways(scope: Scope, proxy: Proxy) -> Sequence[Config[Gateway]]:
    """The Gateways that select a router, the oldest first."""
    every = scope.visible(collection_names.GATEWAYS)
    return [each for each in every if selects(each.spec.selector, proxy.labels)]


def shared_ports(scope: Scope, proxy: Proxy, ports: Translation) -> Sequence[SharedPort]:
    """What the servers of a router's Gateways make of its sockets, sorted by port (pilot.md I1).

    Plain HTTP shares a socket with plain HTTP, TLS with TLS of other server names, plain TCP with
    nobody. Whoever comes later loses: its server, or the hosts that are taken; that is reported.
    """
    return scope.cached(("gateways", proxy, ports), lambda inner: _merged(inner, proxy, ports))


def _merged(scope: Scope, proxy: Proxy, ports: Translation) -> Sequence[SharedPort]:
    places: dict[Socket, _Place] = {}
    for config in gateways(scope, proxy):
        for each in _servers(config, ports):
            socket = _socket(each, proxy)
            if can_bind(proxy, scope.mesh, socket):
                place = places.setdefault(socket, _Place(socket=socket, carries=each.carries))
                findings = _admit(place, each)
            else:
                why = f"proxies of its kind cannot listen on port {socket.port}"
                findings = iter([_refused(each, each.hosts, why)])
            for finding in findings:
                scope.report(finding)
    found = [
        SharedPort(socket=each.socket, carries=each.carries, servers=tuple(each.servers))
        for each in places.values()
        if each.servers
    ]
    return tuple(sorted(found, key=lambda each: (each.socket.port, each.socket.address)))


def _servers(config: Config[Gateway], ports: Translation) -> Iterator[RouterServer]:
    """Each server, once for every port of the router that stands behind its port."""
    for server in config.spec.servers:
        dialled = server.port.number
        behind = sorted({target for number, target in ports if number == dialled})
        for port in behind or [dialled]:
            yield RouterServer(
                gateway=config.meta,
                server=server,
                port=port,
                bindings=tuple(binding(each, config.meta.namespace) for each in server.hosts),
            )


def _socket(server: RouterServer, proxy: Proxy) -> Socket:
    bind = server.server.bind
    if bind.startswith(_UNIX):
        return Socket(address=bind.removeprefix(_UNIX).removeprefix("//"), bound=True)
    address = bind or proxy.outbound_bind or any_address(proxy)
    return Socket(address=address, port=server.port, bound=True)


def _admit(place: _Place, server: RouterServer) -> Iterator[Finding]:
    """Add a server to those of a socket, as far as it can be told apart from them."""
    first = place.servers[0] if place.servers else None
    if place.carries is not server.carries:
        why = f"the port carries {place.carries} already, it cannot carry {server.carries}"
        yield _refused(server, server.hosts, why, first)
    elif place.carries is Carries.TCP and first:
        yield _refused(server, server.hosts, "plain TCP cannot share a port", first)
    elif place.carries is not Carries.TLS:
        place.servers.append(server)
    elif namesake := _namesake(place, server):
        name = server.server.port.name
        why = f"port name {name!r} is not unique among the HTTPS servers of the port"
        yield _refused(server, server.hosts, why, namesake)
    else:
        yield from _admit_names(place, server)


def _namesake(place: _Place, server: RouterServer) -> RouterServer | None:
    """Another HTTPS server of the same Gateway whose port has the same name."""
    name = server.route_name
    return next((each for each in place.servers if name and each.route_name == name), None)


def _admit_names(place: _Place, server: RouterServer) -> Iterator[Finding]:
    """Add a TLS server with the hosts that no older one has.

    One that passes on what is meant for services of the mesh takes nothing from the others.
    """
    owners = {
        host.lower(): each
        for each in reversed(place.servers)
        if each.passes_mesh_on == server.passes_mesh_on
        for host in each.hosts
    }
    lost = [each for each in server.hosts if each.lower() in owners]
    if lost:
        why = "an older server of the port has these hosts"
        yield _refused(server, lost, why, owners[lost[0].lower()])
    free = tuple(each for each in server.bindings if each.host.lower() not in owners)
    if free:
        place.servers.append(replace(server, bindings=free))


def _refused(
    server: RouterServer, lost: Sequence[str], why: str, winner: RouterServer | None = None
) -> Finding:
    """A server, or some of its hosts, that a router does not serve."""
    number = server.server.port.number
    return Finding(
        fault=Fault.REJECTED_CONFIG,
        key=f"{server.gateway_name}:{number}",
        message=(
            f"Gateway {server.gateway_name} does not get {', '.join(lost)} on port {number}: {why}."
        ),
        subject=server.gateway.object_name,
        winner=winner.gateway.object_name if winner else None,
    )
