"""Addresses of slices as canonical endpoints (D2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mast.common import keys
from mast.galley.core.discovery.objects import Backend, ObjectName, Pod, Readiness
from mast.galley.core.discovery.places import Place, placed
from mast.galley.core.discovery.services import host
from mast.galley.core.discovery.settings import Settings
from mast.galley.core.discovery.workloads import HEALTH, controller, tls_mode
from mastapi.registry.v1 import registry_pb2 as registry


class Entry(NamedTuple):
    """An address of a slice with what is known of it.

    ``facts`` is a canonical endpoint without address, ports and health, as bytes.
    """

    address: str
    ports: tuple[tuple[str, int], ...]
    readiness: Readiness
    facts: bytes


def shard_key(service: ObjectName, settings: Settings) -> str:
    """Where the endpoints that a cluster has of a Service are stored."""
    return keys.endpoints_key(service.namespace, host(service, settings), settings.cluster)


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
    return Entry(backend.address, backend.ports, backend.readiness, facts)


def shard(
    service: ObjectName, entries: Iterable[Entry], settings: Settings, *, drains: bool
) -> registry.EndpointShard:
    """The endpoints of a Service: the union of its slices by address and port name (D2.1).

    While an address moves from one slice to another it is in both: the better word counts.
    ``drains`` tells whether clients stick to endpoints that end.
    """
    ordered = sorted(entries, key=_preference)
    chosen: dict[tuple[str, str], tuple[int, Entry]] = {}
    for each in ordered:
        for name, number in each.ports or (("", 0),):
            chosen.setdefault((each.address, name), (number, each))
    found: dict[tuple[str, registry.Health.ValueType, bytes], registry.Endpoint] = {}
    for (address, name), (number, each) in chosen.items():
        health = _health(each.readiness, drains=drains)
        key = address, health, each.facts
        if key not in found:
            found[key] = registry.Endpoint.FromString(each.facts)
            found[key].address, found[key].health = address, health
        if number:
            found[key].ports[name] = number
    return registry.EndpointShard(
        host=host(service, settings),
        namespace=service.namespace,
        shard=settings.cluster,
        endpoints=[found[key] for key in sorted(found)],
    )


def _preference(found: Entry) -> tuple[object, ...]:
    return found.readiness.value, found.address, found.ports, found.facts


def _health(readiness: Readiness, *, drains: bool) -> registry.Health.ValueType:
    if drains and readiness is Readiness.SERVING_TO_THE_END:
        return registry.HEALTH_DRAINING
    return HEALTH[readiness]
