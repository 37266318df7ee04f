"""Routes of connections: what TCP and TLS rules of VirtualServices make of a service port (F6)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from istio.networking.v1alpha3.virtual_service_pb2 import (
    Destination,
    PortSelector,
    RouteDestination,
    VirtualService,
)
from mast.pilot.core.model.model import Config, ConfigMeta, Port, Service
from mast.pilot.core.scope.matches import Caller, applies


@dataclass(frozen=True, kw_only=True)
class TcpRoute:
    """Connections that go the same way.

    They are recognised by destination (`subnets`, CIDRs or addresses) and server name (`snis`);
    empty means any. `prefix` names the statistics of several destinations.
    """

    subnets: tuple[str, ...] = ()
    snis: tuple[str, ...] = ()
    destinations: tuple[RouteDestination, ...]
    prefix: str = ""


@dataclass(frozen=True, kw_only=True)
class Site:
    """The listener that routes are for.

    `subnets` are those of the service's addresses that are CIDRs; `shared` tells that the listener
    serves more than one service, so that TLS must be told apart by server name.
    """

    caller: Caller
    subnets: tuple[str, ...] = ()
    shared: bool = False


def tcp_routes(
    service: Service, port: Port, config: Config[VirtualService] | None, site: Site
) -> list[TcpRoute]:
    """The routes of connections to a service port, in order; the first that matches counts.

    `config` is the VirtualService that governs the service. Entries without destinations count as
    absent (pilot.md F6).
    """
    if port.protocol.is_tls:
        found = list(tls_routes(config, site)) if config else []
        return found or [_default(service, port, site, _own_snis(service, site))]
    found = list(plain_routes(config, site)) if config else []
    covered = {frozenset(each.subnets) for each in found}
    if frozenset(site.subnets) not in covered and frozenset() not in covered:
        found.append(_default(service, port, site, ()))
    return found


def _own_snis(service: Service, site: Site) -> tuple[str, ...]:
    """A service that shares its listener is recognised by its names (pilot.md F6)."""
    names = (service.host, *service.aliases)
    return () if not (site.shared or site.subnets) or "*" in names else names


def _default(service: Service, port: Port, site: Site, snis: tuple[str, ...]) -> TcpRoute:
    destination = Destination(host=service.host, port=PortSelector(number=port.number))
    return TcpRoute(
        subnets=site.subnets,
        snis=snis,
        destinations=(RouteDestination(destination=destination),),
    )


def tls_routes(config: Config[VirtualService], site: Site) -> Iterator[TcpRoute]:
    """The TLS routes of a VirtualService, one for each match that concerns the caller."""
    for tls in config.spec.tls:
        for match in tls.match:
            if tls.route and applies(match, site.caller):
                yield TcpRoute(
                    subnets=tuple(match.destination_subnets) or site.subnets,
                    snis=() if "*" in match.sni_hosts else tuple(match.sni_hosts),
                    destinations=tuple(tls.route),
                    prefix=_prefix(config.meta),
                )


def plain_routes(config: Config[VirtualService], site: Site) -> Iterator[TcpRoute]:
    """The TCP routes of a VirtualService that concern the caller, until one takes everything."""
    for tcp in config.spec.tcp:
        matches = [each for each in tcp.match if applies(each, site.caller)]
        if not tcp.route or (tcp.match and not matches):
            continue
        everywhere = not matches or any(not each.destination_subnets for each in matches)
        subnets = [subnet for each in matches for subnet in each.destination_subnets]
        yield TcpRoute(
            subnets=site.subnets if everywhere else tuple(dict.fromkeys(subnets)),
            destinations=tuple(tcp.route),
            prefix=_prefix(config.meta),
        )
        if everywhere:
            return


def _prefix(meta: ConfigMeta) -> str:
    return f"{meta.name}.{meta.namespace}"


def weighted(destinations: Sequence[RouteDestination]) -> list[RouteDestination]:
    """Destinations that get connections: a single one always does, several if they have weight."""
    if len(destinations) == 1:
        return list(destinations)
    return [each for each in destinations if each.weight > 0]
