"""How a cluster chooses among its endpoints, and which it leaves out for a while."""

from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection as EnvoyOutlierDetection
from google.protobuf.wrappers_pb2 import UInt32Value, UInt64Value

from istio.networking.v1alpha3.destination_rule_pb2 import (
    LoadBalancerSettings,
    OutlierDetection,
    TrafficPolicy,
    WarmupConfiguration,
)
from mast.pilot.core.clusters.locality import Preference

_MIN_RING_SIZE: Final = 1024
_MAX_RING_SIZE: Final = 8 * 1024 * 1024
"""The largest ring that Envoy builds."""

_AGGRESSION_KEY: Final = "mast.slow_start.aggression"
_Slow = Cluster.LeastRequestLbConfig | Cluster.RoundRobinLbConfig


def apply_balancer(cluster: Cluster, settings: LoadBalancerSettings) -> None:
    """Load-balancing policy of a cluster whose endpoints Envoy knows (pilot.md G, lb, warmup).

    PASSTHROUGH is a matter of the cluster's type, see `clusters`.
    """
    if settings.HasField("consistent_hash"):
        _apply_hash(cluster, settings.consistent_hash)
        return
    if settings.simple == LoadBalancerSettings.RANDOM:
        cluster.lb_policy = Cluster.RANDOM
    elif settings.simple == LoadBalancerSettings.ROUND_ROBIN:
        cluster.lb_policy = Cluster.ROUND_ROBIN
        _apply_warmup(cluster, cluster.round_robin_lb_config, settings)
    else:
        cluster.lb_policy = Cluster.LEAST_REQUEST
        _apply_warmup(cluster, cluster.least_request_lb_config, settings)


def apply_locality(cluster: Cluster, preference: Preference) -> None:
    """Without it Envoy ignores the weights of localities (pilot.md G3)."""
    if preference.matters:
        cluster.common_lb_config.locality_weighted_lb_config.SetInParent()


def apply_outlier_detection(cluster: Cluster, policy: TrafficPolicy) -> None:
    """Ejection of endpoints that fail (pilot.md G, outlier); none without settings for it."""
    if not policy.HasField("outlier_detection"):
        return
    settings = policy.outlier_detection
    cluster.outlier_detection.CopyFrom(_ejection(settings))
    cluster.common_lb_config.healthy_panic_threshold.value = float(settings.min_health_percent)


def _apply_hash(cluster: Cluster, settings: LoadBalancerSettings.ConsistentHashLB) -> None:
    if settings.HasField("maglev"):
        cluster.lb_policy = Cluster.MAGLEV
        if settings.maglev.table_size:
            cluster.maglev_lb_config.table_size.value = settings.maglev.table_size
        return
    cluster.lb_policy = Cluster.RING_HASH
    size = settings.ring_hash.minimum_ring_size or settings.minimum_ring_size or _MIN_RING_SIZE
    size = min(size, _MAX_RING_SIZE)
    cluster.ring_hash_lb_config.minimum_ring_size.CopyFrom(UInt64Value(value=size))


def _apply_warmup(cluster: Cluster, target: _Slow, settings: LoadBalancerSettings) -> None:
    warmup = settings.warmup
    if not settings.HasField("warmup"):
        if not settings.HasField("warmup_duration_secs"):
            return
        warmup = WarmupConfiguration(duration=settings.warmup_duration_secs)
    config = target.slow_start_config
    config.slow_start_window.CopyFrom(warmup.duration)
    config.aggression.runtime_key = _AGGRESSION_KEY
    config.aggression.default_value = (
        warmup.aggression.value if warmup.HasField("aggression") else 1.0
    )
    config.min_weight_percent.value = (
        warmup.minimum_percent.value if warmup.HasField("minimum_percent") else 10.0
    )


def _ejection(settings: OutlierDetection) -> EnvoyOutlierDetection:
    found = EnvoyOutlierDetection(enforcing_success_rate=UInt32Value(value=0))
    if settings.HasField("interval"):
        found.interval.CopyFrom(settings.interval)
    if settings.HasField("base_ejection_time"):
        found.base_ejection_time.CopyFrom(settings.base_ejection_time)
    if settings.max_ejection_percent > 0:
        found.max_ejection_percent.value = settings.max_ejection_percent
    if settings.HasField("consecutive_5xx_errors"):
        count = settings.consecutive_5xx_errors.value
        found.consecutive_5xx.value = count
        found.enforcing_consecutive_5xx.value = 100 if count else 0
    if settings.HasField("consecutive_gateway_errors"):
        count = settings.consecutive_gateway_errors.value
        found.consecutive_gateway_failure.value = count
        found.enforcing_consecutive_gateway_failure.value = 100 if count else 0
    elif settings.consecutive_errors > 0:
        found.consecutive_gateway_failure.value = settings.consecutive_errors
        found.enforcing_consecutive_gateway_failure.value = 100
        found.enforcing_consecutive_5xx.value = 0
    if settings.split_external_local_origin_errors:
        found.split_external_local_origin_errors = True
        if settings.HasField("consecutive_local_origin_failures"):
            count = settings.consecutive_local_origin_failures.value
            found.consecutive_local_origin_failure.value = count
            found.enforcing_consecutive_local_origin_failure.value = 100 if count else 0
        found.enforcing_local_origin_success_rate.value = 0
    return found
