"""Mutual TLS of the mesh, passed on unopened to the service that its server name tells (I4)."""

from collections.abc import Iterator, Sequence

from mast.pilot.core import names
from mast.pilot.core.clusters.destination_rules import rule_for
from mast.pilot.core.filters.extensions import Extensions, Spot
from mast.pilot.core.filters.tcp_proxies import tcp_filters, to_cluster
from mast.pilot.core.gateways.servers import RouterServer
from mast.pilot.core.listeners.inbound_chains import ISTIO_ALPNS
from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import Protocol, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.ports.filter_chains import Chain
from mast.pilot.core.scope.scope import Scope


def passing_chains(
    scope: Scope, proxy: Proxy, server: RouterServer, extensions: Extensions, spot: Spot
) -> Iterator[Chain]:
    """One chain for each port and subset of the services that a server's hosts cover.

    Only services of the mesh: nobody outside speaks its mutual TLS (pilot.md G2, I4).
    """
    for service in scope.services():
        if not service.external and _covered(service, server):
            for name in _server_names(scope, proxy, service):
                yield Chain(
                    filters=tcp_filters(to_cluster(name), spot, extensions),
                    snis=(name,),
                    alpns=ISTIO_ALPNS,
                )


def _covered(service: Service, server: RouterServer) -> bool:
    return any(
        each.admits(service.namespace) and hosts.matches(each.host, service.host)
        for each in server.bindings
    )


def _server_names(scope: Scope, proxy: Proxy, service: Service) -> Sequence[str]:
    rule = rule_for(scope, service, proxy.labels)
    subsets = ("", *(rule.subsets if rule else ()))
    return [
        names.sni(port.number, subset, service.host)
        for port in service.ports
        if port.protocol is not Protocol.UDP
        for subset in subsets
    ]
