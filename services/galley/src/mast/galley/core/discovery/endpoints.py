"""Addresses of slices as canonical endpoints (D2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple
from zlib import crc32

from mast.common import keys
from mast.galley.core.discovery.objects import Backend, ObjectName, Pod, Readiness
from mast.galley.core.discovery.places import Place, placed
from mast.galley.core.discovery.services import host
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.discovery.workloads import HEALTH, controller, tls_mode
from mastapi.registry.v1 import registry_pb2 as registry

PART_ENDPOINTS: Final = 100
"""A shard with more endpoints is stored in parts."""


class Entry(NamedTuple):
    """An address of a slice with what is known of it.

    ``facts`` is a canonical endpoint without address, ports and health, as bytes; ``pod`` the
    addresses of the Pod behind it, the primary first.
    """

    address: str
    ports: tuple[tuple[str, int], ...]
    readiness: Readiness
    facts: bytes
    pod: tuple[str, ...] = ()


def shard_key(service: ObjectName, settings: Settings, part: int = 0) -> str:
    """Where the endpoints that a cluster has of a Service are stored, or a part of them."""
    return keys.endpoints_key(service.namespace, host(service, settings), settings.cluster, part)


def parts(entries: Iterable[Entry]) -> Sequence[tuple[Entry, ...]]:
    """Addresses of a Service in as many parts as keep each at some hundred of them; none if none.

    So a change of one writes these few, and no value grows beyond what the store takes. An address
    tells its part, for Pods of both families the first one. The number of parts depends on the
    number of addresses alone and quadruples, so that it hardly ever changes and every replica finds
    the same.
    """
    found = [(each.pod[0] if each.pod else each.address, each) for each in entries]
    if not found:
        return ()
    number, count = 1, len({first for first, _ in found})
    while count > PART_ENDPOINTS * number:
        number *= 4
    groups: list[list[Entry]] = [[] for _ in range(number)]
    for first, each in found:
        groups[crc32(first.encode()) % number].append(each)
    return [tuple(group) for group in groups]


def entry(
    backend: Backend, namespace: str, pod: Pod | None, place: Place, settings: Settings
) -> Entry:
    """One address of a slice: with labels and identity of its Pod, if there is one behind it.

    ``namespace`` is that of the slice.
    """
    made = registry.Endpoint(
        namespace=pod.id.namespace if pod else namespace,
        labels=placed(pod.labels if pod else {}, place, settings.cluster),
        locality=place.locality,
        network=place.network,
        node=place.node,
        tls_mode=tls_mode(pod) if pod else "disabled",
    )
    if pod is not None:
        made.service_account = pod.service_account
        made.workload_name = controller(pod).name
    facts = made.SerializeToString(deterministic=True)
    addresses = pod.addresses if pod is not None and not pod.on_host_network else ()
    return Entry(backend.address, backend.ports, backend.readiness, facts, addresses)


def shard(
    service: ObjectName, entries: Iterable[Entry], settings: Settings, *, drains: bool
) -> registry.EndpointShard:
    """The endpoints of a Service: the union of its slices by address and port name (D2.1).

    While an address moves from one slice to another it is in both: the better word counts. A Pod
    with addresses of both families, of which there are slices each, is one endpoint.
    ``drains`` tells whether clients stick to endpoints that end.
    """
    ordered = sorted(entries, key=_preference)
    chosen: dict[tuple[str, str], tuple[int, Entry]] = {}
    for each in ordered:
        for name, number in each.ports or (("", 0),):
            chosen.setdefault((each.address, name), (number, each))
    found: dict[_Key, registry.Endpoint] = {}
    for (address, name), (number, each) in chosen.items():
        health = _health(each.readiness, drains=drains)
        key = _Key(address, health, each.facts, each.pod)
        if key not in found:
            found[key] = registry.Endpoint.FromString(each.facts)
            found[key].address, found[key].health = address, health
        if number:
            found[key].ports[name] = number
    _join_families(found)
    return registry.EndpointShard(
        host=host(service, settings),
        namespace=service.namespace,
        shard=settings.cluster,
        endpoints=[found[key] for key in sorted(found)],
    )


class _Key(NamedTuple):
    """What tells endpoints of one Service apart."""

    address: str
    health: registry.Health.ValueType
    facts: bytes
    pod: tuple[str, ...]


def _join_families(found: dict[_Key, registry.Endpoint]) -> None:
    """Put what addresses of one Pod have in common under the first of them."""
    for key in [key for key in found if len(key.pod) > 1 and key.address == key.pod[0]]:
        for other in key.pod[1:]:
            same = found.get(key._replace(address=other))
            if same is not None and same.ports == found[key].ports:
                found[key].additional_addresses.append(other)
                del found[key._replace(address=other)]


def _preference(found: Entry) -> tuple[object, ...]:
    return found.readiness.value, found.address, found.ports, found.facts


def _health(readiness: Readiness, *, drains: bool) -> registry.Health.ValueType:
    if drains and readiness is Readiness.SERVING_TO_THE_END:
        return registry.HEALTH_DRAINING
    return HEALTH[readiness]
