"""Slots for what a policy engine adds (pilot.md E10, L)."""

from envoy.config.route.v3.route_components_pb2 import Route
from google.protobuf.struct_pb2 import Struct

from mast.pilot.core.filters.extensions import (
    NO_EXTENSIONS,
    NOTHING,
    Additions,
    Direction,
    Phase,
    Spot,
)
from mast.pilot.core.filters.header_operations import ADD, HeaderMutations, header_addition
from mast.pilot.core.packing import packed
from tests.support.mesh_yaml import sidecar_proxy
from tests.support.messages import plain, read


def additions(name: str) -> Additions:
    value = Struct()
    value.update({"from": name})
    return Additions(
        typed_per_filter_config={name: packed(value), "both": packed(value)},
        mutations=HeaderMutations(
            request_add=(header_addition(f"x-{name}", "1", ADD),), response_remove=(name,)
        ),
        metadata={name: value, "both": value},
    )


def test_additions_of_a_route() -> None:
    route = Route()
    both = additions("a").also(additions("b"))
    both.apply(route)
    both.apply_metadata(route)
    found = plain(route)
    assert found["metadata"] == read(
        "filter_metadata: {a: {from: a}, b: {from: b}, both: {from: b}}"
    )
    configured = found["typed_per_filter_config"]
    assert {name: each["value"]["from"] for name, each in configured.items()} == {
        "a": "a",
        "b": "b",
        "both": "b",
    }
    assert [each["header"]["key"] for each in found["request_headers_to_add"]] == ["x-a", "x-b"]
    assert found["response_headers_to_remove"] == ["a", "b"]


def test_nothing_changes_nothing() -> None:
    route = Route()
    NOTHING.apply(route)
    NOTHING.apply_metadata(route)
    assert plain(route) == {}
    found = NOTHING.also(additions("a"))
    assert found == additions("a")


def test_no_extensions() -> None:
    spot = Spot(proxy=sidecar_proxy(), direction=Direction.INBOUND, port=80)
    assert not NO_EXTENSIONS.http_filters(spot)
    assert not NO_EXTENSIONS.checks(spot)
    assert not NO_EXTENSIONS.network_filters(spot)
    assert not NO_EXTENSIONS.http_access_logs(spot)
    assert not NO_EXTENSIONS.tcp_access_logs(spot)
    assert NO_EXTENSIONS.tcp_log_interval(spot) is None
    assert not NO_EXTENSIONS.plugins(spot, Phase.AUTHN)
    assert not NO_EXTENSIONS.network_plugins(spot, Phase.AUTHN)
    assert not NO_EXTENSIONS.listener_access_logs(Direction.INBOUND)
    assert NO_EXTENSIONS.tracing(spot) is None
    assert NO_EXTENSIONS.with_metric_tags(()) is NO_EXTENSIONS
    assert NO_EXTENSIONS.virtual_host(spot, None) is NOTHING
    assert NO_EXTENSIONS.destination(spot, "a.test", None) is NOTHING
