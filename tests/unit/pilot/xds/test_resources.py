"""Resources are written once, hashed once, and framed as protobuf would."""

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import ControlPlane
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse

from mast.pilot.core.xds.resources import (
    CDS,
    ECDS,
    EDS,
    EMPTY,
    LDS,
    NDS,
    RDS,
    SDS,
    absent,
    collection,
    delta_discovery_response,
    discovery_response,
    nonce_field,
    packed,
    push_rank,
    resource,
)

LONG = "x" * 300
MESSAGES = {
    "a": Cluster(name="a"),
    LONG: Cluster(name=LONG, alt_stat_name="y" * 20_000),
    "ümlaut": Cluster(name="ümlaut"),
    "empty": Cluster(),
}
RESOURCES = [resource(name, CDS, message) for name, message in MESSAGES.items()]
CONTROL_PLANE = ControlPlane(identifier='{"Component": "mast"}')


def test_state_of_the_world_response_is_what_protobuf_reads():
    parts = discovery_response(CDS, "v1", RESOURCES, CONTROL_PLANE.SerializeToString())
    expected = DiscoveryResponse(
        version_info="v1", type_url=CDS, nonce="7-abc", control_plane=CONTROL_PLANE
    )
    for message in MESSAGES.values():
        expected.resources.add().Pack(message)
    assert DiscoveryResponse.FromString(b"".join((*parts, nonce_field("7-abc")))) == expected


def test_delta_response_is_what_protobuf_reads():
    parts = delta_discovery_response(
        CDS, "v1", RESOURCES, ["gone", LONG + "-gone"], CONTROL_PLANE.SerializeToString()
    )
    expected = DeltaDiscoveryResponse(
        system_version_info="v1",
        type_url=CDS,
        nonce="7-abc",
        removed_resources=["gone", LONG + "-gone"],
        control_plane=CONTROL_PLANE,
    )
    for each, message in zip(RESOURCES, MESSAGES.values(), strict=True):
        field = expected.resources.add(name=each.name, version=each.version)
        field.resource.Pack(message)
    assert DeltaDiscoveryResponse.FromString(b"".join((*parts, nonce_field("7-abc")))) == expected


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_152], ids=str)
def test_lengths_are_encoded_at_every_boundary(size):
    made = resource("n", CDS, Cluster(alt_stat_name="z" * size))
    body = b"".join(discovery_response(CDS, "", [made], b""))
    (found,) = DiscoveryResponse.FromString(body).resources
    read = Cluster()
    assert found.Unpack(read)
    assert len(read.alt_stat_name) == size
    assert made.body == read.SerializeToString()


def test_serialised_parts_make_a_resource():
    parts = [Cluster(name="n").SerializeToString(), Cluster(alt_stat_name="s").SerializeToString()]
    made = packed("n", CDS, parts, "v")
    assert Cluster.FromString(made.body) == Cluster(name="n", alt_stat_name="s")
    body = b"".join(delta_discovery_response(CDS, "", [made], (), b""))
    (found,) = DeltaDiscoveryResponse.FromString(body).resources
    assert (found.name, found.version, found.resource.value) == ("n", "v", made.body)


def test_the_version_is_the_content():
    one, same, other = (
        resource("n", CDS, Cluster(name="n", alt_stat_name=stat)) for stat in ("1", "1", "2")
    )
    assert one.version == same.version != other.version
    assert len(one.version) == 16


def test_the_version_does_not_depend_on_the_order_of_maps():
    forward, backward = ClusterLoadAssignment(), ClusterLoadAssignment()
    for message, names in ((forward, "abcdef"), (backward, "fedcba")):
        for name in names:
            message.named_endpoints[name].hostname = name
    assert resource("n", EDS, forward).version == resource("n", EDS, backward).version


def test_a_collection_is_sorted_and_its_version_is_its_content():
    a, b = resource("a", CDS, Cluster(name="a")), resource("b", CDS, Cluster(name="b"))
    changed = resource("b", CDS, Cluster(name="b", alt_stat_name="x"))
    assert list(collection([b, a])) == [a, b]
    assert collection([b, a]).version == collection([a, b]).version
    assert collection([a, changed]).version != collection([a, b]).version
    assert collection([a, b, changed]).resources["b"] is changed
    assert EMPTY.version == collection([]).version


def test_a_collection_knows_what_it_requires():
    a = resource("a", CDS, Cluster(name="a"), requires=["outbound|80||a"])
    b = resource("b", CDS, Cluster(name="b"))
    assert collection([a, b]).requires == {"outbound|80||a"}


def test_absent_names_have_a_stand_in_that_ends_the_wait():
    endpoints, routes = absent(EDS, "e"), absent(RDS, "r")
    assert ClusterLoadAssignment.FromString(endpoints.body) == ClusterLoadAssignment(
        cluster_name="e"
    )
    assert RouteConfiguration.FromString(routes.body) == RouteConfiguration(name="r")
    assert absent(SDS, "s") is None


def test_types_are_pushed_in_order():
    unsorted = [NDS, SDS, RDS, ECDS, LDS, EDS, CDS]
    assert sorted(unsorted, key=push_rank)[:5] == [CDS, EDS, LDS, RDS, SDS]
