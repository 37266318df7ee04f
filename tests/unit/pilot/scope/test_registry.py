"""What changes of single sources reach in the merged registry."""

from dataclasses import replace

from mast.pilot.core.model.model import Port, Service, ServiceKey, Workload
from mast.pilot.core.model.service_entries import Contribution
from mast.pilot.core.scope import memo
from mast.pilot.core.scope.memo import Fact
from mast.pilot.core.scope.registry import Registry
from mastapi.registry.v1.registry_pb2 import EndpointShard

KEY = ServiceKey("shop", "a.test")
PORT = Port(name="http", number=80, target_port=80)


def contribution(
    *ports: Port, selector: dict[str, str] | None = None, **more: object
) -> Contribution:
    service = Service(host="a.test", namespace="shop", ports=ports or (PORT,), **more)  # type: ignore[arg-type]
    return Contribution(service=service, selector=selector)


def workload(address: str = "10.0.0.1", **labels: str) -> Workload:
    return Workload(
        origin="w", name="w", namespace="shop", addresses=(address,), labels={"app": "a", **labels}
    )


SERVICE_FACTS = {Fact(memo.SERVICE, "a.test"), Fact(memo.PORT, 80), Fact(memo.NAMESPACE, "shop")}


def test_a_new_service_touches_its_host_ports_and_namespace() -> None:
    registry = Registry()
    registry.put_services("x", [contribution()])
    assert registry.settle() == SERVICE_FACTS
    assert registry.settle() == set()


def test_a_changed_service_touches_old_and_new_ports() -> None:
    registry = Registry()
    registry.put_services("x", [contribution()])
    registry.settle()
    registry.put_services("x", [contribution(Port(name="b", number=81, target_port=81))])
    assert registry.settle() == SERVICE_FACTS | {Fact(memo.PORT, 81)}
    assert registry.snapshot().hosts_on_port == {81: ("a.test",)}


def test_the_same_service_again_touches_nothing() -> None:
    registry = Registry()
    registry.put_services("x", [contribution()])
    registry.settle()
    registry.put_services("x", [contribution()])
    assert registry.settle() == set()


def test_a_service_that_goes_takes_everything_with_it() -> None:
    registry = Registry()
    registry.put_services("x", [contribution(selector={"app": "a"})])
    registry.put_workload("w", workload())
    registry.settle()
    registry.put_services("x", [])
    touched = registry.settle()
    assert {Fact(memo.ENDPOINTS, KEY), Fact(memo.IDENTITIES, KEY)} < touched
    found = registry.snapshot()
    assert not found.services
    assert not found.hosts
    assert not found.hosts_on_port
    assert not found.hosts_in_namespace
    assert not found.endpoints
    assert not found.identities
    assert not found.at_address


def test_workloads_touch_the_services_that_select_them() -> None:
    registry = Registry()
    registry.put_services("x", [contribution(selector={"app": "a"})])
    registry.settle()
    registry.put_workload("w", workload())
    assert registry.settle() == {
        Fact(memo.ENDPOINTS, KEY),
        Fact(memo.IDENTITIES, KEY),
        Fact(memo.ADDRESS, "10.0.0.1"),
        Fact(memo.WORKLOAD, "10.0.0.1"),
    }
    registry.put_workload("w", workload())
    assert registry.settle() == set()
    registry.put_workload("w", workload(version="v2"))
    assert registry.settle() == {Fact(memo.ENDPOINTS, KEY), Fact(memo.WORKLOAD, "10.0.0.1")}
    registry.put_workload("w", workload(app="b"))
    assert Fact(memo.ENDPOINTS, KEY) in registry.settle()
    registry.put_workload("w", workload(app="c"))
    assert registry.settle() == {Fact(memo.WORKLOAD, "10.0.0.1")}


def test_a_workload_that_moves_leaves_its_old_address() -> None:
    registry = Registry()
    registry.put_workload("w", workload())
    registry.put_workload("w", workload("10.0.0.2"))
    assert list(registry.snapshot().workloads_at) == ["10.0.0.2"]
    registry.put_workload("w", None)
    assert not registry.snapshot().workloads_at


