"""One service out of what several sources say about it, and its endpoints (pilot.md D3 to D6)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Final

from mast.pilot.core.model.hosts import is_single_address
from mast.pilot.core.model.model import Endpoint, Identities, Service, Way, Workload, selects
from mast.pilot.core.model.proxy import NETWORK
from mast.pilot.core.model.service_entries import Contribution, endpoint_of

CROSS_NETWORK_PORT: Final = 15443
GATEWAY_PORT: Final = "networking.istio.io/gatewayPort"
"""Label or annotation of a gateway's service: its port for other networks."""

_address = attrgetter("address")


def considered(contributions: Iterable[Contribution]) -> Sequence[Contribution]:
    """Contributions that count, the leading one first.

    A platform's service hides ServiceEntries of its host; else all count, oldest first.
    """
    ordered = sorted(
        contributions,
        key=lambda each: (
            not each.service.from_kubernetes,
            each.service.age,
            each.service.cluster,
        ),
    )
    if ordered and ordered[0].service.from_kubernetes:
        return [each for each in ordered if each.service.from_kubernetes]
    return ordered


def merged_service(
    contributions: Sequence[Contribution], auto_addresses: tuple[str, ...], aliases: Iterable[str]
) -> Service:
    """The service of one namespace and host: the leading one with what others add.

    Others add ports of new numbers, addresses and identities. `contributions` are not empty and
    in the order of `considered`.
    """
    services = [each.service for each in contributions]
    ports = {port.number: port for each in reversed(services) for port in each.ports}
    first = services[0]
    kept = [port.number for port in first.ports]
    kept += sorted(number for number in ports if number not in kept)
    addresses = tuple(dict.fromkeys(address for each in services for address in each.addresses))
    names = (name for each in services for name in each.subject_alt_names)
    outside = dict.fromkeys(address for each in services for address in each.external_addresses)
    accounts = {account for each in services for account in each.service_accounts}
    return replace(
        first,
        ports=tuple(ports[number] for number in kept),
        addresses=addresses,
        external_addresses=tuple(outside),
        auto_addresses=() if addresses else auto_addresses,
        subject_alt_names=tuple(dict.fromkeys(names)),
        service_accounts=tuple(sorted(accounts)),
        aliases=tuple(sorted(set(aliases) - {first.host})),
        addresses_in=_addresses_in(services),
        ways=tuple(sorted({way for each in services for way in _ways(each)})),
    )


def _addresses_in(services: Sequence[Service]) -> Mapping[str, tuple[str, ...]]:
    """By cluster, if there are several of them."""
    found = {each.cluster: each.addresses for each in services if each.cluster}
    return found if len(found) > 1 else {}


def external(service: Service) -> Iterable[str]:
    """Addresses of a service for those outside of its cluster, if it tells any."""
    return service.external_addresses or filter(is_single_address, service.addresses)


def _ways(service: Service) -> Iterator[Way]:
    """A service with the label of a network leads into it, in each cluster on its own (D8)."""
    if network := service.labels.get(NETWORK):
        for address in external(service):
            yield Way(network, service.cluster, address, _gateway_port(service))


def _gateway_port(service: Service) -> int:
    told = service.labels.get(GATEWAY_PORT) or service.annotations.get(GATEWAY_PORT, "")
    usable = told.isdecimal() and 0 < int(told) < 65536
    return int(told) if usable else CROSS_NETWORK_PORT


def with_distribution(service: Service, distribution: str) -> Service:
    """The service with the traffic distribution of its namespace, if it says none itself (D7)."""
    if service.traffic_distribution:
        return service
    return replace(service, traffic_distribution=distribution)


def selected_by(contribution: Contribution, workload: Workload) -> bool:
    """True if the workload, of the same namespace, is an endpoint of the service.

    An empty selector selects nothing.
    """
    return (
        bool(contribution.selector)
        and bool(workload.addresses)
        and (contribution.selects_platform or not workload.platform)
        and selects(contribution.selector or {}, workload.labels)
    )


def merged_endpoints(
    service: Service,
    contributions: Iterable[Contribution],
    workloads: Iterable[Workload],
    shards: Mapping[str, Sequence[Endpoint]],
) -> tuple[Endpoint, ...]:
    """Endpoints of a merged service from all of its sources, sorted, each once.

    Each contribution's endpoints serve its own ports; shards serve those of the merged service.
    """
    found: list[Endpoint] = []
    candidates = list(workloads)
    for each in contributions:
        found += each.endpoints
        found += (
            endpoint_of(workload, each.service)
            for workload in candidates
            if selected_by(each, workload)
        )
    for origin in sorted(shards):
        found += shards[origin]
    ordered: list[Endpoint] = []
    for _, same in groupby(sorted(found, key=_address), key=_address):
        alike = list(same)
        for endpoint in sorted(alike, key=_order) if len(alike) > 1 else alike:
            if not ordered or ordered[-1] != endpoint:
                ordered.append(endpoint)
    return tuple(ordered)


def identities(endpoints: Iterable[Endpoint]) -> Identities:
    """Who may answer for a service with these endpoints."""
    known = list(endpoints)
    found = {(each.namespace, each.service_account) for each in known if each.service_account}
    return Identities(tuple(sorted(found)), bool(known) and all(each.mtls for each in known))


def _order(endpoint: Endpoint) -> tuple[object, ...]:
    """Endpoints of one address."""
    return (
        sorted(endpoint.ports.items()),
        endpoint.cluster,
        endpoint.namespace,
        endpoint.workload_name,
        endpoint.service_account,
        sorted(endpoint.labels.items()),
        endpoint.locality,
        endpoint.network,
        endpoint.weight,
        endpoint.health,
        endpoint.mtls,
        endpoint.node,
        endpoint.additional_addresses,
    )
