"""New streams are taken on at a bounded rate (pilot.md B20)."""

from datetime import timedelta

import pytest

from mast.pilot.core.xds.admission import TokenBucket, default_rate


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize(("cpus", "rate"), [(1, 20), (2, 25), (16, 95), (17, 100), (64, 100)])
def test_default_rate(cpus, rate):
    assert default_rate(cpus) == rate


def test_a_burst_is_free_then_streams_wait_and_then_are_refused():
    bucket = TokenBucket(rate=2, burst=2)
    waits = [bucket.take(seconds(100)) for _ in range(6)]
    assert waits == [seconds(0), seconds(0), seconds(0.5), seconds(1), None, None]


def test_refused_streams_take_nothing():
    bucket = TokenBucket(rate=1, burst=1)
    for _ in range(10):
        bucket.take(seconds(0))
    assert bucket.take(seconds(2)) == seconds(0)


def test_tokens_are_saved_up_to_the_burst():
    bucket = TokenBucket(rate=10, burst=2)
    bucket.take(seconds(0))
    waits = [bucket.take(seconds(60)) for _ in range(3)]
    assert waits == [seconds(0), seconds(0), seconds(0.1)]