def test_a_workload_may_change_its_namespace() -> None:
    registry = Registry()
    registry.put_services("x", [contribution(selector={"app": "a"})])
    registry.put_workload("w", workload())
    registry.settle()
    registry.put_workload("w", replace(workload(), namespace="web"))
    registry.settle()
    assert not registry.snapshot().endpoints


def test_services_that_select_no_longer_are_not_looked_at() -> None:
    registry = Registry()
    registry.put_services("x", [contribution(selector={"app": "a"})])
    registry.put_services("x", [contribution()])
    registry.settle()
    registry.put_workload("w", workload())
    assert registry.settle() == {Fact(memo.WORKLOAD, "10.0.0.1")}


def test_shards_without_a_service_wait_for_it() -> None:
    registry = Registry()
    shard = EndpointShard(host="a.test", namespace="shop", shard="s")
    shard.endpoints.add(address="10.0.0.1", ports={"http": 8080})
    registry.put_shard("s", shard)
    assert registry.settle() == set()
    registry.put_services("x", [contribution()])
    registry.settle()
    (endpoint,) = registry.snapshot().endpoints[KEY]
    assert endpoint.ports == {80: 8080}


def test_equal_endpoints_of_two_sources_count_once() -> None:
    registry = Registry()
    same = {
        "address": "10.0.0.1",
        "ports": {"http": 8080},
        "labels": {"topology.istio.io/cluster": "c"},
    }
    for name in ("one", "two"):
        shard = EndpointShard(host="a.test", namespace="shop", shard=name)
        shard.endpoints.add(**same)
        registry.put_shard(name, shard)
    registry.put_services("x", [contribution()])
    registry.settle()
    assert len(registry.snapshot().endpoints[KEY]) == 1


def test_of_several_parts_one_that_stays_is_not_read_again() -> None:
    registry = Registry()
    registry.put_services("x", [contribution()])

    def part(*addresses: str) -> EndpointShard:
        shard = EndpointShard(host="a.test", namespace="shop", shard="east")
        for address in addresses:
            shard.endpoints.add(address=address, ports={"http": 80})
        return shard

    registry.put_shard("east", part("10.0.0.3", "10.0.0.1"))
    registry.put_shard("east/0001", part("10.0.0.2"))
    registry.settle()
    before = registry.snapshot().endpoints[KEY]
    registry.put_shard("east/0001", part("10.0.0.2", "10.0.0.4"))
    registry.settle()
    now = registry.snapshot().endpoints[KEY]
    assert [each.address for each in now] == [f"10.0.0.{last}" for last in (1, 2, 3, 4)]
    assert (now[0], now[2]) == (before[0], before[2])
    assert now[0] is before[0]
    registry.put_services("x", [contribution(Port(name="http", number=8080, target_port=80))])
    registry.settle()
    assert {port for each in registry.snapshot().endpoints[KEY] for port in each.ports} == {8080}
    registry.put_shard("east", None)
    registry.settle()
    assert [each.address for each in registry.snapshot().endpoints[KEY]] == ["10.0.0.2", "10.0.0.4"]


def test_workloads_of_a_platform_count_where_they_are_selected() -> None:
    """Whatever the order: a service of the platform has its endpoints from shards."""
    registry = Registry()
    pod = replace(workload(), platform=True)
    own = replace(contribution(selector={"app": "a"}), selects_platform=False)
    registry.put_workload("w", pod)
    registry.put_services("x", [own])
    registry.settle()
    assert KEY not in registry.snapshot().endpoints
    registry.put_services("x", [replace(own, selects_platform=True)])
    registry.settle()
    assert [each.address for each in registry.snapshot().endpoints[KEY]] == ["10.0.0.1"]
    registry.put_services("x", [own])
    registry.settle()
    assert KEY not in registry.snapshot().endpoints
    registry.put_workload("w", replace(pod, platform=False))
    registry.settle()
    assert [each.address for each in registry.snapshot().endpoints[KEY]] == ["10.0.0.1"]
