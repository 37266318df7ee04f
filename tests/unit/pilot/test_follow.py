"""Which changes must not wait: those that leave fewer endpoints to send requests to (B20)."""

from __future__ import annotations

import pytest

from mast.common.etcd import Change
from mast.common.keys import endpoints_key, workload_key
from mast.pilot.store.follow import loses
from mastapi.registry.v1 import registry_pb2 as registry

SHARD = endpoints_key("shop", "a.test", "east")
MACHINE = workload_key("east", "shop", "vm")
HEALTHY, UNHEALTHY = registry.HEALTH_HEALTHY, registry.HEALTH_UNHEALTHY
DRAINING, UNTOLD = registry.HEALTH_DRAINING, registry.HEALTH_UNSPECIFIED


def shard(**healths: registry.Health.ValueType) -> bytes:
    endpoints = [registry.Endpoint(address=name, health=told) for name, told in healths.items()]
    return registry.EndpointShard(host="a.test", endpoints=endpoints).SerializeToString()


def machine(health: registry.Health.ValueType) -> bytes:
    return registry.Workload(name="vm", addresses=["10.0.0.1"], health=health).SerializeToString()


BOTH = shard(a=HEALTHY, b=HEALTHY)


@pytest.mark.parametrize(
    ("key", "previous", "value", "expected"),
    [
        pytest.param(SHARD, None, BOTH, False, id="new"),
        pytest.param(SHARD, BOTH, BOTH, False, id="same"),
        pytest.param(SHARD, BOTH, None, True, id="gone"),
        pytest.param(SHARD, BOTH, shard(a=HEALTHY), True, id="endpoint-gone"),
        pytest.param(SHARD, BOTH, shard(a=HEALTHY, b=UNHEALTHY), True, id="unready"),
        pytest.param(SHARD, BOTH, shard(a=DRAINING, b=HEALTHY), True, id="drains"),
        pytest.param(SHARD, BOTH, shard(a=HEALTHY, c=HEALTHY), True, id="replaced"),
        pytest.param(SHARD, shard(a=HEALTHY, b=UNHEALTHY), BOTH, False, id="ready"),
        pytest.param(SHARD, shard(a=UNTOLD), shard(a=HEALTHY), False, id="ready-both-ways"),
        pytest.param(SHARD, BOTH, BOTH + shard(c=HEALTHY), False, id="one-more"),
        pytest.param(SHARD, BOTH, b"\xff" * len(BOTH), True, id="unreadable"),
        pytest.param(MACHINE, machine(HEALTHY), machine(UNHEALTHY), True, id="machine-unready"),
        pytest.param(MACHINE, machine(UNHEALTHY), machine(HEALTHY), False, id="machine-ready"),
    ],
)
def test_loses(key: str, previous: bytes | None, value: bytes | None, expected: bool) -> None:
    assert loses(Change(key, value, 2, 1, previous)) is expected
