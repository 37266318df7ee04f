"""Networks that cannot reach each other directly, and the gateways between them (D8, H4)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from math import lcm
from typing import Final, NamedTuple

from mast.pilot.core.model.model import NO_LABELS, Endpoint
from mast.pilot.core.model.proxy import NOWHERE, Locality
from mast.pilot.core.scope.scope import Scope

CROSS_NETWORK_PORT: Final = 15443


class NetworkGateway(NamedTuple):
    """Where mutual TLS of another network is let in."""

    address: str
    port: int
    locality: Locality = NOWHERE


def network_of(scope: Scope, endpoint: Endpoint) -> str:
    """Network of an endpoint: its own, else by address or cluster in MeshNetworks (D8)."""
    if endpoint.network:
        return endpoint.network
    for name, network in sorted(scope.mesh.networks.networks.items()):
        for each in network.endpoints:
            if each.from_registry and each.from_registry == endpoint.cluster:
                return name
            if each.from_cidr and _contains(each.from_cidr, endpoint.address):
                return name
    return ""


def gateways(scope: Scope, network: str) -> Sequence[NetworkGateway]:
    """Gateways into a network that MeshNetworks names, by address or by service; sorted."""
    found: set[NetworkGateway] = set()
    known = scope.mesh.networks.networks
    for each in known[network].gateways if network in known else ():
        locality = Locality.parse(each.locality)
        port = each.port or CROSS_NETWORK_PORT
        if each.address:
            found.add(NetworkGateway(each.address, port, locality))
        else:
            service = scope.service(each.registry_service_name)
            for address in service.addresses if service else ():
                found.add(NetworkGateway(address, port, locality))
    return sorted(found)


def reachable(
    scope: Scope, endpoints: Iterable[Endpoint], network: str, port: int
) -> Sequence[Endpoint]:
    """Endpoints as seen from a network: those of others stand behind their gateways (H4).

    A gateway carries the weight of what is behind it; all weights are scaled so that they stay
    whole numbers. Endpoints without mutual TLS cannot be reached through a gateway; those of a
    network without known gateways are dialled directly.
    """
    if not scope.mesh.networks.networks:
        return list(endpoints)
    direct: list[Endpoint] = []
    behind: dict[tuple[str, str], int] = {}
    for each in endpoints:
        there = network_of(scope, each)
        if not there or there == network or not gateways(scope, there):
            direct.append(each)
        elif each.mtls:
            place = (there, each.cluster)
            behind[place] = behind.get(place, 0) + each.weight
    factor = lcm(1, *(len(gateways(scope, there)) for there, _ in behind))
    scaled = [replace(each, weight=each.weight * factor) for each in direct]
    for (there, cluster), weight in sorted(behind.items()):
        ways = gateways(scope, there)
        scaled += (
            _through(way, there, cluster, weight * factor // len(ways), port) for way in ways
        )
    return scaled


def _through(
    gateway: NetworkGateway, network: str, cluster: str, weight: int, port: int
) -> Endpoint:
    return Endpoint(
        address=gateway.address,
        ports={port: gateway.port},
        namespace="",
        labels=NO_LABELS,
        locality=gateway.locality,
        network=network,
        cluster=cluster,
        weight=weight,
        mtls=True,
    )


def _contains(cidr: str, address: str) -> bool:
    try:
        return ip_address(address) in ip_network(cidr, strict=False)
    except ValueError:
        return False
