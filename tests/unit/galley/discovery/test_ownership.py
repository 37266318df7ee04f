"""Whose an entry of the registry is."""

from __future__ import annotations

import pytest

from mast.galley.core.discovery.ownership import in_order, is_of_cluster, keeper
from mastapi.registry.v1.registry_pb2 import RemoteCluster, Workload

POD = Workload(name="a", cluster="east").SerializeToString()
MACHINE = Workload(name="a", cluster="east", registration_group="g").SerializeToString()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        pytest.param("registry/services/shop/a.test/east", b"", True, id="service"),
        pytest.param("registry/services/shop/a.test/west", b"", False, id="of-another"),
        pytest.param("registry/services/shop/east", b"", False, id="host-of-that-name"),
        pytest.param("registry/endpoints/shop/a.test/east", b"", True, id="endpoints"),
        pytest.param("registry/endpoints/shop/a.test/east/0003", b"", True, id="part"),
        pytest.param("registry/endpoints/shop/a.test/west/east", b"", False, id="part-of-another"),
        pytest.param("registry/workloads/east/shop/a", POD, True, id="pod"),
        pytest.param("registry/workloads/west/shop/east", POD, False, id="pod-of-that-name"),
        pytest.param("registry/workloads/east/shop/a", MACHINE, False, id="registered-itself"),
        pytest.param("registry/workloads/east/shop/a", b"\xff", False, id="unreadable"),
        pytest.param("registry/clusters/east", b"", False, id="its-own-record"),
    ],
)
def test_is_of_cluster(key: str, value: bytes, expected: bool) -> None:
    assert is_of_cluster("east", key, value) is expected


def test_order_of_writes() -> None:
    """Endpoints are in their new parts before they leave the old ones."""
    shard, gone = "registry/endpoints/shop/a.test/east", "registry/endpoints/shop/b.test/east"
    service = "registry/services/shop/a.test/east"
    parts = [f"{shard}/{part:04}" for part in (1, 3, 10)]
    wanted = {shard, service, *parts, gone}
    changed = [shard, *parts, service, gone, f"{gone}/0001", f"{gone}/0002"]
    assert in_order(changed, wanted) == [
        *(gone, *reversed(parts), service, shard),
        *(f"{gone}/0002", f"{gone}/0001"),
    ]


def test_keeper() -> None:
    assert keeper(RemoteCluster(cluster="east", kept_by="main").SerializeToString()) == "main"
    assert keeper(b"\xff") == ""
