"""What most tests of sessions begin with: a small mesh and a stream of the incremental protocol."""

import pytest

from tests.fakes.pilot_views import (
    FakeMesh,
    assignment,
    eds_cluster,
    listener,
    routes,
)
from tests.fakes.xds_streams import Stream


@pytest.fixture
def mesh():
    made = FakeMesh()
    made.put(eds_cluster("a"), eds_cluster("b"), assignment("a", [1]), assignment("b", [2]))
    made.put(listener("l", route="r"), routes("r", "a"))
    return made


@pytest.fixture
def stream(mesh):
    return Stream(mesh)
