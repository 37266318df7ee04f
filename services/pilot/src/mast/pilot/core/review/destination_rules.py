"""DestinationRules for hosts nobody has, or that add nothing to an older one (pilot.md G1, G3)."""

from collections.abc import Iterator, Sequence

from istio.networking.v1alpha3.destination_rule_pb2 import (
    DestinationRule,
    LoadBalancerSettings,
    TrafficPolicy,
)
from mast.pilot.core.model import hosts
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config
from mast.pilot.core.scope.scope import Scope


def findings(config: Config[DestinationRule], scope: Scope) -> Iterator[Finding]:
    """Unknown hosts, what older rules of the host hide, failover that cannot happen."""
    host = hosts.expand(config.spec.host, config.meta.namespace, scope.mesh.domain)
    if not _is_known(host, scope):
        yield Finding(
            fault=Fault.UNKNOWN_HOST,
            key=host,
            message=f"host: no service {host} is visible here; the rule has no effect.",
            subject=config.meta.object_name,
        )
    if not config.spec.HasField("workload_selector"):
        yield from _hidden(config, _older(config, host, scope))
    for where in _failing_over(config.spec, scope):
        yield Finding(
            fault=Fault.NO_FAILOVER,
            key=f"{host} {where}",
            message=(
                f"{where}.loadBalancer.localityLbSetting: there is no failover without"
                " outlierDetection."
            ),
            subject=config.meta.object_name,
        )


def _is_known(host: str, scope: Scope) -> bool:
    if hosts.is_wildcard(host):
        return any(hosts.matches(host, each.host) for each in scope.services())
    return scope.service(host) is not None


def _older(
    config: Config[DestinationRule], host: str, scope: Scope
) -> Sequence[Config[DestinationRule]]:
    """Rules of the same host and namespace that come first, oldest first."""
    group = next(iter(scope.destination_rules(host)), ())
    same = [
        each
        for each in group
        if each.meta.namespace == config.meta.namespace
        and not each.spec.HasField("workload_selector")
    ]
    return same[: same.index(config)] if config in same else ()


def _hidden(
    config: Config[DestinationRule], older: Sequence[Config[DestinationRule]]
) -> Iterator[Finding]:
    """What does not count of a rule because of older ones, with which it is merged (G1)."""
    name = config.meta.object_name
    merged = [each for each in older if each.visible_to == older[0].visible_to]
    if older and config.visible_to != older[0].visible_to:
        yield Finding(
            fault=Fault.SUPERSEDED,
            key=config.spec.host,
            message=f"exportTo: differs from that of {older[0].meta}, which is older and counts.",
            subject=name,
            winner=older[0].meta.object_name,
        )
        return
    with_policy = [each for each in merged if each.spec.HasField("traffic_policy")]
    if with_policy and config.spec.HasField("traffic_policy"):
        yield Finding(
            fault=Fault.SUPERSEDED,
            key=f"{config.spec.host} trafficPolicy",
            message=f"trafficPolicy: that of {with_policy[0].meta} is older and counts.",
            subject=name,
            winner=with_policy[0].meta.object_name,
        )
    owners = {subset.name: each.meta for each in reversed(merged) for subset in each.spec.subsets}
    for subset in config.spec.subsets:
        if subset.name in owners:
            yield Finding(
                fault=Fault.DUPLICATE_SUBSET,
                key=f"{config.spec.host} {subset.name}",
                message=(
                    f"subsets: {owners[subset.name]} is older and defines {subset.name!r} already."
                ),
                subject=name,
                winner=owners[subset.name].object_name,
            )


def _failing_over(spec: DestinationRule, scope: Scope) -> Iterator[str]:
    """Paths of the policies that wish for failover and do not detect outliers (pilot.md G3)."""
    detects = scope.mesh.config.default_traffic_policy.HasField("outlier_detection")
    whole = detects or spec.traffic_policy.HasField("outlier_detection")
    yield from _policies_without(spec.traffic_policy, "trafficPolicy", detects=whole)
    for index, subset in enumerate(spec.subsets):
        own = whole or subset.traffic_policy.HasField("outlier_detection")
        where = f"subsets[{index}].trafficPolicy"
        yield from _policies_without(subset.traffic_policy, where, detects=own)


def _policies_without(policy: TrafficPolicy, where: str, *, detects: bool) -> Iterator[str]:
    if not detects and _wants_failover(policy.load_balancer):
        yield where
    for index, each in enumerate(policy.port_level_settings):
        # Settings of a port replace the policy's, outlier detection included (G2).
        if not each.HasField("outlier_detection") and _wants_failover(each.load_balancer):
            yield f"{where}.portLevelSettings[{index}]"


def _wants_failover(balancer: LoadBalancerSettings) -> bool:
    setting = balancer.locality_lb_setting
    return bool(setting.failover or setting.failover_priority)
