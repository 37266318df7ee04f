"""Routes of connections: what TCP and TLS rules of VirtualServices make of a service port (F6)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from istio.networking.v1alpha3.virtual_service_pb2 import (
    Destination,
    L4MatchAttributes,
    PortSelector,
    RouteDestination,
    VirtualService,
)
from mast.pilot.core.model.model import Config, ConfigMeta, Port, Service
from mast.pilot.core.scope.matches import Caller, applies

_ANY: Final = L4MatchAttributes()


@dataclass(frozen=True, kw_only=True)
class TcpRoute:
    """Connections that go the same way.

    They are recognised by destination and client (`subnets` and `sources`, CIDRs or addresses) and
    server name (`snis`); empty means any. `prefix` names the statistics of several destinations.
    """

    subnets: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
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
    covered = {frozenset(each.subnets) for each in found if not each.sources}
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
                    sources=(match.source_subnet,) if match.source_subnet else (),
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
        for source in dict.fromkeys(each.source_subnet for each in matches or (_ANY,)):
            subnets = _subnets(each for each in matches if each.source_subnet == source)
            yield TcpRoute(
                subnets=subnets or site.subnets,
                sources=(source,) if source else (),
                destinations=tuple(tcp.route),
                prefix=_prefix(config.meta),
            )
            if not subnets and not source:
                return


def _subnets(matches: Iterable[L4MatchAttributes]) -> tuple[str, ...]:
    """All destinations of some matches; none if one of them takes any."""
    found: dict[str, None] = {}
    for each in matches:
        if not each.destination_subnets:
            return ()
        found |= dict.fromkeys(each.destination_subnets)
    return tuple(found)


def _prefix(meta: ConfigMeta) -> str:
    return f"{meta.name}.{meta.namespace}"


def weighted(destinations: Sequence[RouteDestination]) -> list[RouteDestination]:
    """Destinations that get connections: a single one always does, several if they have weight."""
    if len(destinations) == 1:
        return list(destinations)
    return [each for each in destinations if each.weight > 0]
