"""Load balancing and outlier detection (pilot.md G)."""

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.json_format import MessageToDict, ParseDict

from istio.networking.v1alpha3.destination_rule_pb2 import LoadBalancerSettings, TrafficPolicy
from mast.pilot.core.clusters.balancers import (
    apply_balancer,
    apply_locality,
    apply_outlier_detection,
)
from mast.pilot.core.clusters.locality import Preference


def balanced(settings: dict[str, Any]) -> dict[str, Any]:
    cluster = Cluster()
    apply_balancer(cluster, ParseDict(settings, LoadBalancerSettings()))
    return MessageToDict(cluster, preserving_proto_field_name=True)


def slow(window: str, aggression: float, percent: float) -> dict[str, Any]:
    return {
        "slow_start_config": {
            "slow_start_window": window,
            "aggression": {
                "default_value": aggression,
                "runtime_key": "mast.slow_start.aggression",
            },
            "min_weight_percent": {"value": percent},
        }
    }


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, {"lb_policy": "LEAST_REQUEST"}, id="default"),
        pytest.param({"simple": "LEAST_REQUEST"}, {"lb_policy": "LEAST_REQUEST"}, id="least"),
        pytest.param({"simple": "LEAST_CONN"}, {"lb_policy": "LEAST_REQUEST"}, id="old-name"),
        pytest.param({"simple": "RANDOM"}, {"lb_policy": "RANDOM"}, id="random"),
        pytest.param({"simple": "ROUND_ROBIN"}, {}, id="round-robin"),
        pytest.param(
            {"warmup": {"duration": "30s"}},
            {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": slow("30s", 1.0, 10.0)},
            id="warmup",
        ),
        pytest.param(
            {"warmupDurationSecs": "9s"},
            {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": slow("9s", 1.0, 10.0)},
            id="old-warmup",
        ),
        pytest.param(
            {
                "simple": "ROUND_ROBIN",
                "warmup": {"duration": "30s", "aggression": 2, "minimumPercent": 5},
            },
            {"round_robin_lb_config": slow("30s", 2.0, 5.0)},
            id="warmup-in-turn",
        ),
        pytest.param(
            {"consistentHash": {"useSourceIp": True}},
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "1024"}},
            id="ring",
        ),
        pytest.param(
            {"consistentHash": {"useSourceIp": True, "ringHash": {"minimumRingSize": 9}}},
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "9"}},
            id="ring-size",
        ),
        pytest.param(
            {"consistentHash": {"useSourceIp": True, "minimumRingSize": 8}},
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": "8"}},
            id="old-ring-size",
        ),
        pytest.param(
            {"consistentHash": {"useSourceIp": True, "ringHash": {"minimumRingSize": 2**40}}},
            {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": str(2**23)}},
            id="largest-ring",
        ),
        pytest.param(
            {"consistentHash": {"useSourceIp": True, "maglev": {}}},
            {"lb_policy": "MAGLEV"},
            id="maglev",
        ),
        pytest.param(
            {"consistentHash": {"useSourceIp": True, "maglev": {"tableSize": 7}}},
            {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": "7"}},
            id="maglev-size",
        ),
    ],
)
def test_balancer(settings: dict[str, Any], expected: dict[str, Any]) -> None:
    assert balanced(settings) == expected


@pytest.mark.parametrize("matters", [True, False])
def test_locality_weights_count_where_places_matter(matters: bool) -> None:
    cluster = Cluster()
    apply_locality(cluster, Preference(failover=matters))
    assert cluster.common_lb_config.HasField("locality_weighted_lb_config") is matters


def ejecting(settings: dict[str, Any]) -> dict[str, Any]:
    cluster = Cluster()
    policy = ParseDict({"outlierDetection": settings}, TrafficPolicy())
    apply_outlier_detection(cluster, policy)
    assert cluster.common_lb_config.HasField("healthy_panic_threshold")
    found: dict[str, Any] = MessageToDict(
        cluster.outlier_detection, preserving_proto_field_name=True
    )
    return found


BASE = {"enforcing_success_rate": 0}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({}, BASE, id="envoy-defaults"),
        pytest.param(
            {"consecutive5xxErrors": 7},
            BASE | {"consecutive_5xx": 7, "enforcing_consecutive_5xx": 100},
            id="5xx",
        ),
        pytest.param(
            {"consecutive5xxErrors": 0, "consecutiveGatewayErrors": 0},
            BASE
            | {
                "consecutive_5xx": 0,
                "enforcing_consecutive_5xx": 0,
                "consecutive_gateway_failure": 0,
                "enforcing_consecutive_gateway_failure": 0,
            },
            id="off",
        ),
        pytest.param(
            {"consecutiveErrors": 4},
            BASE
            | {
                "consecutive_gateway_failure": 4,
                "enforcing_consecutive_gateway_failure": 100,
                "enforcing_consecutive_5xx": 0,
            },
            id="old-errors",
        ),
        pytest.param(
            {"consecutiveErrors": 4, "consecutiveGatewayErrors": 5},
            BASE | {"consecutive_gateway_failure": 5, "enforcing_consecutive_gateway_failure": 100},
            id="old-errors-overridden",
        ),
        pytest.param(
            {"interval": "1s", "baseEjectionTime": "2s", "maxEjectionPercent": 3},
            BASE | {"interval": "1s", "base_ejection_time": "2s", "max_ejection_percent": 3},
            id="times",
        ),
        pytest.param(
            {"splitExternalLocalOriginErrors": True},
            BASE
            | {
                "split_external_local_origin_errors": True,
                "enforcing_local_origin_success_rate": 0,
            },
            id="split",
        ),
        pytest.param(
            {"splitExternalLocalOriginErrors": True, "consecutiveLocalOriginFailures": 0},
            BASE
            | {
                "split_external_local_origin_errors": True,
                "consecutive_local_origin_failure": 0,
                "enforcing_consecutive_local_origin_failure": 0,
                "enforcing_local_origin_success_rate": 0,
            },
            id="split-off",
        ),
        pytest.param({"consecutiveLocalOriginFailures": 3}, BASE, id="without-split"),
    ],
)
def test_outlier_detection(settings: dict[str, Any], expected: dict[str, Any]) -> None:
    assert ejecting(settings) == expected


def test_panic_threshold() -> None:
    cluster = Cluster()
    apply_outlier_detection(
        cluster, ParseDict({"outlierDetection": {"minHealthPercent": 30}}, TrafficPolicy())
    )
    assert cluster.common_lb_config.healthy_panic_threshold.value == 30


def test_without_settings_nobody_is_ejected() -> None:
    cluster = Cluster()
    apply_outlier_detection(cluster, TrafficPolicy())
    assert cluster == Cluster()
