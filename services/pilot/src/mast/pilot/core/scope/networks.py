"""Networks that cannot reach each other directly, and the gateways between them (D8, H4)."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network
from math import lcm
from typing import NamedTuple

from mast.pilot.core.model.merging import CROSS_NETWORK_PORT, external
from mast.pilot.core.model.model import NO_LABELS, Endpoint
from mast.pilot.core.model.proxy import NOWHERE, Locality
from mast.pilot.core.scope.scope import Scope


class NetworkGateway(NamedTuple):
    """Where mutual TLS of another network is let in; `cluster` is whose it is, "" if unknown."""

    address: str
    port: int
    locality: Locality = NOWHERE
    cluster: str = ""


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
            addresses = [address for service in services[:1] for address in external(service)]
            found |= {NetworkGateway(address, port, locality) for address in addresses}
    for key in scope.network_gateways.get(network, ()):
        if (labelled := scope.owned_service(key)) is not None:
            found |= {
                NetworkGateway(way.address, way.port, cluster=way.cluster)
                for way in labelled.ways
                if way.network == network
            }
    return sorted(found)


def _of_cluster(known: Sequence[NetworkGateway], cluster: str) -> Sequence[NetworkGateway]:
    """Those of the cluster itself, if it has any."""
    return [each for each in known if each.cluster == cluster] or known


def reachable(
    scope: Scope, endpoints: Iterable[Endpoint], network: str, port: int
) -> Sequence[Endpoint]:
    """Endpoints as seen from a network: those of others stand behind their gateways (H4).

    Those of their own cluster, if it has any in the network, else all of the network. A gateway
    carries the weight of what is behind it; all weights are scaled so that they stay whole
    numbers. Endpoints without mutual TLS cannot be reached through a gateway; those of a network
    without known gateways are dialled directly, and all by who is in no network.
    """
    known = {each: gateways(scope, each) for each in known_networks(scope)}
    if not known or not network:
        return list(endpoints)
    direct: list[Endpoint] = []
    behind: dict[tuple[str, str], int] = {}
    for each in endpoints:
        there = network_of(scope, each)
        if not there or there == network or not known.get(there):
            direct.append(each)
        elif each.mtls:
            place = (there, each.cluster)
            behind[place] = behind.get(place, 0) + each.weight
    ways = {place: _of_cluster(known[place[0]], place[1]) for place in behind}
    factor = lcm(1, *map(len, ways.values()))
    scaled = [replace(each, weight=each.weight * factor) for each in direct]
    for place, weight in sorted(behind.items()):
        share = weight * factor // len(ways[place])
        scaled += (_through(way, *place, share, port) for way in ways[place])
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
