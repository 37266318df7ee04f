"""Services as ServiceEntries for sinks (galley-and-kubernetes.md A6, G7)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from istio.mcp.v1alpha1 import resource_pb2
from istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry
from mast.common.keys import endpoints_key, service_key
from mast.galley.core.mcp.catalog import Collection
from mast.galley.core.mcp.synthetic import (
    ENDPOINTS_VERSION,
    EXPORT_TO,
    NO_ADDRESS,
    NOT_READY,
    SERVICE_VERSION,
    Services,
    service_entry,
)
from mastapi.registry.v1 import registry_pb2 as registry

HOST = "web.shop.svc.cluster.local"
PORT = registry.Port(name="http", number=80, target_port=8080, protocol="HTTP")


def service(**fields: object) -> registry.Service:
    settings: dict[str, object] = {
        "host": HOST,
        "namespace": "shop",
        "name": "web",
        "ports": [PORT],
        **fields,
    }
    return registry.Service(**settings)  # type: ignore[arg-type]


def endpoint(address: str, account: str = "", health: int = 1) -> registry.Endpoint:
    return registry.Endpoint(
        address=address,
        ports={"http": 8080},
        labels={"app": "web"},
        locality="r/z",
        namespace="shop",
        service_account=account,
        health=health,  # type: ignore[arg-type]
    )


READY = [endpoint("10.0.0.2", "web"), endpoint("10.0.0.1", "api")]


@pytest.mark.parametrize(
    ("made", "endpoints", "addresses", "resolution", "location", "found"),
    [
        pytest.param(
            service(addresses=["10.1.0.1", "10.1.0.2"]), READY, ["10.1.0.1"],
            ServiceEntry.STATIC, ServiceEntry.MESH_INTERNAL, ["10.0.0.2", "10.0.0.1"],
            id="cluster-ip",
        ),
        pytest.param(
            service(addresses=["10.1.0.1"]), [], ["10.1.0.1"],
            ServiceEntry.NONE, ServiceEntry.MESH_INTERNAL, [], id="without-endpoints",
        ),
        pytest.param(
            service(headless=True), READY[:1], [NO_ADDRESS],
            ServiceEntry.STATIC, ServiceEntry.MESH_INTERNAL, ["10.0.0.2"], id="headless",
        ),
        pytest.param(
            service(alias_of="example.com"), [], [NO_ADDRESS],
            ServiceEntry.DNS, ServiceEntry.MESH_EXTERNAL, ["example.com"], id="external-name",
        ),
        pytest.param(
            service(addresses=["10.1.0.1"]), [endpoint("10.0.0.3", health=2)], ["10.1.0.1"],
            ServiceEntry.NONE, ServiceEntry.MESH_INTERNAL, [], id="nothing-ready",
        ),
    ],
)  # fmt: skip
def test_entries(
    made: registry.Service,
    endpoints: list[registry.Endpoint],
    addresses: list[str],
    resolution: int,
    location: int,
    found: list[str],
) -> None:
    entry = service_entry(made, endpoints, "cluster.local")
    assert (list(entry.hosts), list(entry.addresses)) == ([HOST], addresses)
    assert (entry.resolution, entry.location) == (resolution, location)
    assert [each.address for each in entry.endpoints] == found
    assert [(each.number, each.name, each.protocol) for each in entry.ports] == [
        (80, "http", "HTTP")
    ]


def test_endpoints_have_what_their_pods_have() -> None:
    stranger = endpoint("10.0.0.4")
    made = service(subject_alt_names=["spiffe://b/x"])
    entry = service_entry(made, [*READY, stranger], "cluster.local")
    first = entry.endpoints[0]
    assert (dict(first.ports), dict(first.labels)) == ({"http": 8080}, {"app": "web"})
    assert (first.locality, first.service_account) == ("r/z", "web")
    assert list(entry.subject_alt_names) == [
        "spiffe://b/x",
        "spiffe://cluster.local/ns/shop/sa/api",
        "spiffe://cluster.local/ns/shop/sa/web",
    ]


def test_every_address_of_a_pod_is_an_endpoint() -> None:
    both = registry.Endpoint(address="10.0.0.1", additional_addresses=["fd00::1"], health=1)
    entry = service_entry(service(), [both], "x")
    assert [each.address for each in entry.endpoints] == ["10.0.0.1", "fd00::1"]


def test_who_may_see_it() -> None:
    annotated = service(annotations={EXPORT_TO: "., other"})
    assert list(service_entry(annotated, [], "x").export_to) == [".", "other"]


def test_a_protocol_that_is_to_be_found_out_is_bytes() -> None:
    entry = service_entry(service(ports=[registry.Port(name="a", number=1)]), [], "x")
    assert entry.ports[0].protocol == "TCP"


SERVICE_KEY = service_key("shop", HOST)


def shard(*endpoints: registry.Endpoint) -> bytes:
    return registry.EndpointShard(host=HOST, endpoints=endpoints).SerializeToString()


def only(collection: Collection) -> resource_pb2.Resource:
    (found,) = collection.resources.values()
    return found


def test_the_registry_is_followed() -> None:
    services = Services("cluster.local")
    made = service(labels={"a": "b"}, annotations={"c": "d"})
    made.create_time.FromDatetime(datetime(2026, 1, 1, tzinfo=UTC))
    one, two = endpoints_key("shop", HOST, "one"), endpoints_key("shop", HOST, "one", 2)
    collection, problems = services.apply([(one, shard(READY[0]), 4)], 4)
    assert (dict(collection.resources), problems) == ({}, []), "the Service comes later"
    collection, _ = services.apply([(SERVICE_KEY, made.SerializeToString(), 5)], 5)
    found = only(collection)
    assert (found.metadata.name, found.metadata.version) == ("shop/web", "5")
    assert found.metadata.labels == {"a": "b"}
    assert found.metadata.annotations == {"c": "d", SERVICE_VERSION: "5", ENDPOINTS_VERSION: "4"}
    assert found.metadata.create_time == made.create_time

    late = endpoint("10.0.0.9", health=2)
    collection, _ = services.apply([(two, shard(READY[1], late), 7)], 7)
    found = only(collection)
    entry = ServiceEntry()
    assert found.body.Unpack(entry)
    assert [each.address for each in entry.endpoints] == ["10.0.0.2", "10.0.0.1"], "by part"
    assert found.metadata.annotations[NOT_READY] == "10.0.0.9:8080"
    assert (found.metadata.version, collection.version) == ("7", "7")

    services.apply([(one, None, 8)], 8)
    collection, _ = services.apply([(two, None, 9)], 9)
    assert ENDPOINTS_VERSION not in only(collection).metadata.annotations
    collection, _ = services.apply([(SERVICE_KEY, None, 10)], 10)
    assert dict(collection.resources) == {}


def test_a_service_of_several_clusters_is_one() -> None:
    services = Services("cluster.local")
    for number, cluster in enumerate(("west", "east"), start=5):
        made = service(addresses=[f"10.96.0.{number}"]).SerializeToString()
        services.apply([(service_key("shop", HOST, cluster), made, number)], number)
    entry = ServiceEntry()
    collection, _ = services.apply([], 6)
    assert only(collection).body.Unpack(entry)
    assert list(entry.addresses) == ["10.96.0.6"], "that of the first cluster"
    collection, _ = services.apply([(service_key("shop", HOST, "east"), None, 7)], 7)
    assert only(collection).body.Unpack(entry)
    assert list(entry.addresses) == ["10.96.0.5"]


def test_an_identity_that_cannot_be_is_told() -> None:
    services = Services("cluster.local")
    key = endpoints_key("shop", HOST, "one")
    changes = [
        (SERVICE_KEY, service().SerializeToString(), 5),
        (key, shard(endpoint("10.0.0.1", "a b")), 5),
    ]
    _, problems = services.apply(changes, 5)
    assert ["'a b'" in str(each) for each in problems] == [True]


def test_what_cannot_be_read_is_told_and_the_last_good_one_stays() -> None:
    services = Services("cluster.local")
    services.apply([(SERVICE_KEY, service().SerializeToString(), 5)], 5)
    collection, problems = services.apply([(SERVICE_KEY, b"\xff", 6)], 6)
    assert [SERVICE_KEY in str(each) for each in problems] == [True]
    assert only(collection).metadata.version == "5"


def test_services_of_other_forms_are_left_out() -> None:
    services = Services("cluster.local")
    foreign = service(host="a.com", name="")
    collection, _ = services.apply(
        [(service_key("shop", "a.com"), foreign.SerializeToString(), 5)], 5
    )
    assert dict(collection.resources) == {}
