"""Route configurations of sidecars: one per HTTP port, sniffed service or forward proxy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from istio.networking.v1alpha3.virtual_service_pb2 import Destination, PortSelector, VirtualService
from mast.pilot.core import names
from mast.pilot.core.filters.extensions import NO_EXTENSIONS, Direction, Extensions, Spot
from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import Config, Port, Protocol, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.ports.outbound_sockets import reaches_automatic_addresses
from mast.pilot.core.ports.sockets import UNIX
from mast.pilot.core.routes.backends import Backends, passthrough_cluster
from mast.pilot.core.routes.http_routes import default_route, virtual_service_routes
from mast.pilot.core.routes.route_actions import MAX_DIRECT_RESPONSE_BYTES, Setting
from mast.pilot.core.routes.virtual_hosts import (
    Candidate,
    blocking,
    passing,
    ported,
    virtual_hosts,
)
from mast.pilot.core.scope.egress import Egress
from mast.pilot.core.scope.matches import Caller
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.scope.virtual_services import gateway_semantics

_HTTP_PORT: Final = 80
"""Port of VirtualService hosts that no service stands behind (pilot.md C6)."""


def route_configuration(
    name: str, scope: Scope, proxy: Proxy, extensions: Extensions = NO_EXTENSIONS
) -> RouteConfiguration | None:
    """The route configuration of a sidecar by its name, None for a name that is none (pilot.md C).

    Names are `PORT`, `HOST:PORT` for a sniffed port of one service, `http_proxy`, and the socket
    path of a Sidecar's egress listener. A port that nobody uses has only the catch-all. Domains
    that more than one virtual host claims are reported.
    """
    site = _Site(scope, proxy, extensions)
    if name == names.HTTP_PROXY:
        return _with_catch_all(name, site, _on_all_ports(site, site.egress_on(0)))
    if name.isdecimal():
        port = int(name)
        return _with_catch_all(name, site, _on_port(site, site.egress_on(port), port))
    for where, egress in enumerate(scope.egress):
        if egress.listener and egress.listener.bind.removeprefix(UNIX) == name:
            port = egress.listener.port.number
            candidates = map(_with_ports, _on_port(site, where, port))
            return _with_catch_all(name, site, candidates)
    host, _, number = name.rpartition(":")
    if not number.isdecimal():
        return None
    return _sniffed(name, site, host, int(number))


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
    name: str, site: _Site, candidates: Iterator[Candidate]
) -> RouteConfiguration:
    made, losses = virtual_hosts(candidates)
    for each in losses:
        site.scope.report(each)
    configuration = _configuration(name, [*made, _catch_all(site)])
    # With ports ignored, D:8080 would get the virtual host of port 80.
    configuration.ignore_port_in_host_matching = name != names.HTTP_PROXY
    return configuration


def _sniffed(name: str, site: _Site, host: str, number: int) -> RouteConfiguration:
    """The only virtual host of a service whose port is sniffed (pilot.md C6)."""
    service = site.scope.service(host)
    port = service.port(number) if service else None
    where = site.egress_on(number)
    if service is None or port is None or where is None:
        return _configuration(name, [_catch_all(site)])
    candidate = _candidate(site, where, service, port)
    made, _ = virtual_hosts([replace(candidate, own=["*"], other=[])])
    return _configuration(name, made)


def _configuration(name: str, made: Sequence[VirtualHost]) -> RouteConfiguration:
    return RouteConfiguration(
        name=name,
        virtual_hosts=made,
        validate_clusters=BoolValue(value=False),
        max_direct_response_body_size_bytes=UInt32Value(value=MAX_DIRECT_RESPONSE_BYTES),
    )


def _catch_all(site: _Site) -> VirtualHost:
    cluster = passthrough_cluster(site.scope)
    if cluster is None:
        return blocking()
    return passing(cluster, site.extensions.destination(site.spot(0), cluster, None))


def _on_port(site: _Site, where: int | None, number: int) -> Iterator[Candidate]:
    """Virtual hosts of one port that show through an egress listener."""
    if where is None:
        return
    egress = site.scope.egress[where]
    governing = set()
    services = []
    for service in egress.services_on(number):
        port = service.port(number)
        if port and _is_http(port):
            services.append(service)
            governing.add(egress.virtual_service(service.host))
            yield _candidate(site, where, service, port)
    for host, config in egress.standalone():
        if config in governing:
            wanted = not any(hosts.matches(host, each.host) for each in services)
        else:
            wanted = number == _HTTP_PORT and not _has_services(egress, config)
        if wanted and (routes_of := site.governed(egress, config, number)):
            yield _standalone(site, host, config, number, routes_of)


def _on_all_ports(site: _Site, where: int | None) -> Iterator[Candidate]:
    """Virtual hosts of every HTTP port, told apart by the port in the domain (pilot.md C5)."""
    if where is None:
        return
    services = site.scope.egress[where].services()
    numbers = {port.number for each in services for port in each.ports if _is_http(port)}
    for number in sorted(numbers | {_HTTP_PORT}):
        yield from map(_with_ports, _on_port(site, where, number))


def _candidate(site: _Site, where: int, service: Service, port: Port) -> Candidate:
    """The virtual host of a service port, kept until the service or a rule for it changes."""

    def build(inner: Scope) -> Candidate:
        inner.depend_on(service)
        return _made(replace(site, scope=inner), inner.egress[where], service, port)

    key = ("virtual host", where, service.host, port.number, site.proxy, site.extensions)
    return site.scope.cached(key, build)


def _made(site: _Site, egress: Egress, service: Service, port: Port) -> Candidate:
    """The virtual host of a service port, with domains that are free of ports."""
    domains = hosts.domains(
        service,
        site.proxy.namespace,
        site.proxy.dns_domain,
        automatic=reaches_automatic_addresses(site.proxy),
    )
    own = [each for each in domains if each in (service.host, f"{service.host}.")]
    return Candidate(
        host=service.host,
        port=port.number,
        own=own,
        other=[each for each in domains if each not in own],
        routes=site.service_routes(egress, service, port),
        age=service.age,
        source=service.object_name,
        additions=site.extensions.virtual_host(site.spot(port.number), service),
    )


def _standalone(
    site: _Site, host: str, config: Config[VirtualService], port: int, own: Sequence[Route]
) -> Candidate:
    """The virtual host of a VirtualService host that is no service (pilot.md C6)."""
    return Candidate(
        host=host,
        port=port,
        own=[host],
        routes=own,
        age=config.age,
        source=config.meta.object_name,
        additions=site.extensions.virtual_host(site.spot(port), None),
    )


def _with_ports(candidate: Candidate) -> Candidate:
    return replace(
        candidate,
        own=list(ported(candidate.own, candidate.port)),
        other=list(ported(candidate.other, candidate.port)),
    )


def _has_services(egress: Egress, config: Config[VirtualService]) -> bool:
    """True if a service with an HTTP port is among the hosts of a VirtualService."""
    return any(
        _is_http(port)
        for host in config.spec.hosts
        for service in _services_under(egress, host)
        if egress.virtual_service(service.host) is config
        for port in service.ports
    )


def _services_under(egress: Egress, pattern: str) -> Sequence[Service]:
    if hosts.is_wildcard(pattern):
        return [each for each in egress.services() if hosts.matches(pattern, each.host)]
    service = egress.service(pattern)
    return [service] if service else []


def _is_http(port: Port) -> bool:
    return port.protocol.is_http or port.protocol is Protocol.AUTO
