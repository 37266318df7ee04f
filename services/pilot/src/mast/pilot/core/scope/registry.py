"""Services, workloads and endpoints of all sources, kept merged while the sources change."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from mast.pilot.core.model.auto_addresses import AutoAddresses, Claim
from mast.pilot.core.model.merging import (
    considered,
    identities,
    merged_endpoints,
    merged_service,
    selected_by,
    with_distribution,
)
from mast.pilot.core.model.model import Endpoint, Identities, Service, ServiceKey, Workload
from mast.pilot.core.model.service_entries import Contribution, from_shard
from mast.pilot.core.model.table import Groups, Table
from mast.pilot.core.scope import memo
from mast.pilot.core.scope.memo import Fact
from mastapi.registry.v1.registry_pb2 import EndpointShard

_ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Registered:
    """The merged registry as it is at one moment; see `Index` for the fields."""

    services: Mapping[str, Sequence[Service]]
    hosts: Sequence[str]
    hosts_on_port: Mapping[int, Sequence[str]]
    hosts_in_namespace: Mapping[str, Sequence[str]]
    endpoints: Mapping[ServiceKey, Sequence[Endpoint]]
    identities: Mapping[ServiceKey, Identities]
    at_address: Mapping[str, Sequence[ServiceKey]]
    workloads_at: Mapping[str, Sequence[Workload]]
    network_gateways: Mapping[str, Sequence[ServiceKey]]
    by_node: bool


class _Alias(NamedTuple):
    """A host that stands for another, and the service that says so."""

    owner: ServiceKey
    target: str


class _Read(NamedTuple):
    """What a shard comes to for a service."""

    shard: EndpointShard
    service: Service
    endpoints: Sequence[Endpoint]


class Registry:
    """Sources under their store keys; `settle` brings the merged tables up to date.

    Only what a change reaches is derived anew: a service and its endpoints for a service, the
    endpoints of the services that select it for a workload.
    """

    def __init__(self) -> None:
        self._contributions: dict[ServiceKey, dict[str, Contribution]] = defaultdict(dict)
        self._contributed: dict[str, tuple[ServiceKey, ...]] = {}
        # By namespace all, and those that no platform reports: most services select only these.
        self._workloads: dict[str, dict[str, Workload]] = defaultdict(dict)
        self._joined: dict[str, dict[str, Workload]] = defaultdict(dict)
        self._workload_of: dict[str, Workload] = {}
        self._selecting: dict[str, set[ServiceKey]] = defaultdict(set)
        self._selecting_all: dict[str, set[ServiceKey]] = defaultdict(set)
        self._shards: dict[ServiceKey, dict[str, EndpointShard]] = defaultdict(dict)
        self._shard_of: dict[str, ServiceKey] = {}
        self._endpoints_in: dict[str, _Read] = {}
        self._auto: AutoAddresses[ServiceKey] = AutoAddresses()
        self._aliases: dict[str, _Alias] = {}
        self._names_of: dict[str, set[str]] = {}
        self._distributions: dict[str, str] = {}
        self._by_node: set[ServiceKey] = set()
        self._network_gateways: Groups[str, ServiceKey] = Groups(tuple)
        self._keys_of: dict[str, set[ServiceKey]] = defaultdict(set)

        self._services: Table[str, Sequence[Service]] = Table()
        self._hosts: Groups[str, str] = Groups(str)
        self._on_port: Groups[int, str] = Groups(str)
        self._in_namespace: Groups[str, str] = Groups(str)
        self._merged: dict[ServiceKey, Service] = {}
        self._endpoints: Table[ServiceKey, Sequence[Endpoint]] = Table()
        self._identities: Table[ServiceKey, Identities] = Table()
        self._at_address: Groups[str, ServiceKey] = Groups(tuple)
        self._workloads_at: Table[str, Sequence[Workload]] = Table()

        self._stale_services: set[ServiceKey] = set()
        self._stale_endpoints: set[ServiceKey] = set()
        self._touched: set[Fact] = set()

    def put_services(self, origin: str, contributions: Sequence[Contribution]) -> None:
        """What a ServiceEntry or a platform's service says now; nothing if it is gone."""
        for key in self._contributed.pop(origin, ()):
            del self._contributions[key][origin]
            self._stale_services.add(key)
        for each in contributions:
            self._contributions[each.service.key][origin] = each
            self._stale_services.add(each.service.key)
        if contributions:
            self._contributed[origin] = tuple(each.service.key for each in contributions)

    def put_workload(self, origin: str, workload: Workload | None) -> None:
        """A workload as it is now, None if it is gone."""
        old = self._workload_of.pop(origin, None)
        if old is not None:
            del self._workloads[old.namespace][origin]
            self._joined[old.namespace].pop(origin, None)
        if workload is not None:
            self._workload_of[origin] = workload
            self._workloads[workload.namespace][origin] = workload
            if not workload.platform:
                self._joined[workload.namespace][origin] = workload
        if old == workload:
            return
        both = [each for each in (old, workload) if each is not None]
        for each in both:
            selecting = self._selecting_all if each.platform else self._selecting
            for key in selecting[each.namespace]:
                contributions = self._contributions[key].values()
                if any(selected_by(contribution, each) for contribution in contributions):
                    self._stale_endpoints.add(key)
        for address in {address for each in both for address in each.addresses}:
            known = [each for each in self._workloads_at.get(address) or () if each != old]
            if workload is not None and address in workload.addresses:
                known.append(workload)
            ordered = tuple(sorted(known, key=lambda each: (each.age, each.origin)))
            self._workloads_at.put(address, ordered or None)
            self._touched.add(Fact(memo.WORKLOAD, address))

    def put_distribution(self, namespace: str, distribution: str) -> None:
        """Which endpoints come first for services of a namespace that do not say it (D7)."""
        if self._distributions.pop(namespace, "") != distribution:
            self._stale_services |= {key for key in self._merged if key.namespace == namespace}
        if distribution:
            self._distributions[namespace] = distribution

    def put_shard(self, origin: str, shard: EndpointShard | None) -> None:
        """Endpoints that a shard reports now, None if it has gone."""
        old = self._shard_of.pop(origin, None)
        if old is not None:
            del self._shards[old][origin]
            self._stale_endpoints.add(old)
        if shard is None:
            self._endpoints_in.pop(origin, None)
        if shard is not None:
            key = self._shard_of[origin] = ServiceKey(shard.namespace, shard.host)
            self._shards[key][origin] = shard
            self._stale_endpoints.add(key)

    def settle(self) -> set[Fact]:
        """Derive what is out of date; returns the facts that changed since the last call."""
        stale = self._stale_services
        for key in sorted(stale):
            stale |= self._claim_address(key)
        for key in sorted(stale):
            stale |= self._follow_alias(key)
        self._gather_names()
        self._stale_services = set()
        for key in sorted(stale):
            self._settle_service(key)
        for key in sorted(self._stale_endpoints | stale):
            self._settle_endpoints(key)
        self._stale_endpoints = set()
        touched, self._touched = self._touched, set()
        return touched

    def snapshot(self) -> Registered:
        """The merged tables; they do not change any more."""
        return Registered(
            services=self._services.snapshot(),
            hosts=self._hosts.snapshot().get(_ALL, ()),
            hosts_on_port=self._on_port.snapshot(),
            hosts_in_namespace=self._in_namespace.snapshot(),
            endpoints=self._endpoints.snapshot(),
            identities=self._identities.snapshot(),
            at_address=self._at_address.snapshot(),
            workloads_at=self._workloads_at.snapshot(),
            network_gateways=self._network_gateways.snapshot(),
            by_node=bool(self._by_node),
        )

    def _considered(self, key: ServiceKey) -> Sequence[Contribution]:
        return considered(self._contributions[key].values()) if key in self._contributions else ()

    def _claim_address(self, key: ServiceKey) -> set[ServiceKey]:
        """Claim an automatic address if the service has no other; returns the services affected."""
        contributions = self._considered(key)
        claim = None
        if contributions and not any(each.service.addresses for each in contributions):
            first = contributions[0]
            if first.wants_address:
                text = f"{key.namespace}/{first.service.origin}/{key.host}"
                claim = Claim(first.service.age, text)
        return self._auto.claim(key, claim)

    def _follow_alias(self, key: ServiceKey) -> set[ServiceKey]:
        """Note where an alias leads; returns the services whose aliases changed."""
        contributions = self._considered(key)
        target = contributions[0].service.alias_of if contributions else ""
        known = self._aliases.get(key.host)
        now = _Alias(key, target) if target else None
        if known == now or (now is None and known is not None and known.owner != key):
            return set()
        before = self._end_of(key.host)
        if now is None:
            del self._aliases[key.host]
        else:
            self._aliases[key.host] = now
        self._names_of.clear()
        ends = (before, self._end_of(key.host))
        return {each for host in ends for each in self._keys_of.get(host, ())}

    def _gather_names(self) -> None:
        """The aliases of every host, anew if one of them leads elsewhere."""
        if not self._names_of:
            for each in self._aliases:
                self._names_of.setdefault(self._end_of(each), set()).add(each)

    def _end_of(self, host: str) -> str:
        """Where a host leads in the end, by one alias after the other; itself if in a circle."""
        seen: set[str] = set()
        while host in self._aliases and host not in seen:
            seen.add(host)
            host = self._aliases[host].target
        return host

    def _settle_service(self, key: ServiceKey) -> None:
        contributions = self._considered(key)
        service = None
        if contributions:
            aliases = self._names_of.get(key.host, ())
            service = merged_service(contributions, self._auto.addresses(key), aliases)
            if distribution := self._distributions.get(key.namespace):
                service = with_distribution(service, distribution)
        else:
            self._contributions.pop(key, None)
        selectors = [each for each in contributions if each.selector]
        _include(self._selecting[key.namespace], key, bool(selectors))
        selects_all = any(each.selects_platform for each in selectors)
        _include(self._selecting_all[key.namespace], key, selects_all)
        old = self._merged.get(key)
        if service == old:
            return
        self._replace(key, service)
        self._note_nodes(key, service)
        self._note_gateway(key, old, service)
        ports = {port.number for each in (old, service) if each for port in each.ports}
        self._touched |= {Fact(memo.PORT, number) for number in ports}
        self._touched.add(Fact(memo.SERVICE, key.host))
        self._touched.add(Fact(memo.NAMESPACE, key.namespace))

    def _note_nodes(self, key: ServiceKey, service: Service | None) -> None:
        """The first and the last service that looks at nodes concern every caller."""
        before = bool(self._by_node)
        self._by_node.discard(key)
        if service is not None and service.by_node:
            self._by_node.add(key)
        if bool(self._by_node) != before:
            self._touched.add(Fact(memo.SELECTOR_KEYS))

    def _note_gateway(self, key: ServiceKey, old: Service | None, new: Service | None) -> None:
        """Services with the label of a network are ways into it (pilot.md D8)."""
        before, now = (set(service.ways) if service else set() for service in (old, new))
        if before != now:
            self._network_gateways.move(key, *({way.network for way in s} for s in (before, now)))
            self._touched.add(Fact(memo.NETWORK_GATEWAYS))

    def _replace(self, key: ServiceKey, service: Service | None) -> None:
        """Put a merged service into the tables that lead to it."""
        before = self._services.get(key.host) or ()
        same_host = self._keys_of[key.host]
        if service is None:
            del self._merged[key]
            same_host.remove(key)
        else:
            self._merged[key] = service
            same_host.add(key)
        now = sorted(
            (self._merged[each] for each in same_host),
            key=lambda each: (not each.from_kubernetes, each.age),
        )
        if not now:
            del self._keys_of[key.host]
        self._services.put(key.host, tuple(now) or None)
        self._hosts.move(key.host, [_ALL] if before else [], [_ALL] if now else [])
        self._on_port.move(key.host, _ports(before), _ports(now))
        self._in_namespace.move(
            key.host, {each.namespace for each in before}, {each.namespace for each in now}
        )

    def _read(self, key: ServiceKey, origin: str, service: Service) -> Sequence[Endpoint]:
        """Endpoints in a shard; a large service has many, of which few change."""
        shard = self._shards[key][origin]
        known = self._endpoints_in.get(origin)
        if known is None or known.shard is not shard or known.service is not service:
            known = _Read(shard, service, from_shard(shard, service))
            self._endpoints_in[origin] = known
        return known.endpoints

    def _settle_endpoints(self, key: ServiceKey) -> None:
        service = self._merged.get(key)
        endpoints: Sequence[Endpoint] = ()
        if service is not None:
            selects_all = key in self._selecting_all[key.namespace]
            workloads = self._workloads if selects_all else self._joined
            endpoints = merged_endpoints(
                service,
                self._considered(key),
                workloads[key.namespace].values(),
                {each: self._read(key, each, service) for each in self._shards.get(key, ())},
            )
        old = self._endpoints.get(key) or ()
        if endpoints == old:
            return
        self._endpoints.put(key, endpoints or None)
        self._touched.add(Fact(memo.ENDPOINTS, key))
        now = identities(endpoints) if endpoints else None
        if now != self._identities.get(key):
            self._identities.put(key, now)
            self._touched.add(Fact(memo.IDENTITIES, key))
        before_at, now_at = _all_addresses(old), _all_addresses(endpoints)
        self._at_address.move(key, before_at, now_at)
        self._touched |= {Fact(memo.ADDRESS, address) for address in before_at ^ now_at}


def _include(keys: set[ServiceKey], key: ServiceKey, included: bool) -> None:
    """Let a set have a key or not."""
    if included:
        keys.add(key)
    else:
        keys.discard(key)


def _ports(services: Iterable[Service]) -> set[int]:
    return {port.number for each in services for port in each.ports}


def _all_addresses(endpoints: Iterable[Endpoint]) -> set[str]:
    return {address for each in endpoints for address in each.addresses}
