"""Shares and priorities of localities (pilot.md G3, G4)."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.destination_rule_pb2 import (
    LocalityLoadBalancerSetting,
    TrafficPolicy,
)
from mast.pilot.core.clusters.locality import (
    Preference,
    arranged,
    bounded,
    grouped,
    preference,
)
from mast.pilot.core.model.mesh import Mesh, complete
from mast.pilot.core.model.model import Endpoint, Service
from mast.pilot.core.model.proxy import Locality

HERE = Locality("eu", "a", "1")
Found = dict[str, tuple[int, int]]


def endpoint(address: str, place: str, weight: int = 1, **more: Any) -> Endpoint:
    return Endpoint(
        address=address,
        ports={},
        namespace="shop",
        locality=Locality.parse(place),
        weight=weight,
        **more,
    )


SPREAD = [
    endpoint("near", "eu/a/1"),
    endpoint("rack", "eu/a/2"),
    endpoint("zone", "eu/b/1", weight=3),
    endpoint("region", "us/a/1"),
    endpoint("far", "asia/a/1"),
]


def found(
    setting: dict[str, Any],
    *,
    failover: bool = True,
    where: Locality = HERE,
    endpoints: list[Endpoint] = SPREAD,
    **labels: str,
) -> Found:
    """Priority and weight by the first address of each group."""
    wish = Preference(ParseDict(setting, LocalityLoadBalancerSetting()), failover)
    groups = arranged(grouped(endpoints), wish, where, labels)
    assert list(groups) == sorted(groups, key=lambda each: (each.priority, each.locality))
    return {each.endpoints[0].address: (each.priority, each.weight) for each in groups}


def test_groups_are_sorted_and_weigh_what_is_in_them() -> None:
    same = endpoint("more", "eu/b/1", weight=4)
    groups = grouped([*reversed(SPREAD), same])
    assert [str(each.locality) for each in groups] == [
        "asia/a/1",
        "eu/a/1",
        "eu/a/2",
        "eu/b/1",
        "us/a/1",
    ]
    assert groups[3].weight == 7
    assert [each.address for each in groups[3].endpoints] == ["zone", "more"]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        pytest.param(
            {}, {"near": 0, "rack": 1, "zone": 2, "region": 3, "far": 3}, id="by-distance"
        ),
        pytest.param(
            {"failover": [{"from": "eu", "to": "us"}]},
            {"near": 0, "rack": 1, "zone": 2, "region": 3, "far": 4},
            id="named-region",
        ),
        pytest.param(
            {"failover": [{"from": "us", "to": "asia"}]},
            {"near": 0, "rack": 1, "zone": 2, "region": 3, "far": 3},
            id="others-failover",
        ),
    ],
)
def test_failover(setting: dict[str, Any], expected: dict[str, int]) -> None:
    assert {address: each[0] for address, each in found(setting).items()} == expected


def test_priorities_have_no_gaps() -> None:
    endpoints = [SPREAD[0], SPREAD[3]]
    assert found({}, endpoints=endpoints) == {"near": (0, 1), "region": (1, 1)}
    assert found({}, endpoints=[SPREAD[4]]) == {"far": (0, 1)}


def test_who_does_not_know_where_he_is_has_no_priorities() -> None:
    assert {each[0] for each in found({}, where=Locality()).values()} == {0}


def test_without_failover_there_are_no_priorities() -> None:
    assert {each[0] for each in found({}, failover=False).values()} == {0}


LABELED = [
    endpoint("both", "eu/a", labels={"tier": "gold"}),
    endpoint("first", "us/a", labels={"tier": "gold"}),
    endpoint("second", "eu/b", labels={"tier": "tin"}),
    endpoint("same-place", "eu/a", labels={"tier": "tin"}),
]


@pytest.mark.parametrize(
    ("order", "labels", "expected"),
    [
        pytest.param(
            ["tier", "topology.kubernetes.io/region"],
            {"tier": "gold", "topology.kubernetes.io/region": "eu"},
            {"both": 0, "first": 1, "second": 2, "same-place": 2},
            id="leading-labels",
        ),
        pytest.param(
            ["tier=tin"],
            {"tier": "gold"},
            {"second": 0, "same-place": 0, "both": 1, "first": 1},
            id="value-given",
        ),
        pytest.param(
            ["unheard", "tier"],
            {"tier": "gold"},
            {"both": 0, "first": 0, "second": 1, "same-place": 1},
            id="absent-on-both-sides",
        ),
        pytest.param(
            ["unheard"], {}, dict.fromkeys(("both", "first", "second", "same-place"), 0), id="none"
        ),
    ],
)
def test_failover_by_labels(
    order: list[str], labels: dict[str, str], expected: dict[str, int]
) -> None:
    wish = Preference(LocalityLoadBalancerSetting(failover_priority=order), failover=True)
    groups = arranged(grouped(LABELED), wish, HERE, labels)
    priorities = {each.address: group.priority for group in groups for each in group.endpoints}
    assert priorities == expected


@pytest.mark.parametrize(
    ("name", "endpoint_fields"),
    [
        ("topology.istio.io/network", {"network": "x"}),
        ("topology.istio.io/cluster", {"cluster": "x"}),
        ("kubernetes.io/hostname", {"node": "x"}),
        ("topology.kubernetes.io/zone", {"locality": Locality("r", "x")}),
        ("topology.istio.io/subzone", {"locality": Locality("r", "z", "x")}),
    ],
)
def test_labels_of_a_place_need_not_be_written(name: str, endpoint_fields: Any) -> None:
    near = Endpoint(address="near", ports={}, namespace="shop", **endpoint_fields)
    far = Endpoint(address="far", ports={}, namespace="shop")
    wish = Preference(LocalityLoadBalancerSetting(failover_priority=[name]), failover=True)
    groups = arranged(grouped([near, far]), wish, HERE, {name: "x"})
    assert {each.endpoints[0].address: each.priority for each in groups} == {"near": 0, "far": 1}


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        pytest.param(
            {"eu/a/*": 80, "us/*": 20}, {"near": 40, "rack": 40, "region": 20}, id="split"
        ),
        pytest.param({"eu/*": 100}, {"near": 20, "rack": 20, "zone": 60}, id="by-weight"),
        pytest.param(
            {"eu/a/1": 10, "*": 90},
            {"near": 10, "rack": 15, "zone": 45, "region": 15, "far": 15},
            id="specific-first",
        ),
        pytest.param({"eu/a/*": 33, "us/a/1": 67}, {"near": 17, "rack": 17, "region": 67}, id="up"),
        pytest.param({"mars/*": 100}, {}, id="nobody-there"),
    ],
)
def test_shares(shares: dict[str, int], expected: dict[str, int]) -> None:
    setting = {
        "distribute": [{"from": "us/*", "to": {"us/*": 100}}, {"from": "eu/a", "to": shares}]
    }
    assert {address: each[1] for address, each in found(setting).items()} == expected


def test_shares_for_others_change_nothing() -> None:
    setting = {"distribute": [{"from": "us/*", "to": {"us/*": 100}}]}
    assert len(found(setting)) == 5


OUTLIER = {"outlierDetection": {"consecutive5xxErrors": 3}}
DISTRIBUTE = {"distribute": [{"from": "eu", "to": {"eu": 100}}]}


@pytest.mark.parametrize(
    ("policy", "mesh", "distribution", "failover", "matters"),
    [
        pytest.param({}, {}, "", False, False, id="nothing"),
        pytest.param(OUTLIER, {}, "", True, True, id="failover-needs-outlier-detection"),
        pytest.param(OUTLIER, {"enabled": False}, "", False, False, id="switched-off"),
        pytest.param(
            {**OUTLIER, "loadBalancer": {"localityLbSetting": {"enabled": True}}},
            {"enabled": False},
            "",
            True,
            True,
            id="cluster-over-mesh",
        ),
        pytest.param({}, DISTRIBUTE, "", False, True, id="shares"),
        pytest.param(OUTLIER, DISTRIBUTE, "", False, True, id="shares-instead-of-failover"),
        pytest.param({}, {}, "PreferClose", True, True, id="traffic-distribution"),
        pytest.param({}, {}, "Nonsense", False, False, id="unknown-distribution"),
        pytest.param(
            {"loadBalancer": {"localityLbSetting": {}}}, {}, "PreferClose", False, False, id="rule"
        ),
    ],
)
def test_preference(
    policy: dict[str, Any], mesh: dict[str, Any], distribution: str, failover: bool, matters: bool
) -> None:
    config = MeshConfig()
    if mesh:
        ParseDict(mesh, config.locality_lb_setting)
    service = Service(host="a.test", namespace="shop", ports=(), traffic_distribution=distribution)
    wish = preference(Mesh(complete(config)), ParseDict(policy, TrafficPolicy()), service)
    assert (wish.failover, wish.matters) == (failover, matters)


@pytest.mark.parametrize(
    ("distribution", "count"), [("PreferSameZone", 3), ("PreferClose", 4), ("PreferSameNode", 5)]
)
def test_traffic_distribution_ranks_by_place(distribution: str, count: int) -> None:
    service = Service(host="a.test", namespace="shop", ports=(), traffic_distribution=distribution)
    wish = preference(Mesh(), TrafficPolicy(), service)
    assert wish.setting is not None
    assert len(wish.setting.failover_priority) == count


def test_weights_never_add_up_to_more_than_envoy_can_count() -> None:
    most = 2**32 - 1
    endpoints = [
        endpoint(str(each), "eu", weight=weight) for each, weight in enumerate((most, most, 1))
    ]
    found = [each.weight for each in bounded(endpoints)]
    assert sum(found) <= most
    assert found[0] == found[1] > found[2] == 1
    assert bounded(endpoints[2:]) == endpoints[2:]
