"""When a client has taken over what it was told (pilot.md B2, B4)."""

import pytest

from mast.pilot.core.xds.following import follows
from tests.fakes.pilot_views import FakeMesh, static_cluster
from tests.fakes.xds_streams import Stream


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_a_change_is_followed_once_it_is_acknowledged(delta: bool) -> None:
    mesh = FakeMesh()
    mesh.put(static_cluster("a"))
    stream = Stream(mesh, delta=delta)
    generation = mesh.view().generation
    (told,) = stream.ask("cds")
    assert not follows(stream.session.state, generation)
    stream.ack(told)
    assert follows(stream.session.state, generation)
    assert not follows(stream.session.state, generation + 1), "that is not pushed yet"
    mesh.put(static_cluster("b"))
    (told,) = stream.push()
    assert not follows(stream.session.state, mesh.view().generation)
    stream.ack(told)
    assert follows(stream.session.state, mesh.view().generation)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_what_is_rejected_is_not_waited_for(delta: bool) -> None:
    mesh = FakeMesh()
    mesh.put(static_cluster("a"))
    stream = Stream(mesh, delta=delta)
    (told,) = stream.ask("cds")
    stream.nack(told, "no")
    assert follows(stream.session.state, mesh.view().generation)
