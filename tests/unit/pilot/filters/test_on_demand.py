"""Where the on-demand filter stands, and how long it waits (pilot.md B25)."""

import pytest
from envoy.extensions.filters.http.on_demand.v3.on_demand_pb2 import OnDemand

from mast.pilot.core.filters.extensions import NO_EXTENSIONS, Direction, Spot
from mast.pilot.core.filters.http_filters import http_filters
from mast.pilot.core.filters.on_demand import ON_DEMAND_FILTER, virtual_host_discovery
from mast.pilot.core.model.model import Protocol
from tests.support.mesh_yaml import sidecar_proxy


@pytest.mark.parametrize(
    ("flag", "direction", "first"),
    [
        ("true", Direction.OUTBOUND, True),
        ("true", Direction.INBOUND, False),
        ("false", Direction.OUTBOUND, False),
    ],
)
def test_it_comes_before_all_that_would_see_a_request_twice(
    flag: str, direction: Direction, first: bool
) -> None:
    spot = Spot(proxy=sidecar_proxy(MAST_ON_DEMAND=flag), direction=direction, port=80)
    found = [each.name for each in http_filters(spot, Protocol.HTTP, NO_EXTENSIONS)]
    assert (found[0] == ON_DEMAND_FILTER) is first
    assert found.count(ON_DEMAND_FILTER) == int(first)


def test_what_it_asks_for() -> None:
    spot = Spot(proxy=sidecar_proxy(MAST_ON_DEMAND="true"), direction=Direction.OUTBOUND, port=80)
    made = OnDemand()
    assert next(http_filters(spot, Protocol.HTTP, NO_EXTENSIONS)).typed_config.Unpack(made)
    assert made.odcds.source.HasField("ads")
    assert made.odcds.timeout.ToSeconds() == 5
    assert virtual_host_discovery().config_source.HasField("ads")
