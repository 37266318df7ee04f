"""Which DestinationRule a proxy follows for a service, and the policy it makes for a port."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from istio.networking.v1alpha3.destination_rule_pb2 import (
    DestinationRule,
    Subset,
    TrafficPolicy,
)
from mast.pilot.core.gateway_api.generated import is_backend_tls
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Config, ConfigMeta, Labels, Service, Visibility, selects
from mast.pilot.core.scope.scope import Scope


@dataclass(frozen=True, eq=False)
class Rule:
    """One DestinationRule, or several of one host merged: what holds for a service.

    `origins` are the objects it was made of, the leading one first; `duplicates` the names of
    subsets that were defined more than once, of which the first definition counts.
    """

    origins: tuple[ConfigMeta, ...]
    policy: TrafficPolicy | None
    subsets: Mapping[str, Subset]
    duplicates: tuple[str, ...] = ()
    selects_callers: bool = False
    """It has a workload selector: no other callers follow it."""


def rule_for(scope: Scope, service: Service, labels: Labels) -> Rule | None:
    """The rule that callers in the scope, with these labels, follow for a service (pilot.md G1).

    The caller's namespace comes first, then that of the service, then the root namespace; within a
    namespace the most specific host that has a visible rule. For callers in the root namespace
    their own rules count only if they are private: its public ones are the mesh's defaults.
    Differs from Istio: BackendTLSPolicies of the service hold whichever rule counts (I8).
    """
    groups = list(scope.destination_rules(service.host))
    if not groups:
        return None
    backend_tls = [each for group in groups for each in group if is_backend_tls(each.meta)]
    if not backend_tls:
        return _chosen(groups, scope, service, labels)
    others = [[each for each in group if each not in backend_tls] for group in groups]
    return _verified(_chosen(others, scope, service, labels), backend_tls[0])


def _chosen(
    groups: Sequence[Sequence[Config[DestinationRule]]],
    scope: Scope,
    service: Service,
    labels: Labels,
) -> Rule | None:
    root = scope.mesh.root_namespace
    stages = (
        (scope.namespace, scope.namespace == root),
        (service.namespace, False),
        (root, False),
    )
    for namespace, private_only in stages:
        for group in groups:
            candidates = [
                each
                for each in group
                if each.meta.namespace == namespace
                and each.visible_to.includes(scope.namespace)
                and _applies(each, labels, namespace == scope.namespace)
                and not (private_only and not _is_private(each))
            ]
            if candidates:
                return _merged(candidates)
    return None


def traffic_policy(mesh: Mesh, rule: Rule | None, subset: str, port: int) -> TrafficPolicy:
    """What holds for a port of a service and one of its subsets, "" for none (pilot.md G2).

    Each layer replaces whole blocks: the mesh's defaults, the rule, its settings for the port, the
    subset, its settings for the port. Settings for a port replace four blocks at once, also by
    nothing.
    """
    layered = TrafficPolicy()
    defaults = mesh.config.default_traffic_policy
    if defaults.HasField("connection_pool"):
        layered.connection_pool.CopyFrom(defaults.connection_pool)
    if defaults.HasField("outlier_detection"):
        layered.outlier_detection.CopyFrom(defaults.outlier_detection)
    if rule is None:
        return layered
    if rule.policy is not None:
        _overlay(layered, rule.policy, port)
    if subset in rule.subsets and rule.subsets[subset].HasField("traffic_policy"):
        _overlay(layered, rule.subsets[subset].traffic_policy, port)
    return layered


_PortBlock = Literal["connection_pool", "load_balancer", "outlier_detection", "tls"]
_OtherBlock = Literal["tunnel", "proxy_protocol", "retry_budget"]
_PORT_BLOCKS: Final[tuple[_PortBlock, ...]] = get_args(_PortBlock)
_BLOCKS: Final[tuple[_PortBlock | _OtherBlock, ...]] = (*_PORT_BLOCKS, *get_args(_OtherBlock))


def _verified(rule: Rule | None, backend_tls: Config[DestinationRule]) -> Rule:
    """A rule whose TLS is that of BackendTLSPolicies, for the ports that they are for."""
    policy = TrafficPolicy()
    if rule is not None and rule.policy is not None:
        policy.CopyFrom(rule.policy)
    wanted = backend_tls.spec.traffic_policy
    if wanted.HasField("tls"):
        policy.tls.CopyFrom(wanted.tls)
        for settings in policy.port_level_settings:
            settings.tls.CopyFrom(wanted.tls)
    for each in wanted.port_level_settings:
        _port_settings(policy, each.port.number).tls.CopyFrom(each.tls)
    if rule is None:
        return Rule((backend_tls.meta,), policy, {})
    return replace(rule, origins=(*rule.origins, backend_tls.meta), policy=policy)


def _port_settings(policy: TrafficPolicy, port: int) -> TrafficPolicy.PortTrafficPolicy:
    """The settings of a port; new ones repeat the policy, which they take the place of."""
    for each in policy.port_level_settings:
        if each.port.number == port:
            return each
    settings = policy.port_level_settings.add()
    settings.port.number = port
    for block in _PORT_BLOCKS:
        if policy.HasField(block):
            getattr(settings, block).CopyFrom(getattr(policy, block))
    return settings


def _overlay(target: TrafficPolicy, layer: TrafficPolicy, port: int) -> None:
    for each in _BLOCKS:
        if layer.HasField(each):
            getattr(target, each).CopyFrom(getattr(layer, each))
    settings = next((each for each in layer.port_level_settings if each.port.number == port), None)
    if settings is None:
        return
    for block in _PORT_BLOCKS:
        if settings.HasField(block):
            getattr(target, block).CopyFrom(getattr(settings, block))
        else:
            target.ClearField(block)


def _applies(config: Config[DestinationRule], labels: Labels, own: bool) -> bool:
    """A rule with a selector holds for matching callers of its own namespace only."""
    if not config.spec.HasField("workload_selector"):
        return True
    return own and selects(config.spec.workload_selector.match_labels, labels)


def _is_private(config: Config[DestinationRule]) -> bool:
    return config.visible_to == Visibility(
        everyone=False, namespaces=frozenset({config.meta.namespace})
    )


def _merged(candidates: Sequence[Config[DestinationRule]]) -> Rule:
    """The rule of candidates of one namespace and host, which are oldest first.

    The oldest with a selector stands alone; else all with the `exportTo` of the oldest are merged.
    """
    selecting = [each for each in candidates if each.spec.HasField("workload_selector")]
    if selecting:
        return replace(_united(selecting[:1]), selects_callers=True)
    first = candidates[0]
    return _united([each for each in candidates if each.visible_to == first.visible_to])


def _united(configs: Iterable[Config[DestinationRule]]) -> Rule:
    origins, duplicates = [], []
    policy: TrafficPolicy | None = None
    subsets: dict[str, Subset] = {}
    for config in configs:
        origins.append(config.meta)
        if policy is None and config.spec.HasField("traffic_policy"):
            policy = config.spec.traffic_policy
        for subset in config.spec.subsets:
            if subset.name in subsets:
                duplicates.append(subset.name)
            else:
                subsets[subset.name] = subset
    return Rule(tuple(origins), policy, subsets, tuple(duplicates))
