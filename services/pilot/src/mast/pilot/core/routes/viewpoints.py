"""Where routes of a proxy come from: what services and VirtualServices become at an egress."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost

from istio.networking.v1alpha3.virtual_service_pb2 import Destination, PortSelector, VirtualService
from mast.pilot.core import names
from mast.pilot.core.filters.extensions import NO_EXTENSIONS, Direction, Extensions, Spot
from mast.pilot.core.filters.tcp_proxies import to_cluster
from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import Config, Port, Protocol, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.ports.outbound_sockets import reaches_automatic_addresses
from mast.pilot.core.routes.backends import Backends, passthrough_cluster
from mast.pilot.core.routes.http_routes import default_route, virtual_service_routes
from mast.pilot.core.routes.route_actions import Setting
from mast.pilot.core.routes.tunnels import proxied_port, tunnel_route
from mast.pilot.core.routes.virtual_hosts import Candidate, Claim, blocking, candidate, passing
from mast.pilot.core.scope.egress import Egress
from mast.pilot.core.scope.matches import Caller
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.scope.virtual_services import gateway_semantics

HTTP_PORT: Final = 80
"""Port of VirtualService hosts that no service stands behind (pilot.md C6)."""


@dataclass(frozen=True)
class Viewpoint:
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


def service_routes(
    scope: Scope, proxy: Proxy, egress: Egress, service: Service, port: Port
) -> Sequence[Route]:
    """Routes of the VirtualService that governs a service, else its default route (pilot.md F2)."""
    return Viewpoint(scope, proxy, NO_EXTENSIONS).service_routes(egress, service, port)


def catch_all(here: Viewpoint, *, forward_proxy: bool = False) -> VirtualHost:
    """What becomes of requests to unknown hosts, of a forward proxy tunnels too (pilot.md C)."""
    cluster = passthrough_cluster(here.scope)
    if cluster is None:
        return blocking()
    additions = here.extensions.destination(here.spot(0), cluster, None)
    made = passing(cluster, additions)
    if forward_proxy:
        made.routes.append(tunnel_route(made.name, to_cluster(cluster), additions))
    return made


def tunnel(here: Viewpoint, egress: Egress, service: Service, port: Port) -> Route | None:
    """The route of tunnels to a service port, None if they lead nowhere."""
    spot = here.spot(port.number)
    backends = Backends(here.scope, egress, here.extensions)
    proxied = proxied_port(backends, service, port, here.caller(port.number), spot)
    if proxied is None:
        return None
    additions = here.extensions.destination(spot, service.host, service)
    return tunnel_route(names.DEFAULT_ROUTE, proxied, additions)


def made_of(here: Viewpoint, egress: Egress, service: Service, port: Port) -> Candidate:
    """The virtual host of a service port, with domains that are free of ports."""
    additions = here.extensions.virtual_host(here.spot(port.number), service)
    routes_of = here.service_routes(egress, service, port)
    made = candidate(_claim(here, service, port), routes_of, additions)
    return replace(made, content=_shared(here, made.content))


def without_routes(here: Viewpoint, service: Service, port: Port) -> Candidate:
    """The virtual host of a service port that has yet to get its routes."""
    additions = here.extensions.virtual_host(here.spot(port.number), service)
    return candidate(_claim(here, service, port), (), additions)


def _claim(here: Viewpoint, service: Service, port: Port) -> Claim:
    domains = hosts.domains(
        service,
        here.proxy.namespace,
        here.proxy.dns_domain,
        cluster=here.proxy.cluster_id,
        automatic=reaches_automatic_addresses(here.proxy),
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


def _shared(here: Viewpoint, content: bytes) -> bytes:
    """One object for equal contents: callers of most namespaces have the same virtual hosts."""
    return here.scope.shared(("virtual host content", content), lambda _: content)


def standalone(
    here: Viewpoint, host: str, config: Config[VirtualService], port: int, own: Sequence[Route]
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
    return candidate(claim, own, here.extensions.virtual_host(here.spot(port), None))


def governs(egress: Egress, config: Config[VirtualService], number: int) -> bool:
    """True if an HTTP port of that number of some service gets its routes from a VirtualService."""
    return any(
        port.number == number
        for service in _governed_services(egress, config)
        for port in service.ports
        if is_http(port)
    )


def has_services(egress: Egress, config: Config[VirtualService]) -> bool:
    """True if a service with an HTTP port is among the hosts of a VirtualService."""
    governed = _governed_services(egress, config)
    return any(is_http(port) for service in governed for port in service.ports)


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


def is_http(port: Port) -> bool:
    """HTTP is routed on the port, declared or sniffed."""
    return port.protocol.is_http or port.protocol is Protocol.AUTO
