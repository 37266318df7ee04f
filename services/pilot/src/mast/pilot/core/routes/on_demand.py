"""Virtual hosts that a proxy asks for because of a request (pilot.md B25)."""

from dataclasses import replace
from typing import NamedTuple

from envoy.config.route.v3.route_components_pb2 import VirtualHost

from mast.pilot.core import names
from mast.pilot.core.filters.extensions import NO_EXTENSIONS, Extensions
from mast.pilot.core.model import hosts
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.routes.backends import passthrough_cluster
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
from mast.pilot.core.routes.virtual_hosts import Candidate, asked_for
from mast.pilot.core.scope.egress import Egress
from mast.pilot.core.scope.scope import Scope


class Asked(NamedTuple):
    """What a request was for: `authority` as it came, its host, the port it is meant for."""

    authority: str
    host: str
    port: int
    forward_proxy: bool


def asked(name: str) -> Asked | None:
    """What is asked for as `ROUTES/HOST[:PORT]`; None if the routes are not those of a port."""
    routes, _, authority = name.rpartition("/")
    host, _, number = authority.rpartition(":")
    if not number.isdecimal():
        host, number = authority, str(HTTP_PORT)
    if routes == names.HTTP_PROXY:
        return Asked(authority, host, int(number), forward_proxy=True)
    if not routes.isdecimal() or not host:
        return None
    return Asked(authority, host, int(routes), forward_proxy=False)


def virtual_host(
    name: str, scope: Scope, proxy: Proxy, extensions: Extensions = NO_EXTENSIONS
) -> VirtualHost | None:
    """The virtual host that a proxy asks for by name.

    Of any service that the namespace may see, its Sidecar aside; what nobody has passes, if unknown
    hosts may. None for others, and for what the route configuration has already.
    """
    wanted = asked(name)
    if wanted is None:
        return None
    here = Viewpoint(scope, proxy, extensions)
    where = here.egress_on(wanted.port)
    if where is not None and _of_host(here, scope.egress[where], wanted):
        return None
    beyond = replace(here, scope=scope.under(None))
    found = _of_host(beyond, beyond.scope.egress[0], wanted)
    if found is not None:
        made = VirtualHost.FromString(found.content)
    elif passthrough_cluster(scope) is not None:
        made = catch_all(here, forward_proxy=wanted.forward_proxy)
    else:
        return None
    asked_for(made, name, wanted.authority)
    return made


def _of_host(here: Viewpoint, egress: Egress, wanted: Asked) -> Candidate | None:
    """The virtual host of a single host on a port, as it shows through an egress listener."""
    host, number, domain = wanted.host, wanted.port, here.scope.mesh.domain
    full = hosts.full_names(host, here.proxy.namespace, domain)
    for each in (*full, *hosts.wildcards_over(host)):
        made = _of_service(here, egress, each, wanted)
        if made is not None and (
            hosts.is_wildcard(each) or host in (*made.claim.own, *made.claim.other)
        ):
            return made
    config = egress.virtual_service(host)
    if config is None or not (
        governs(egress, config, number)
        or (number == HTTP_PORT and not has_services(egress, config))
    ):
        return None
    own = here.governed(egress, config, number)
    return standalone(here, host, config, number, own) if own else None


def _of_service(here: Viewpoint, egress: Egress, host: str, wanted: Asked) -> Candidate | None:
    service = egress.service(host)
    port = service.port(wanted.port) if service else None
    if service is None or port is None:
        return None
    made = made_of(here, egress, service, port) if is_http(port) else None
    tunnelled = wanted.forward_proxy and is_tunnelled(port)
    route = tunnel(here, egress, service, port) if tunnelled else None
    if route is not None:
        made = (made or without_routes(here, service, port)).ending_with(route)
    return made
