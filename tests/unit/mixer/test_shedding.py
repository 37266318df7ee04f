"""Load shedding (mixer.md A1, I1; checklist 46)."""

from __future__ import annotations

import pytest

from mast.mixer.core.shedding import LatencyLimiter, Mode, RateLimiter, Shedder


def test_a_burst_and_then_the_rate() -> None:
    """I1."""
    limiter = RateLimiter(rate=10, burst=20)
    assert [limiter.exceeded(1, 0.0) for _ in range(21)] == [False] * 20 + [True]
    assert [limiter.exceeded(1, 0.1) for _ in range(2)] == [False, True]
    assert [limiter.exceeded(1, 100.0) for _ in range(21)] == [False] * 20 + [True]


def test_a_request_costs_what_it_brings() -> None:
    """A1, I1."""
    limiter = RateLimiter(rate=10, burst=20)
    assert not limiter.exceeded(15, 0.0)
    assert limiter.exceeded(6, 0.0)
    assert not limiter.exceeded(5, 0.0)


def test_without_rate_everything_is_admitted() -> None:
    """I1: 0 is no limit."""
    limiter = RateLimiter(rate=0, burst=0)
    assert not limiter.exceeded(1e9, 0.0)


def test_the_burst_is_at_least_a_seconds_worth() -> None:
    """I1."""
    limiter = RateLimiter(rate=5, burst=0)
    assert [limiter.exceeded(1, 0.0) for _ in range(6)] == [False] * 5 + [True]


def test_the_mean_latency_follows_by_halves() -> None:
    """I1: exponentially weighted."""
    limiter = LatencyLimiter(threshold=1, halflife=2, enforcement=0)
    limiter.observe(4.0, 0.0)
    assert limiter.mean == 4.0
    limiter.observe(0.0, 2.0)
    assert limiter.mean == 2.0
    limiter.observe(0.0, 6.0)
    assert limiter.mean == 0.5


def many(limiter: LatencyLimiter, per_second: int, seconds: int = 10) -> bool:
    times = [n / per_second for n in range(per_second * seconds)]
    return [limiter.exceeded(now) for now in times][-1]


@pytest.mark.parametrize(
    ("latency", "per_second", "shed"),
    [
        pytest.param(0.2, 200, True, id="slow-and-busy"),
        pytest.param(0.2, 50, False, id="slow-but-not-busy"),
        pytest.param(0.05, 200, False, id="busy-but-not-slow"),
    ],
)
def test_slow_answers_shed_while_busy(latency: float, per_second: int, shed: bool) -> None:
    """I1: judged only above the enforcement threshold."""
    limiter = LatencyLimiter(threshold=0.1, halflife=1, enforcement=100)
    limiter.observe(latency, 0.0)
    assert many(limiter, per_second) is shed


def test_without_threshold_latency_does_not_count() -> None:
    """I1: 0 is no limit."""
    limiter = LatencyLimiter(threshold=0, halflife=1, enforcement=0)
    limiter.observe(100.0, 0.0)
    assert not many(limiter, 10)


@pytest.mark.parametrize(
    ("mode", "shed"), [(Mode.DISABLED, False), (Mode.LOGONLY, True), (Mode.ENFORCE, True)]
)
def test_either_limiter_sheds_unless_disabled(mode: Mode, shed: bool) -> None:
    """I1, L46."""
    idle = LatencyLimiter(0, 1, 0)
    full = Shedder(mode, RateLimiter(1, 1), idle)
    assert not full.too_much(1, 0.0)
    assert full.too_much(1, 0.0) is shed
    slow = LatencyLimiter(0.1, 1, 0)
    slow.observe(1.0, 0.0)
    assert Shedder(mode, RateLimiter(0, 0), slow).too_much(1, 0.0) is shed
