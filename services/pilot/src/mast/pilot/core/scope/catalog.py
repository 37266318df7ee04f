"""Configuration objects arranged for lookup, kept up to date object by object."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.destination_rule_pb2 import (
    DestinationRule,
    LocalityLoadBalancerSetting,
)
from istio.networking.v1alpha3.gateway_pb2 import Gateway
from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.pilot.core.model import collection_names, hosts
from mast.pilot.core.model.model import Config
from mast.pilot.core.model.proxy import INSTANCE_LABELS
from mast.pilot.core.model.table import Groups
from mast.pilot.core.scope import memo, virtual_services
from mast.pilot.core.scope.egress import ANY_WILDCARD
from mast.pilot.core.scope.memo import Fact

Name = tuple[str, str]
"""Namespace and name of an object within its collection."""


@dataclass(frozen=True, slots=True)
class Cataloged:
    """The catalog as it is at one moment; see `Index` for the fields."""

    configs: Mapping[tuple[str, str], Sequence[Config[Any]]]
    collections: Mapping[str, Sequence[Config[Any]]]
    virtual_services: Mapping[str, Sequence[Config[VirtualService]]]
    by_gateway: Mapping[str, Sequence[Config[VirtualService]]]
    destination_rules: Mapping[str, Sequence[Config[DestinationRule]]]
    selector_keys: frozenset[str]


class Catalog:
    """Objects by collection, namespace and name, and the lookups derived from them."""

    def __init__(self, domain: str) -> None:
        self._domain = domain
        self._objects: dict[tuple[str, str, str], Config[Any]] = {}
        self._expanded: dict[Name, Config[VirtualService]] = {}
        self._joined: dict[Name, Config[VirtualService]] = {}
        self._callers: dict[Name, set[Name]] = defaultdict(set)
        self._label_uses: Counter[str] = Counter()
        self._selector_keys: frozenset[str] = frozenset()

        self._configs: Groups[tuple[str, str], Config[Any]] = Groups(_age)
        self._collections: Groups[str, Config[Any]] = Groups(_age)
        self._by_host: Groups[str, Config[VirtualService]] = Groups(_age)
        self._by_gateway: Groups[str, Config[VirtualService]] = Groups(_age)
        self._rules: Groups[str, Config[DestinationRule]] = Groups(_age)
        self._touched: set[Fact] = set()

    def put(self, collection: str, namespace: str, name: str, config: Config[Any] | None) -> None:
        """An object as it is now, None if it is gone."""
        key = (collection, namespace, name)
        old = self._objects.pop(key, None)
        if old is not None:
            self._configs.remove(old, [(collection, namespace)])
            self._collections.remove(old, [collection])
            self._label_uses -= Counter(_selector_keys(old))
        if config is not None:
            self._objects[key] = config
            self._configs.add(config, [(collection, namespace)])
            self._collections.add(config, [collection])
            self._label_uses += Counter(_selector_keys(config))
        self._touched.add(Fact(collection, namespace))
        if collection == collection_names.VIRTUAL_SERVICES:
            self._put_virtual_service((namespace, name), config)
        elif collection == collection_names.DESTINATION_RULES:
            self._put_rule(old, config)

    def settle(self) -> set[Fact]:
        """The facts that changed since the last call."""
        selector_keys = frozenset(self._label_uses)
        if selector_keys != self._selector_keys:
            self._selector_keys = selector_keys
            self._touched.add(Fact(memo.SELECTOR_KEYS))
        touched, self._touched = self._touched, set()
        return touched

    def snapshot(self) -> Cataloged:
        """The lookups; they do not change any more."""
        return Cataloged(
            configs=self._configs.snapshot(),
            collections=self._collections.snapshot(),
            virtual_services=self._by_host.snapshot(),
            by_gateway=self._by_gateway.snapshot(),
            destination_rules=self._rules.snapshot(),
            selector_keys=self._selector_keys,
        )

    def _put_virtual_service(self, name: Name, config: Config[VirtualService] | None) -> None:
        """Expand it, then join it and whoever calls it as a delegate with their delegates."""
        old = self._expanded.pop(name, None)
        for called in virtual_services.called_delegates(old.spec) if old else ():
            self._callers[called].discard(name)
        if config is not None:
            expanded = virtual_services.expanded(config, self._domain)
            self._expanded[name] = expanded
            for called in virtual_services.called_delegates(expanded.spec):
                self._callers[called].add(name)
        for each in sorted({name, *self._callers.get(name, ())}):
            self._join(each)

    def _join(self, name: Name) -> None:
        old = self._joined.pop(name, None)
        if old is not None:
            self._by_gateway.remove(old, set(old.spec.gateways))
            self._by_host.remove(old, _sidecar_hosts(old))
            self._touch_virtual_service(old)
        root = self._expanded.get(name)
        if root is not None and root.spec.hosts:
            new = virtual_services.with_delegates(root, self._expanded)
            self._joined[name] = new
            self._by_gateway.add(new, set(new.spec.gateways))
            self._by_host.add(new, _sidecar_hosts(new))
            self._touch_virtual_service(new)

    def _touch_virtual_service(self, config: Config[VirtualService]) -> None:
        self._touched |= {Fact(memo.GATEWAY, gateway) for gateway in config.spec.gateways}
        names = _sidecar_hosts(config)
        self._touched |= {Fact(memo.VIRTUAL_SERVICE, host) for host in _with_wildcard(names)}

    def _put_rule(
        self, old: Config[DestinationRule] | None, new: Config[DestinationRule] | None
    ) -> None:
        for config, change in ((old, self._rules.remove), (new, self._rules.add)):
            if config is not None:
                host = hosts.expand(config.spec.host, config.meta.namespace, self._domain)
                change(config, [host])
                names = _with_wildcard([host])
                self._touched |= {Fact(memo.DESTINATION_RULE, each) for each in names}


def _age(config: Config[Any]) -> Any:
    return config.age


def _sidecar_hosts(config: Config[VirtualService]) -> set[str]:
    """Hosts that a VirtualService governs for sidecars."""
    return set(config.spec.hosts) if virtual_services.for_sidecars(config) else set()


def _with_wildcard(names: Iterable[str]) -> Iterator[str]:
    """Names of the facts that the hosts are part of."""
    for name in names:
        yield name
        if hosts.is_wildcard(name):
            yield ANY_WILDCARD


def _selector_keys(config: Config[Any]) -> Iterable[str]:
    """Labels of a caller that the object looks at when it shapes outbound configuration.

    Those that tell instances apart count wherever a selector has them.
    """
    spec = config.spec
    if isinstance(spec, VirtualService):
        return {
            key
            for routes in (spec.http, spec.tls, spec.tcp)
            for route in routes
            for match in route.match
            for key in match.source_labels
        }
    if isinstance(spec, DestinationRule):
        return {*spec.workload_selector.match_labels, *_failover_labels(spec)}
    if isinstance(spec, MeshConfig):
        return _label_names(spec.locality_lb_setting)
    if isinstance(spec, Gateway):
        return set(spec.selector)
    selector = getattr(spec, "selector", None)
    return INSTANCE_LABELS.intersection(getattr(selector, "match_labels", ()))


def _failover_labels(spec: DestinationRule) -> Iterator[str]:
    """Labels by which a rule ranks endpoints (Istio LocalityLoadBalancerSetting)."""
    for policy in (spec.traffic_policy, *(each.traffic_policy for each in spec.subsets)):
        balancers = [policy.load_balancer]
        balancers += (each.load_balancer for each in policy.port_level_settings)
        for balancer in balancers:
            yield from _label_names(balancer.locality_lb_setting)


def _label_names(setting: LocalityLoadBalancerSetting) -> set[str]:
    return {entry.partition("=")[0] for entry in setting.failover_priority}
