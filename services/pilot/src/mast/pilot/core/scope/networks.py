"""Networks that cannot reach each other directly, and the gateways between them (D8, H4)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from math import lcm
from typing import Final, NamedTuple

from mast.pilot.core.model.hosts import is_single_address
from mast.pilot.core.model.model import NO_LABELS, Endpoint, Service
from mast.pilot.core.model.proxy import NOWHERE, Locality
from mast.pilot.core.scope.scope import Scope

CROSS_NETWORK_PORT: Final = 15443
GATEWAY_PORT: Final = "networking.istio.io/gatewayPort"
"""Label or annotation of a gateway's service: its port for other networks."""


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


def known_networks(scope: Scope) -> Sequence[str]:
    """Names of the networks that there may be gateways into, sorted."""
    return sorted({*scope.mesh.networks.networks, *scope.network_gateways})


def gateways(scope: Scope, network: str) -> Sequence[NetworkGateway]:
    """Gateways into a network, sorted (pilot.md D8).

    Those that MeshNetworks names, by address or by service, and services that carry its label.
    """
    found: set[NetworkGateway] = set()
    known = scope.mesh.networks.networks
    for each in known[network].gateways if network in known else ():
        locality = Locality.parse(each.locality)
        port = each.port or CROSS_NETWORK_PORT
        if each.address:
            found.add(NetworkGateway(each.address, port, locality))
        else:
            services = scope.services_of(each.registry_service_name)
            found |= {NetworkGateway(address, port, locality) for address in _ways(services[:1])}
    for key in scope.network_gateways.get(network, ()):
        if (labelled := scope.owned_service(key)) is not None:
            port = _gateway_port(labelled)
            found |= {NetworkGateway(address, port) for address in _ways([labelled])}
    return sorted(found)


def _ways(services: Iterable[Service]) -> Iterator[str]:
    """Addresses of services for those outside of their cluster, if it tells any."""
    for each in services:
        yield from each.external_addresses or filter(is_single_address, each.addresses)


def _gateway_port(service: Service) -> int:
    told = service.labels.get(GATEWAY_PORT) or service.annotations.get(GATEWAY_PORT, "")
    usable = told.isdecimal() and 0 < int(told) < 65536
    return int(told) if usable else CROSS_NETWORK_PORT


def reachable(
    scope: Scope, endpoints: Iterable[Endpoint], network: str, port: int
) -> Sequence[Endpoint]:
    """Endpoints as seen from a network: those of others stand behind their gateways (H4).

    A gateway carries the weight of what is behind it; all weights are scaled so that they stay
    whole numbers. Endpoints without mutual TLS cannot be reached through a gateway; those of a
    network without known gateways are dialled directly, and all by who is in no network.
    """
    ways = {each: gateways(scope, each) for each in known_networks(scope)}
    if not ways or not network:
        return list(endpoints)
    direct: list[Endpoint] = []
    behind: dict[tuple[str, str], int] = {}
    for each in endpoints:
        there = network_of(scope, each)
        if not there or there == network or not ways.get(there):
            direct.append(each)
        elif each.mtls:
            place = (there, each.cluster)
            behind[place] = behind.get(place, 0) + each.weight
    factor = lcm(1, *(len(ways[there]) for there, _ in behind))
    scaled = [replace(each, weight=each.weight * factor) for each in direct]
    for (there, cluster), weight in sorted(behind.items()):
        share = weight * factor // len(ways[there])
        scaled += (_through(way, there, cluster, share, port) for way in ways[there])
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
