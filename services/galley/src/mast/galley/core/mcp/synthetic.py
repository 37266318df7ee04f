"""Services of the registry as ServiceEntries, as Galley 1.4 made them for its sinks (A6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from google.protobuf.message import DecodeError

from istio.mcp.v1alpha1 import resource_pb2
from istio.networking.v1alpha3 import service_entry_pb2, workload_entry_pb2
from mast.common.identity.spiffe import SpiffeId
from mast.common.keys import REGISTRY_ENDPOINTS, REGISTRY_SERVICES
from mast.common.kinds import TYPE_PREFIX
from mast.galley.core.mcp.catalog import Collection
from mast.galley.core.resources import Unreadable
from mastapi.registry.v1 import registry_pb2 as registry

EXPORT_TO: Final = "networking.istio.io/exportTo"
SERVICE_VERSION: Final = "networking.alpha.istio.io/serviceVersion"
ENDPOINTS_VERSION: Final = "networking.alpha.istio.io/endpointsVersion"
NOT_READY: Final = "networking.alpha.istio.io/notReadyEndpoints"

NO_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - stands for none
_READY: Final = frozenset({registry.HEALTH_UNSPECIFIED, registry.HEALTH_HEALTHY})
_TYPE_URL: Final = TYPE_PREFIX + service_entry_pb2.ServiceEntry.DESCRIPTOR.full_name

Entry = service_entry_pb2.ServiceEntry


def service_entry(
    service: registry.Service, endpoints: Iterable[registry.Endpoint], trust_domain: str
) -> service_entry_pb2.ServiceEntry:
    """A service and its ready endpoints; an alias is the external name that it stands for."""
    made = Entry(hosts=[service.host], ports=_ports(service), export_to=_export_to(service))
    made.addresses.extend(service.addresses[:1] or [NO_ADDRESS])
    if service.alias_of:
        made.location, made.resolution = Entry.MESH_EXTERNAL, Entry.DNS
        made.endpoints.add(address=service.alias_of)
        return made
    made.location = Entry.MESH_INTERNAL
    ready = [each for each in endpoints if each.health in _READY]
    made.resolution = Entry.STATIC if ready else Entry.NONE
    made.endpoints.extend(
        _workload(each, address)
        for each in ready
        for address in (each.address, *each.additional_addresses)
    )
    made.subject_alt_names.extend(sorted({*service.subject_alt_names, *_ids(ready, trust_domain)}))
    return made


def _ports(service: registry.Service) -> Iterator[service_entry_pb2.ServicePort]:
    for each in service.ports:
        protocol = each.protocol or "TCP"
        yield service_entry_pb2.ServicePort(number=each.number, name=each.name, protocol=protocol)


def _export_to(service: registry.Service) -> list[str]:
    told = service.annotations.get(EXPORT_TO, "").split(",")
    return list(service.export_to) or [each.strip() for each in told if each.strip()]


def _workload(endpoint: registry.Endpoint, address: str) -> workload_entry_pb2.WorkloadEntry:
    return workload_entry_pb2.WorkloadEntry(
        address=address,
        ports=endpoint.ports,
        labels=endpoint.labels,
        network=endpoint.network,
        locality=endpoint.locality,
        weight=endpoint.weight,
        service_account=endpoint.service_account,
    )


def _ids(endpoints: Iterable[registry.Endpoint], trust_domain: str) -> Iterator[str]:
    for each in endpoints:
        if each.service_account:
            yield str(SpiffeId(trust_domain, each.namespace, each.service_account))


class Services:
    """Follows the registry; only what changed is made anew."""

    def __init__(self, trust_domain: str) -> None:
        self._trust_domain = trust_domain
        # By name and cluster: the first cluster's word counts, endpoints are those of all.
        self._services: dict[str, dict[str, tuple[registry.Service, int]]] = {}
        self._shards: dict[str, dict[str, tuple[registry.EndpointShard, int]]] = {}
        self._made: dict[str, resource_pb2.Resource] = {}

    def apply(
        self, changes: Iterable[tuple[str, bytes | None, int]], revision: int
    ) -> tuple[Collection, list[Unreadable]]:
        """Take in changes (key, value or None, revision); the collection as of a revision, and
        what cannot be read, of which the last good one stays."""
        problems = []
        touched = set()
        for key, value, written_at in changes:
            try:
                touched.add(self._take(key, value, written_at))
            except DecodeError as error:
                problems.append(Unreadable(f"key {key!r}: {error}"))
        for name in touched:
            try:
                self._make(name)
            except ValueError as error:
                problems.append(Unreadable(f"service {name}: {error}"))
        return Collection(
            str(revision), MappingProxyType(dict(sorted(self._made.items())))
        ), problems

    def _take(self, key: str, value: bytes | None, revision: int) -> str:
        """The service (``namespace/host``) that a change is about."""
        if key.startswith(REGISTRY_SERVICES):
            namespace, host, *cluster = key.removeprefix(REGISTRY_SERVICES).split("/")
            name = f"{namespace}/{host}"
            services = self._services.setdefault(name, {})
            if value is None:
                services.pop("".join(cluster), None)
            else:
                services["".join(cluster)] = registry.Service.FromString(value), revision
            if not services:
                del self._services[name]
            return name
        namespace, host, shard = key.removeprefix(REGISTRY_ENDPOINTS).split("/", 2)
        name = f"{namespace}/{host}"
        shards = self._shards.setdefault(name, {})
        if value is None:
            shards.pop(shard, None)
        else:
            shards[shard] = registry.EndpointShard.FromString(value), revision
        if not shards:
            del self._shards[name]
        return name

    def _make(self, name: str) -> None:
        """Services whose host is not of the platform's form have a ServiceEntry of their own."""
        services = self._services.get(name, {})
        found = services[min(services)] if services else None
        if found is None or not found[0].name:
            self._made.pop(name, None)
            return
        shards = self._shards.get(name, {})
        self._made[name] = _resource(*found, shards, self._trust_domain)


def _resource(
    service: registry.Service,
    revision: int,
    shards: Mapping[str, tuple[registry.EndpointShard, int]],
    trust_domain: str,
) -> resource_pb2.Resource:
    endpoints = [each for _, (shard, _) in sorted(shards.items()) for each in shard.endpoints]
    latest = max((written_at for _, written_at in shards.values()), default=0)
    made = resource_pb2.Resource()
    meta = made.metadata
    meta.name = f"{service.namespace}/{service.name}"
    meta.version = str(max(revision, latest))
    meta.labels.update(service.labels)
    meta.annotations.update(service.annotations)
    meta.annotations[SERVICE_VERSION] = str(revision)
    if latest:
        meta.annotations[ENDPOINTS_VERSION] = str(latest)
    waiting = [
        f"{each.address}:{number}"
        for each in endpoints
        if each.health not in _READY
        for _, number in sorted(each.ports.items())
    ]
    if waiting:
        meta.annotations[NOT_READY] = ",".join(waiting)
    if service.HasField("create_time"):
        meta.create_time.CopyFrom(service.create_time)
    made.body.type_url = _TYPE_URL
    entry = service_entry(service, endpoints, trust_domain)
    made.body.value = entry.SerializeToString(deterministic=True)
    return made
