"""Pushes on their way to one connection coalesce (pilot.md B18)."""

from datetime import timedelta

from mast.pilot.core.xds.no_view import NO_VIEW
from mast.pilot.core.xds.push import Pending, Push
from mast.pilot.core.xds.resources import CDS
from tests.fakes.pilot_views import FakeMesh, proxy, static_cluster
from tests.support.mesh_yaml import world

MESH = FakeMesh()


def push(number, seconds, *, resend=False):
    return Push(number, MESH.snapshot(), timedelta(seconds=seconds), resend)


def test_nothing_is_pending():
    pending = Pending()
    assert not pending
    assert pending.take() is None


def test_a_push_is_taken_once():
    pending, only = Pending(), push(1, 5)
    pending.offer(only)
    assert pending
    assert pending.take() is only
    assert pending.take() is None


def test_the_newest_snapshot_and_the_earliest_start_remain():
    pending, last = Pending(), push(3, 7)
    for each in (push(1, 5), push(2, 6, resend=True), last):
        pending.offer(each)
    taken = pending.take()
    assert (taken.number, taken.snapshot) == (3, last.snapshot)
    assert taken.started == timedelta(seconds=5)
    assert taken.resend


def test_a_late_offer_of_an_early_change_counts_from_that_change():
    pending = Pending()
    pending.offer(push(1, 8))
    pending.offer(push(2, 6))
    assert pending.take().started == timedelta(seconds=6)


def test_what_a_client_sees_depends_on_its_generator():
    """pilot.md B27."""
    MESH.put(static_cluster("a"))
    made = push(1, 5)
    assert made.view(proxy()).collection(CDS).resources.keys() == {"a"}
    assert made.view(proxy(GENERATOR="grpc")).collection(CDS).resources.keys() == {"a"}
    assert made.view(proxy(GENERATOR="event")) is NO_VIEW
    nothing = made.view(proxy(GENERATOR="event"))
    assert not nothing.collection(CDS).resources
    assert nothing.named(CDS, "a") is None
    snapshot = world(GATEWAY).snapshot(1)
    configuration = Push(2, snapshot, timedelta()).view(proxy(GENERATOR="api"))
    assert configuration.key == "configuration"


GATEWAY = "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}, spec: {}}"
