"""Routes of connections on gateways: what TCP and TLS rules of VirtualServices make of a server."""

from collections.abc import Iterator
from dataclasses import replace

from mast.pilot.core.gateways.bindings import Binding, common_hosts
from mast.pilot.core.gateways.servers import Carries, RouterServer, SharedPort
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.routes.tcp_routes import Site, TcpRoute, plain_routes, tls_routes
from mast.pilot.core.scope.matches import Caller
from mast.pilot.core.scope.scope import Scope


def connection_routes(
    scope: Scope, proxy: Proxy, shared: SharedPort, server: RouterServer
) -> Iterator[TcpRoute]:
    """Where connections of a server go, of the VirtualServices bound to it the oldest first (F6).

    TLS that is passed on goes by the TLS routes, each for those of its server names that lead to
    this server; what is opened, or was never TLS, by the TCP routes.
    """
    caller = Caller(
        port=server.server.port.number,
        namespace=proxy.namespace,
        labels=proxy.labels,
        gateways=frozenset({server.gateway_name}),
    )
    site = Site(caller=caller)
    for config in scope.gateway_virtual_services(server.gateway_name):
        namespace = config.meta.namespace
        if not common_hosts(server.bindings, config.spec.hosts, namespace):
            continue
        if server.passes_tls_on:
            for route in tls_routes(config, site):
                yield from _led_here(route, shared, server, namespace)
        else:
            snis = server.snis if server.carries is Carries.TLS else ()
            yield from (replace(each, snis=snis) for each in plain_routes(config, site))


def _led_here(
    route: TcpRoute, shared: SharedPort, server: RouterServer, namespace: str
) -> Iterator[TcpRoute]:
    """The route with the server names that a VirtualService of that namespace may have here."""
    wanted = route.snis or ("*",)
    allowed: list[Binding] = list(server.bindings)
    here = [
        each for each in common_hosts(allowed, wanted, namespace) if shared.owner(each) is server
    ]
    if "*" in here:
        yield replace(route, snis=())
        here.remove("*")
    if here:
        yield replace(route, snis=tuple(sorted(here)))
