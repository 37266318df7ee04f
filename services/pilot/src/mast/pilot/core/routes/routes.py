"""Route configurations of sidecars: one per HTTP port, sniffed service or forward proxy."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from istio.networking.v1alpha3.virtual_service_pb2 import Destination, PortSelector, VirtualService
from mast.pilot.core import names
from mast.pilot.core.filters.extensions import NO_EXTENSIONS, Direction, Extensions, Spot
from mast.pilot.core.filters.tcp_proxies import to_cluster
from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import Config, Port, Protocol, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.ports.outbound_sockets import reaches_automatic_addresses
from mast.pilot.core.ports.sockets import UNIX
from mast.pilot.core.routes.backends import Backends, passthrough_cluster
from mast.pilot.core.routes.http_routes import default_route, virtual_service_routes
from mast.pilot.core.routes.route_actions import MAX_DIRECT_RESPONSE_BYTES, Setting
from mast.pilot.core.routes.route_tables import (
    EMPTY,
    Routes,
    RouteTable,
    entry,
    entry_of,
    table,
)
from mast.pilot.core.routes.tunnels import is_tunnelled, proxied_port, tunnel_route
from mast.pilot.core.routes.virtual_hosts import (
    Candidate,
    Claim,
    blocking,
    candidate,
    passing,
    ported,
)
from mast.pilot.core.scope.egress import Egress
from mast.pilot.core.scope.matches import Caller
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.scope.virtual_services import gateway_semantics

_HTTP_PORT: Final = 80
"""Port of VirtualService hosts that no service stands behind (pilot.md C6)."""


def routes(
    name: str, scope: Scope, proxy: Proxy, extensions: Extensions = NO_EXTENSIONS
) -> Routes | None:
    """The route configuration of a sidecar by its name, None for a name that is none (pilot.md C).

    Names are `PORT`, `HOST:PORT` for a sniffed port of one service, `http_proxy`, and the socket
    path of a Sidecar's egress listener. A port that nobody uses has only the catch-all. Domains
    that more than one virtual host claims are reported.
    """
    site = _Site(scope, proxy, extensions)
    if name == names.HTTP_PROXY:
        # With ports ignored, D:8080 would get the virtual host of port 80.
        made = table(_on_all_ports(site, site.egress_on(0)))
        return _with_catch_all(name, site, made, forward_proxy=True)
    if name.isdecimal():
        return _with_catch_all(name, site, _table(site, site.egress_on(int(name)), int(name)))
    for where, egress in enumerate(scope.egress):
        if egress.listener and egress.listener.bind.removeprefix(UNIX) == name:
            made = table(_on_port(site, where, egress.listener.port.number))
            return _with_catch_all(name, site, made)
    host, _, number = name.rpartition(":")
    if not number.isdecimal():
        return None
    return _sniffed(name, site, host, int(number))


def route_configuration(
    name: str, scope: Scope, proxy: Proxy, extensions: Extensions = NO_EXTENSIONS
) -> RouteConfiguration | None:
    """As `routes`, as a message."""
    made = routes(name, scope, proxy, extensions)
    return made.message() if made else None


def service_routes(
    scope: Scope, proxy: Proxy, egress: Egress, service: Service, port: Port
) -> Sequence[Route]:
    """Routes of the VirtualService that governs a service, else its default route (pilot.md F2)."""
    return _Site(scope, proxy, NO_EXTENSIONS).service_routes(egress, service, port)


@dataclass(frozen=True)
class _Site:
    """Whose routes are built, and from what."""

    scope: Scope
    proxy: Proxy
    extensions: Extensions

    def egress_on(self, port: int) -> int | None:
        """Index of the egress listener for a port: the one that has it, else one without a port."""
        numbers = [each.listener.port.number if each.listener else 0 for each in self.scope.egress]
        return next((numbers.index(each) for each in (port, 0) if each in numbers), None)

    def spot(self, port: int) -> Spot:
        return Spot(proxy=self.proxy, direction=Direction.OUTBOUND, port=port)

    def caller(self, port: int) -> Caller:
        return Caller(port=port, namespace=self.proxy.namespace, labels=self.proxy.labels)

    def setting(self, egress: Egress, port: int) -> Setting:
        return Backends(self.scope, egress, self.extensions).setting(self.spot(port))

    def governed(
        self, egress: Egress, config: Config[VirtualService], port: int
    ) -> Sequence[Route]:
        """Routes of a VirtualService; empty if none of its matches concerns this proxy."""
        setting = replace(
            self.setting(egress, port), gateway_semantics=gateway_semantics(config.meta)
        )
        return list(virtual_service_routes(config, self.caller(port), setting))

    def service_routes(self, egress: Egress, service: Service, port: Port) -> Sequence[Route]:
        """Routes of the VirtualService that governs a service, else its default route."""
        config = egress.virtual_service(service.host)
        if config and (found := self.governed(egress, config, port.number)):
            return found
        destination = Destination(host=service.host, port=PortSelector(number=port.number))
        return [default_route(destination, self.setting(egress, port.number))]


def _with_catch_all(
    name: str, site: _Site, made: RouteTable, *, forward_proxy: bool = False
) -> Routes:
    for each in made.losses:
        site.scope.report(each)
    settings = _settings()
    settings.ignore_port_in_host_matching = not forward_proxy
    last = _catch_all(site)
    cluster = passthrough_cluster(site.scope)
    if forward_proxy and cluster is not None:
        additions = site.extensions.destination(site.spot(0), cluster, None)
        last.routes.append(tunnel_route(last.name, to_cluster(cluster), additions))
    return Routes(name, settings, [*made.entries.values(), entry_of(last)])


def _sniffed(name: str, site: _Site, host: str, number: int) -> Routes:
    """The only virtual host of a service whose port is sniffed (pilot.md C6)."""
    service = site.scope.service(host)
    port = service.port(number) if service else None
    where = site.egress_on(number)
    if service is None or port is None or where is None:
        return Routes(name, _settings(), [entry_of(_catch_all(site))])
    made = _made(site, site.scope.egress[where], service, port)
    return Routes(name, _settings(), [entry(made, ["*"])])


def _settings() -> RouteConfiguration:
    return RouteConfiguration(
        validate_clusters=BoolValue(value=False),
        max_direct_response_body_size_bytes=UInt32Value(value=MAX_DIRECT_RESPONSE_BYTES),
    )


def _catch_all(site: _Site) -> VirtualHost:
    cluster = passthrough_cluster(site.scope)
    if cluster is None:
        return blocking()
    return passing(cluster, site.extensions.destination(site.spot(0), cluster, None))


def _table(site: _Site, where: int | None, number: int) -> RouteTable:
    """Virtual hosts of one port; those that did not change are not made again."""

    def build(inner: Scope, before: RouteTable | None) -> RouteTable:
        return table(_on_port(replace(site, scope=inner), where, number), before or EMPTY)

    return site.scope.continued(("routes", where, number, site.proxy, site.extensions), build)


def _on_port(site: _Site, where: int | None, number: int) -> dict[Hashable, Candidate]:
    """Virtual hosts of one port that show through an egress listener, by host."""
    if where is None:
        return {}

    def of_service(host: str, inner: Scope) -> Candidate | None:
        egress = inner.egress[where]
        service = egress.service(host)
        port = service.port(number) if service and service.host == host else None
        if service is None or port is None or not _is_http(port):
            return None
        return _made(replace(site, scope=inner), egress, service, port)

    egress = site.scope.egress[where]
    owner = (where, number, site.proxy, site.extensions)
    of_services = site.scope.members("virtual host", owner, egress.hosts_on(number), of_service)
    found: dict[Hashable, Candidate] = {
        host: each for host, each in of_services.items() if each is not None
    }
    for host, config in egress.standalone():
        if _governs(egress, config, number):
            wanted = not any(hosts.matches(host, each) for each in of_services if each in found)
        else:
            wanted = number == _HTTP_PORT and not _has_services(egress, config)
        if wanted and (routes_of := site.governed(egress, config, number)):
            found[host] = _standalone(site, host, config, number, routes_of)
    return found


def _on_all_ports(site: _Site, where: int | None) -> dict[Hashable, Candidate]:
    """Virtual hosts of every port, told apart by the port in the domain (pilot.md C5)."""
    if where is None:
        return {}
    egress = site.scope.egress[where]
    services = egress.services()
    numbers = {port.number for each in services for port in each.ports if _is_http(port)}
    found: dict[Hashable, Candidate] = {
        (number, key): _with_port(each)
        for number in sorted(numbers | {_HTTP_PORT})
        for key, each in _on_port(site, where, number).items()
    }
    for service in services:
        for port in service.ports:
            if is_tunnelled(port) and (route := _tunnel(site, egress, service, port)):
                key = (port.number, service.host)
                known = found.get(key) or _with_port(_without_routes(site, service, port))
                found[key] = known.ending_with(route)
    return found


def _tunnel(site: _Site, egress: Egress, service: Service, port: Port) -> Route | None:
    spot = site.spot(port.number)
    backends = Backends(site.scope, egress, site.extensions)
    proxied = proxied_port(backends, service, port, site.caller(port.number), spot)
    if proxied is None:
        return None
    additions = site.extensions.destination(spot, service.host, service)
    return tunnel_route(names.DEFAULT_ROUTE, proxied, additions)


def _made(site: _Site, egress: Egress, service: Service, port: Port) -> Candidate:
    """The virtual host of a service port, with domains that are free of ports."""
    additions = site.extensions.virtual_host(site.spot(port.number), service)
    routes_of = site.service_routes(egress, service, port)
    made = candidate(_claim(site, service, port), routes_of, additions)
    return replace(made, content=_shared(site, made.content))


def _without_routes(site: _Site, service: Service, port: Port) -> Candidate:
    additions = site.extensions.virtual_host(site.spot(port.number), service)
    return candidate(_claim(site, service, port), (), additions)


def _claim(site: _Site, service: Service, port: Port) -> Claim:
    domains = hosts.domains(
        service,
        site.proxy.namespace,
        site.proxy.dns_domain,
        automatic=reaches_automatic_addresses(site.proxy),
    )
    own = tuple(each for each in domains if each in (service.host, f"{service.host}."))
    return Claim(
        host=service.host,
        port=port.number,
        own=own,
        other=tuple(each for each in domains if each not in own),
        age=service.age,
        source=service.object_name,
    )


def _shared(site: _Site, content: bytes) -> bytes:
    """One object for equal contents: callers of most namespaces have the same virtual hosts."""
    return site.scope.shared(("virtual host content", content), lambda _: content)


def _standalone(
    site: _Site, host: str, config: Config[VirtualService], port: int, own: Sequence[Route]
) -> Candidate:
    """The virtual host of a VirtualService host that is no service (pilot.md C6)."""
    claim = Claim(
        host=host,
        port=port,
        own=(host,),
        other=(),
        age=config.age,
        source=config.meta.object_name,
    )
    return candidate(claim, own, site.extensions.virtual_host(site.spot(port), None))


def _with_port(each: Candidate) -> Candidate:
    claim = each.claim
    own, other = (tuple(ported(domains, claim.port)) for domains in (claim.own, claim.other))
    return Candidate(claim._replace(own=own, other=other), each.content)


def _governs(egress: Egress, config: Config[VirtualService], number: int) -> bool:
    """True if an HTTP port of that number of some service gets its routes from a VirtualService."""
    return any(
        port.number == number
        for service in _governed_services(egress, config)
        for port in service.ports
        if _is_http(port)
    )


def _has_services(egress: Egress, config: Config[VirtualService]) -> bool:
    """True if a service with an HTTP port is among the hosts of a VirtualService."""
    governed = _governed_services(egress, config)
    return any(_is_http(port) for service in governed for port in service.ports)


def _governed_services(egress: Egress, config: Config[VirtualService]) -> Iterator[Service]:
    for host in config.spec.hosts:
        for service in _services_under(egress, host):
            if egress.virtual_service(service.host) is config:
                yield service


def _services_under(egress: Egress, pattern: str) -> Sequence[Service]:
    if hosts.is_wildcard(pattern):
        return [each for each in egress.services() if hosts.matches(pattern, each.host)]
    service = egress.service(pattern)
    return [service] if service else []


def _is_http(port: Port) -> bool:
    return port.protocol.is_http or port.protocol is Protocol.AUTO
