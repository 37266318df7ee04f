"""Rate limits (citadel-and-agent.md A12)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mast.citadel.core.limits import PeerLimits, TokenBucket


def test_a_burst_then_the_rate() -> None:
    bucket = TokenBucket(rate=8, burst=3)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.125), bucket.take(100.125)] == [True, False]
    assert [bucket.take(200.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(rate=8, burst=1)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)
    assert not bucket.take(100.0625)
    assert bucket.take(100.125)


@given(st.lists(st.floats(0, 0.5), max_size=200), st.floats(1, 100), st.integers(1, 20))
def test_never_more_than_burst_and_rate_allow(steps: list[float], rate: float, burst: int) -> None:
    bucket, now, taken = TokenBucket(rate, burst), 0.0, 0
    for step in steps:
        now += step
        taken += bucket.take(now)
    assert taken <= burst + rate * now + 1e-6


def test_peers_are_limited_apart() -> None:
    limits = PeerLimits(rate=1, burst=1)
    assert limits.allow("a", 1.0)
    assert not limits.allow("a", 1.0)
    assert limits.allow("b", 1.0)
    assert limits.allow("a", 2.0)


def test_the_peer_that_called_longest_ago_is_forgotten() -> None:
    limits = PeerLimits(rate=0, burst=1, peers=2)
    assert limits.allow("a", 1.0)
    assert limits.allow("b", 1.0)
    assert not limits.allow("a", 1.0)
    assert limits.allow("c", 1.0)  # forgets b
    assert not limits.allow("a", 1.0)
    assert limits.allow("b", 1.0)
