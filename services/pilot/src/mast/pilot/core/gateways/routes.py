"""Route configurations of routers: what VirtualServices make of a Gateway's hosts (pilot.md F8)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.route.v3.route_components_pb2 import (
    DirectResponseAction,
    Route,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.pilot.core import names
from mast.pilot.core.filters.extensions import Direction, Extensions, Spot
from mast.pilot.core.gateways.bindings import common_hosts
from mast.pilot.core.gateways.quic import ADVERTISEMENT, offers_quic
from mast.pilot.core.gateways.servers import (
    Carries,
    RouterServer,
    SharedPort,
    Translation,
    shared_ports,
)
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.routes.backends import Backends
from mast.pilot.core.routes.http_routes import virtual_service_routes
from mast.pilot.core.routes.route_actions import MAX_DIRECT_RESPONSE_BYTES
from mast.pilot.core.scope.matches import Caller
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.scope.virtual_services import gateway_semantics
from mast.pilot.core.security.authentication.request_authentication import policies

MISDIRECTED: Final = "misdirected"
"""Virtual host, and route, of names that other servers of the port have (pilot.md I6, N8)."""

_MISDIRECTED_REQUEST: Final = 421
_EVERYTHING: Final = ("*", ".*")


def route_configuration(
    name: str, scope: Scope, proxy: Proxy, ports: Translation, extensions: Extensions
) -> RouteConfiguration | None:
    """The route configuration of a router by its name, None for a name that is none (pilot.md C).

    Names are `http.PORT` for all plain HTTP servers of a port and
    `https.PORT.PORTNAME.GATEWAY.NS` for one HTTPS server, with `.BIND` if it is bound.
    """
    site = _Site(scope, proxy, extensions)
    for shared in shared_ports(scope, proxy, ports):
        if shared.carries is Carries.HTTP:
            if shared.route_name == name:
                return _plain(name, site, shared)
            continue
        for server in shared.servers:
            if server.ends_https and server.route_name == name:
                return _secure(name, site, shared, server)
    return None


@dataclass(frozen=True)
class _Site:
    """Whose routes are built, and from what."""

    scope: Scope
    proxy: Proxy
    extensions: Extensions

    def spot(self, server: RouterServer) -> Spot:
        number = server.server.port.number
        return Spot(proxy=self.proxy, direction=Direction.OUTBOUND, port=number)

    def routes(self, server: RouterServer, config: Config[VirtualService]) -> Sequence[Route]:
        """Routes of a VirtualService as they apply to one server."""
        caller = Caller(
            port=server.server.port.number,
            namespace=self.proxy.namespace,
            labels=self.proxy.labels,
            gateways=frozenset({server.gateway_name}),
        )
        backends = Backends(self.scope, self.scope.egress[0], self.extensions)
        setting = replace(
            backends.setting(self.spot(server)),
            scheme="https" if server.ends_https else "http",
            gateway_semantics=gateway_semantics(config.meta),
        )
        made = list(virtual_service_routes(config, caller, setting))
        if any(each.match.dynamic_metadata for each in made) and not self._checks_tokens:
            self.scope.report(_without_tokens(config, server))
        return made

    @property
    def _checks_tokens(self) -> bool:
        """Some policy is about tokens that the router is shown."""
        return any(policies(self.scope, self.proxy))


def _without_tokens(config: Config[VirtualService], server: RouterServer) -> Finding:
    return Finding(
        fault=Fault.CLAIMS_WITHOUT_TOKENS,
        key=server.gateway_name,
        message=(
            f"Routes depend on claims of tokens, but no RequestAuthentication is for the proxies of"
            f" Gateway {server.gateway_name}: for them nobody has any."
        ),
        subject=config.meta.object_name,
    )


class _Hosts:
    """Virtual hosts by domain, in which the routes of several VirtualServices meet."""

    def __init__(self, site: _Site) -> None:
        self._site = site
        self._made: dict[str, VirtualHost] = {}

    def __contains__(self, host: str) -> bool:
        return host.lower() in self._made

    def add(self, server: RouterServer) -> None:
        """Take in what VirtualServices make of a server, the oldest first (pilot.md F8)."""
        redirects = server.server.tls.https_redirect and not server.ends_https
        for config in self._site.scope.gateway_virtual_services(server.gateway_name):
            found = common_hosts(server.bindings, config.spec.hosts, config.meta.namespace)
            routes = self._site.routes(server, config) if found else ()
            for host in found if routes else ():
                self._of(host, server, redirects=redirects).routes.extend(routes)
        for host in server.hosts if redirects else ():
            self._of(host, server, redirects=True)

    def withdraw(self, host: str) -> None:
        """Leave a domain to another server."""
        self._made.pop(host.lower(), None)

    @property
    def domains(self) -> Sequence[str]:
        """All domains, in lower case."""
        return list(self._made)

    def finished(self) -> list[VirtualHost]:
        """The virtual hosts; the first route that takes everything stands last."""
        for each in self._made.values():
            routes = list(each.routes)
            catching = [route for route in routes if _takes_everything(route)]
            del each.routes[:]
            each.routes.extend(route for route in routes if not _takes_everything(route))
            each.routes.extend(catching[:1])
        return list(self._made.values())

    def _of(self, host: str, server: RouterServer, *, redirects: bool) -> VirtualHost:
        made = self._made.get(host.lower())
        if made is None:
            name = names.virtual_host(host, server.server.port.number)
            made = VirtualHost(name=name, domains=[host], include_request_attempt_count=True)
            additions = self._site.extensions.virtual_host(self._site.spot(server), None)
            additions.apply(made)
            additions.apply_metadata(made)
            self._made[host.lower()] = made
        if redirects:
            made.require_tls = VirtualHost.ALL
        return made


def _plain(name: str, site: _Site, shared: SharedPort) -> RouteConfiguration:
    """All plain HTTP servers of a socket."""
    found = _Hosts(site)
    for server in shared.servers:
        found.add(server)
    made = found.finished() or [_black_hole(shared.servers[0], ["*"])]
    return _configuration(name, made)


def _secure(name: str, site: _Site, shared: SharedPort, server: RouterServer) -> RouteConfiguration:
    """One HTTPS server.

    A client may send requests for any host on a connection that it has. Those that belong to
    another server of the port are refused with 421, so that it opens another connection; they
    would get past that server's TLS settings otherwise (pilot.md I6, N8; RFC 9110 15.5.20).
    """
    found = _Hosts(site)
    found.add(server)
    for domain in found.domains:
        if shared.owner(domain) is not server:
            found.withdraw(domain)
    elsewhere = [
        host
        for other in shared.servers
        if other is not server and not other.passes_mesh_on
        for host in other.hosts
    ]
    own = [each for each in server.hosts if each not in found]
    made = found.finished()
    if elsewhere:
        made.append(_misdirected(server, elsewhere))
        made += [_black_hole(server, own)] if own else []
    elif not made:
        made.append(_black_hole(server, ["*"]))
    result = _configuration(name, made)
    if offers_quic(site.scope.mesh, server):
        number = server.server.port.number
        result.response_headers_to_add.add(
            header=HeaderValue(key="alt-svc", value=ADVERTISEMENT.format(port=number)),
            append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
    return result


def _configuration(name: str, made: Iterable[VirtualHost]) -> RouteConfiguration:
    return RouteConfiguration(
        name=name,
        virtual_hosts=sorted(made, key=lambda each: each.name),
        validate_clusters=BoolValue(value=False),
        ignore_port_in_host_matching=True,
        max_direct_response_body_size_bytes=UInt32Value(value=MAX_DIRECT_RESPONSE_BYTES),
    )


def _black_hole(server: RouterServer, domains: Sequence[str]) -> VirtualHost:
    """Hosts without routes: Envoy answers 404 (pilot.md C)."""
    return VirtualHost(
        name=names.gateway_black_hole(server.server.port.number), domains=_distinct(domains)
    )


def _misdirected(server: RouterServer, domains: Sequence[str]) -> VirtualHost:
    number = server.server.port.number
    refusal = Route(
        name=MISDIRECTED,
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=_MISDIRECTED_REQUEST),
    )
    return VirtualHost(name=f"{MISDIRECTED}:{number}", domains=_distinct(domains), routes=[refusal])


def _distinct(domains: Iterable[str]) -> list[str]:
    """The domains, each once in whatever case."""
    return sorted({each.lower() for each in domains})


def _takes_everything(route: Route) -> bool:
    """Nothing behind it would ever be reached."""
    match = route.match
    if match.headers or match.query_parameters or match.dynamic_metadata:
        return False
    if match.WhichOneof("path_specifier") == "safe_regex":
        return match.safe_regex.regex in _EVERYTHING
    return match.prefix == "/"
