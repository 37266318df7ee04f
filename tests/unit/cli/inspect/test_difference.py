"""Differences between what Pilot means and what Envoy has."""

from __future__ import annotations

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from mast.cli.inspect.difference import Difference, differences
from mast.cli.inspect.dump import Dump, read
from tests.support.envoy_dumps import configuration, dump_of

NAME = "outbound|9080||reviews.default.svc.cluster.local"


def dump() -> Dump:
    return read(dump_of(configuration()))


def found(intended: Dump, actual: Dump) -> list[Difference]:
    return [each for those in differences(intended, actual).values() for each in those]


def test_equal_configurations_do_not_differ() -> None:
    assert found(dump(), dump()) == []


def test_what_envoy_fills_in_is_no_difference() -> None:
    actual = dump()
    assignment = actual.endpoints[NAME]
    localities = [ClusterLoadAssignment.FromString(assignment.SerializeToString())]
    reordered = list(localities[0].endpoints)[::-1]
    del assignment.endpoints[:]
    assignment.endpoints.extend(reordered)
    assignment.policy.overprovisioning_factor.value = 140
    for locality in assignment.endpoints:
        for each in locality.lb_endpoints:
            each.health_status = HealthStatus.HEALTHY
    assert found(dump(), actual) == []


def test_static_resources_do_not_count() -> None:
    actual = dump()
    actual.clusters["xds-grpc"] = Cluster(name="xds-grpc")
    assert found(dump(), actual) == []


def test_a_change_is_shown_as_diff_shows_it() -> None:
    actual = dump()
    actual.clusters[NAME].connect_timeout.FromSeconds(1)
    (each,) = found(dump(), actual)
    assert (each.kind, each.name) == ("clusters", NAME)
    assert each.lines[:2] == [f"--- pilot clusters/{NAME}", f"+++ envoy clusters/{NAME}"]
    assert "-connectTimeout: 10s" in each.lines
    assert "+connectTimeout: 1s" in each.lines


@pytest.mark.parametrize("kind", ["clusters", "listeners", "routes", "endpoints", "extensions"])
def test_what_one_side_lacks(kind: str) -> None:
    less = dump()
    name = min(n for n in less.dynamic if n.startswith(kind)).partition("/")[2]
    del getattr(less, kind)[name]
    (missing,) = (each for each in found(dump(), less) if each.kind == kind)
    assert (missing.name, missing.actual) == (name, "")
    (too_much,) = (each for each in found(less, dump()) if each.kind == kind)
    assert (too_much.name, too_much.intended) == (name, "")
