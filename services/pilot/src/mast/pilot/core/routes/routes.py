"""Route configurations of sidecars: one per HTTP port, sniffed service or forward proxy."""

from collections.abc import Hashable
from dataclasses import replace

from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from mast.pilot.core import names
from mast.pilot.core.filters.extensions import NO_EXTENSIONS, Extensions
from mast.pilot.core.filters.on_demand import virtual_host_discovery
from mast.pilot.core.model import hosts
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.ports.sockets import UNIX
from mast.pilot.core.routes.route_actions import MAX_DIRECT_RESPONSE_BYTES
from mast.pilot.core.routes.route_tables import (
    EMPTY,
    Routes,
    RouteTable,
    entry,
    entry_of,
    table,
)
from mast.pilot.core.routes.tunnels import is_tunnelled
from mast.pilot.core.routes.viewpoints import (
    HTTP_PORT,
    Viewpoint,
    catch_all,
    governs,
    has_services,
    is_http,
    made_of,
    standalone,
    tunnel,
    without_routes,
)
from mast.pilot.core.routes.virtual_hosts import (
    Candidate,
    ported,
)
from mast.pilot.core.scope.scope import Scope


def routes(
    name: str, scope: Scope, proxy: Proxy, extensions: Extensions = NO_EXTENSIONS
) -> Routes | None:
    """The route configuration of a sidecar by its name, None for a name that is none (pilot.md C).

    Names are `PORT`, `HOST:PORT` for a sniffed port of one service, `http_proxy`, and the socket
    path of a Sidecar's egress listener. A port that nobody uses has only the catch-all. Domains
    that more than one virtual host claims are reported.
    """
    here = Viewpoint(scope, proxy, extensions)
    if name == names.HTTP_PROXY:
        # With ports ignored, D:8080 would get the virtual host of port 80.
        made = table(_on_all_ports(here, here.egress_on(0)))
        return _with_catch_all(name, here, made, forward_proxy=True)
    if name.isdecimal():
        return _with_catch_all(name, here, _of_port(here, int(name)))
    for where, egress in enumerate(scope.egress):
        if egress.listener and egress.listener.bind.removeprefix(UNIX) == name:
            made = table(_on_port(here, where, egress.listener.port.number))
            return _with_catch_all(name, here, made)
    host, _, number = name.rpartition(":")
    if not number.isdecimal():
        return None
    return _sniffed(name, here, host, int(number))


def route_configuration(
    name: str, scope: Scope, proxy: Proxy, extensions: Extensions = NO_EXTENSIONS
) -> RouteConfiguration | None:
    """As `routes`, as a message."""
    made = routes(name, scope, proxy, extensions)
    return made.message() if made else None


def _with_catch_all(
    name: str, here: Viewpoint, made: RouteTable, *, forward_proxy: bool = False
) -> Routes:
    for each in made.losses:
        here.scope.report(each)
    settings = _settings()
    if here.proxy.on_demand:
        # A catch-all would leave nothing to ask for; a host has one form in each question.
        settings.vhds.CopyFrom(virtual_host_discovery())
        return Routes(name, settings, list(made.entries.values()))
    settings.ignore_port_in_host_matching = not forward_proxy
    last = catch_all(here, forward_proxy=forward_proxy)
    return Routes(name, settings, [*made.entries.values(), entry_of(last)])


def _sniffed(name: str, here: Viewpoint, host: str, number: int) -> Routes:
    """The only virtual host of a service whose port is sniffed (pilot.md C6)."""
    service = here.scope.service(host)
    port = service.port(number) if service else None
    where = here.egress_on(number)
    if service is None or port is None or where is None:
        return Routes(name, _settings(), [entry_of(catch_all(here))])
    made = made_of(here, here.scope.egress[where], service, port)
    return Routes(name, _settings(), [entry(made, ["*"])])


def _settings() -> RouteConfiguration:
    return RouteConfiguration(
        validate_clusters=BoolValue(value=False),
        max_direct_response_body_size_bytes=UInt32Value(value=MAX_DIRECT_RESPONSE_BYTES),
    )


def _of_port(here: Viewpoint, number: int) -> RouteTable:
    """Virtual hosts of one port; where others are asked for, each with and without the port."""
    where = here.egress_on(number)
    if not here.proxy.on_demand:
        return _table(here, where, number)
    declared = _on_port(here, where, number).items()
    return table({key: _in_both_forms(each) for key, each in declared})


def _table(here: Viewpoint, where: int | None, number: int) -> RouteTable:
    """Virtual hosts of one port; those that did not change are not made again."""

    def build(inner: Scope, before: RouteTable | None) -> RouteTable:
        return table(_on_port(replace(here, scope=inner), where, number), before or EMPTY)

    return here.scope.continued(("routes", where, number, here.proxy, here.extensions), build)


def _on_port(here: Viewpoint, where: int | None, number: int) -> dict[Hashable, Candidate]:
    """Virtual hosts of one port that show through an egress listener, by host."""
    if where is None:
        return {}

    def of_service(host: str, inner: Scope) -> Candidate | None:
        egress = inner.egress[where]
        service = egress.service(host)
        port = service.port(number) if service and service.host == host else None
        if service is None or port is None or not is_http(port):
            return None
        return made_of(replace(here, scope=inner), egress, service, port)

    egress = here.scope.egress[where]
    owner = (where, number, here.proxy, here.extensions)
    of_services = here.scope.members("virtual host", owner, egress.hosts_on(number), of_service)
    found: dict[Hashable, Candidate] = {
        host: each for host, each in of_services.items() if each is not None
    }
    for host, config in egress.standalone():
        if governs(egress, config, number):
            wanted = not any(hosts.matches(host, each) for each in of_services if each in found)
        else:
            wanted = number == HTTP_PORT and not has_services(egress, config)
        if wanted and (routes_of := here.governed(egress, config, number)):
            found[host] = standalone(here, host, config, number, routes_of)
    return found


def _in_both_forms(each: Candidate) -> Candidate:
    """With domains that have the port, and such that do not."""
    claim = each.claim
    own, other = (
        (*domains, *(f"{domain}:{claim.port}" for domain in domains))
        for domains in (claim.own, claim.other)
    )
    return Candidate(claim._replace(own=own, other=other), each.content)


def _on_all_ports(here: Viewpoint, where: int | None) -> dict[Hashable, Candidate]:
    """Virtual hosts of every port, told apart by the port in the domain (pilot.md C5)."""
    if where is None:
        return {}
    egress = here.scope.egress[where]
    services = egress.services()
    numbers = {port.number for each in services for port in each.ports if is_http(port)}
    found: dict[Hashable, Candidate] = {
        (number, key): _with_port(each)
        for number in sorted(numbers | {HTTP_PORT})
        for key, each in _on_port(here, where, number).items()
    }
    for service in services:
        for port in service.ports:
            if is_tunnelled(port) and (route := tunnel(here, egress, service, port)):
                key = (port.number, service.host)
                known = found.get(key) or _with_port(without_routes(here, service, port))
                found[key] = known.ending_with(route)
    return found


def _with_port(each: Candidate) -> Candidate:
    claim = each.claim
    own, other = (tuple(ported(domains, claim.port)) for domains in (claim.own, claim.other))
    return Candidate(claim._replace(own=own, other=other), each.content)
