"""Pushes on their way to one connection coalesce (pilot.md B18)."""

from datetime import timedelta

from mast.pilot.core.xds.push import Pending, Push
from tests.fakes.pilot_views import FakeMesh

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
