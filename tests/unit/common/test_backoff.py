"""Backoff: growth, cap, jitter and reset."""

from datetime import timedelta

import pytest

from mast.common.backoff import Backoff


def seconds(backoff: Backoff, randoms: list[float]) -> list[float]:
    return [round(backoff.next(r).total_seconds(), 3) for r in randoms]


def test_doubles_up_to_the_maximum() -> None:
    backoff = Backoff(timedelta(seconds=1), timedelta(seconds=5))
    assert seconds(backoff, [0.5] * 5) == [1, 2, 4, 5, 5]


@pytest.mark.parametrize(("random", "expected"), [(0.0, 0.8), (0.5, 1.0), (0.999999, 1.2)])
def test_jitter_moves_either_way(random: float, expected: float) -> None:
    backoff = Backoff(timedelta(seconds=1), timedelta(seconds=5))
    assert seconds(backoff, [random]) == [expected]


def test_reset_begins_again() -> None:
    backoff = Backoff(timedelta(seconds=1), timedelta(seconds=60))
    seconds(backoff, [0.5] * 4)
    backoff.reset()
    assert seconds(backoff, [0.5]) == [1]


def test_thousands_of_attempts_do_not_overflow() -> None:
    backoff = Backoff(timedelta(milliseconds=1), timedelta(days=1))
    assert seconds(backoff, [0.5] * 5000)[-1] == 86400
