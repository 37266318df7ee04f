"""Which endpoints come first for a caller: locality weights and failover priorities (G3, G4)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from istio.networking.v1alpha3.destination_rule_pb2 import (
    LocalityLoadBalancerSetting,
    TrafficPolicy,
)
from mast.pilot.core.model import proxy
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import SAME_NODE, Endpoint, Labels, Service
from mast.pilot.core.model.proxy import Locality

_MAX_TOTAL_WEIGHT: Final = 2**32 - 1

_CLOSE: Final = (proxy.NETWORK, proxy.REGION, proxy.ZONE)
_DISTRIBUTIONS: Final[Mapping[str, Sequence[str]]] = {
    "PreferClose": (*_CLOSE, proxy.SUBZONE),
    "PreferSameZone": _CLOSE,
    SAME_NODE: (*_CLOSE, proxy.SUBZONE, proxy.HOSTNAME),
}


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints of one locality that are equally preferred; `weight` is their share of it."""

    locality: Locality
    endpoints: tuple[Endpoint, ...]
    weight: int
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Preference:
    """How a cluster spreads over localities: by shares, or by priorities, or (None) not at all."""

    setting: LocalityLoadBalancerSetting | None = None
    failover: bool = False

    @property
    def distributes(self) -> bool:
        """Shares per locality are given."""
        return self.setting is not None and bool(self.setting.distribute)

    @property
    def matters(self) -> bool:
        """The result depends on where the caller is."""
        return self.distributes or self.failover


def preference(mesh: Mesh, policy: TrafficPolicy, service: Service) -> Preference:
    """What holds for a cluster of a service (pilot.md G3).

    The cluster's own setting hides the mesh's. Priorities need outlier detection, without which
    Envoy would never fail over; a traffic distribution of the service does not (pilot.md D7).
    """
    balancer = policy.load_balancer
    setting = mesh.config.locality_lb_setting
    if balancer.HasField("locality_lb_setting"):
        setting = balancer.locality_lb_setting
    labels = _DISTRIBUTIONS.get(service.traffic_distribution)
    if labels is not None and not balancer.HasField("locality_lb_setting"):
        return Preference(LocalityLoadBalancerSetting(failover_priority=labels), failover=True)
    if setting.HasField("enabled") and not setting.enabled.value:
        return Preference()
    failover = policy.HasField("outlier_detection") and not setting.distribute
    return Preference(setting, failover=failover)


def bounded(endpoints: Sequence[Endpoint]) -> Sequence[Endpoint]:
    """The endpoints with weights that Envoy can add up, in about the same proportion."""
    total = sum(each.weight for each in endpoints)
    if total <= _MAX_TOTAL_WEIGHT:
        return endpoints
    excess = -(-total // (_MAX_TOTAL_WEIGHT - len(endpoints)))
    return [replace(each, weight=max(1, each.weight // excess)) for each in endpoints]


def grouped(endpoints: Iterable[Endpoint]) -> list[Group]:
    """Endpoints by locality, sorted; the weight of a group is the sum of its endpoints' (H1)."""
    by_locality: dict[Locality, list[Endpoint]] = {}
    for each in endpoints:
        by_locality.setdefault(each.locality, []).append(each)
    return [_group(locality, by_locality[locality]) for locality in sorted(by_locality)]


def arranged(
    groups: Sequence[Group], wish: Preference, where: Locality, labels: Labels
) -> Sequence[Group]:
    """The groups with shares or priorities for a caller at a place, with these labels.

    Priorities are gapless from 0, as Envoy demands.
    """
    setting = wish.setting
    if setting is None:
        return groups
    if setting.distribute:
        for rule in setting.distribute:
            if _covers(getattr(rule, "from"), where):
                return _distributed(groups, rule.to)
        return groups
    if not wish.failover:
        return groups
    if setting.failover_priority:
        wanted = _wanted_labels(setting.failover_priority, labels)
        return _compact(_split(groups, lambda each: _label_priority(each, wanted)))
    if not where.region:
        return groups
    targets = {each.to for each in setting.failover if getattr(each, "from") == where.region}
    return _compact(
        [replace(each, priority=_distance(each.locality, where, targets)) for each in groups]
    )


def _group(locality: Locality, endpoints: Sequence[Endpoint], priority: int = 0) -> Group:
    weight = sum(each.weight for each in endpoints)
    return Group(locality, tuple(endpoints), weight, priority)


def _covers(pattern: str, locality: Locality) -> bool:
    """True if `region/zone/subzone`, each part or the rest of which may be `*`, covers it."""
    for wanted, part in zip(pattern.split("/"), locality, strict=False):
        if wanted not in {"*", part}:
            return False
    return True


def _distributed(groups: Sequence[Group], shares: Mapping[str, int]) -> list[Group]:
    """Percentages as weights, rounded up; a share is split by weight, the unnamed get nothing."""
    found = []
    left = list(groups)
    for pattern in sorted(shares, key=lambda each: (each.count("*"), -len(each), each)):
        matching = [each for each in left if _covers(pattern, each.locality)]
        left = [each for each in left if each not in matching]
        total = sum(each.weight for each in matching)
        found += [
            replace(each, weight=-(-shares[pattern] * each.weight // total)) for each in matching
        ]
    return sorted(found, key=lambda each: each.locality)


def _distance(locality: Locality, where: Locality, targets: set[str]) -> int:
    """0 in the same subzone, 1 zone, 2 region, 3 elsewhere; 4 if a failover names others."""
    if locality.region != where.region:
        return 4 if targets and locality.region not in targets else 3
    if locality.zone != where.zone:
        return 2
    return 0 if locality.subzone == where.subzone else 1


def _wanted_labels(entries: Iterable[str], labels: Labels) -> list[tuple[str, str]]:
    """Names and values of a failoverPriority; `NAME=VALUE` overrides the caller's value.

    A label that is absent is empty: endpoints that lack it as well are equal in it.
    """
    wanted = []
    for entry in entries:
        name, separator, value = entry.partition("=")
        wanted.append((name, value if separator else labels.get(name, "")))
    return wanted


def _label_priority(endpoint: Endpoint, wanted: Sequence[tuple[str, str]]) -> int:
    """Number of labels less that of leading ones that are equal."""
    equal = 0
    for name, value in wanted:
        if (_label(endpoint, name) or "") != value:
            break
        equal += 1
    return len(wanted) - equal


def _label(endpoint: Endpoint, name: str) -> str | None:
    place = {
        proxy.REGION: endpoint.locality.region,
        proxy.ZONE: endpoint.locality.zone,
        proxy.SUBZONE: endpoint.locality.subzone,
        proxy.NETWORK: endpoint.network,
        proxy.CLUSTER: endpoint.cluster,
        proxy.HOSTNAME: endpoint.node,
    }
    return place.get(name) or endpoint.labels.get(name)


def _split(groups: Iterable[Group], priority: Callable[[Endpoint], int]) -> list[Group]:
    """Groups whose endpoints all have one priority."""
    found = []
    for group in groups:
        by_priority: dict[int, list[Endpoint]] = {}
        for each in group.endpoints:
            by_priority.setdefault(priority(each), []).append(each)
        found += [_group(group.locality, by_priority[key], key) for key in sorted(by_priority)]
    return found


def _compact(groups: Sequence[Group]) -> list[Group]:
    """The same order of priorities without gaps, sorted by priority and locality."""
    used = sorted({each.priority for each in groups})
    ranks = {priority: rank for rank, priority in enumerate(used)}
    renumbered = (replace(each, priority=ranks[each.priority]) for each in groups)
    return sorted(renumbered, key=lambda each: (each.priority, each.locality))
