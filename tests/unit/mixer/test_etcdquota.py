"""Shared cells of the adapter etcdquota: the arithmetic of memquota, whoever counts."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mast.mixer.adapters.etcdquota import Ask, allocated
from mast.mixer.adapters.memquota import Cell
from mast.mixer.core.adapter import QuotaArguments
from mastapi.quota.v1 import quota_pb2

LIMIT, WINDOW, KEPT = 10, 20, 5
EMPTY = quota_pb2.Cell(name="q")


def after(
    before: quota_pb2.Cell, *asks: QuotaArguments, tick: int = 100, ticks: int = WINDOW
) -> tuple[quota_pb2.Cell, Sequence[int]]:
    return allocated(before, map(Ask, asks), limit=LIMIT, ticks=ticks, kept=KEPT, tick=tick)


def test_calls_share_the_limit_in_their_order() -> None:
    cell, granted = after(
        EMPTY, QuotaArguments(7), QuotaArguments(4), QuotaArguments(5, best_effort=True)
    )
    assert granted == [7, 0, 3]
    assert [(each.tick, each.amount) for each in cell.grants] == [(100, 7), (100, 3)]


def test_amounts_come_free_with_the_window() -> None:
    cell, _ = after(EMPTY, QuotaArguments(10))
    assert after(cell, QuotaArguments(1), tick=100 + WINDOW)[1] == [0]
    assert after(cell, QuotaArguments(10), tick=100 + WINDOW + 1)[1] == [10]


def test_without_a_window_amounts_are_given_back() -> None:
    cell, _ = after(EMPTY, QuotaArguments(10), ticks=0)
    assert cell.in_use == 10
    cell, granted = after(cell, QuotaArguments(-4), QuotaArguments(5), ticks=0, tick=10**9)
    assert (granted, cell.in_use) == ([0, 0], 6)
    assert after(cell, QuotaArguments(4), ticks=0)[1] == [4]


def test_equal_ids_get_equal_answers_for_a_while() -> None:
    cell, _ = after(EMPTY, QuotaArguments(6, deduplication_id="a"))
    cell, granted = after(cell, QuotaArguments(6, deduplication_id="a"), tick=100 + KEPT - 1)
    assert granted == [6]
    assert [each.amount for each in cell.grants] == [6]
    assert after(cell, QuotaArguments(6, deduplication_id="a"), tick=100 + KEPT)[1] == [0]


def test_ids_count_within_one_write() -> None:
    twice = QuotaArguments(6, deduplication_id="a")
    assert after(EMPTY, twice, twice)[1] == [6, 6]


def test_a_clock_that_lags_frees_nothing_late() -> None:
    cell, _ = after(EMPTY, QuotaArguments(10), tick=100)
    cell, granted = after(cell, QuotaArguments(1), tick=10)
    assert granted == [0]
    assert cell.tick == 100


STEPS = st.lists(
    st.tuples(st.integers(0, 15), st.integers(-4, 12).filter(bool), st.booleans()), max_size=40
)


@given(STEPS, st.sampled_from([0, WINDOW]))
def test_a_stored_cell_counts_as_one_in_memory(
    steps: list[tuple[int, int, bool]], ticks: int
) -> None:
    stored, kept, tick = EMPTY, Cell(ticks), 1000
    for passed, amount, best_effort in steps:
        tick += passed
        stored, (granted,) = after(
            quota_pb2.Cell.FromString(stored.SerializeToString()),
            QuotaArguments(amount, best_effort),
            tick=tick,
            ticks=ticks,
        )
        if amount < 0:
            kept.release(-amount, tick)
            assert granted == 0
        else:
            asked = QuotaArguments(amount, best_effort)
            assert granted == kept.allocate(asked, LIMIT, tick)


@given(STEPS)
def test_no_window_holds_more_than_the_limit(steps: list[tuple[int, int, bool]]) -> None:
    stored, tick, grants = EMPTY, 1000, list[tuple[int, int]]()
    for passed, amount, best_effort in steps:
        tick += passed
        stored, (granted,) = after(stored, QuotaArguments(abs(amount), best_effort), tick=tick)
        grants.append((tick, granted))
        within = sum(each for at, each in grants if at > tick - WINDOW)
        assert within <= LIMIT


def test_long_windows_with_many_grants_stay_small() -> None:
    """An hour of a grant every tenth of a second: the record is written with each of them."""
    stored, ticks = EMPTY, 36_000
    for tick in range(0, 2 * ticks, 20):
        stored, granted = allocated(
            stored,
            [Ask(QuotaArguments(1)), Ask(QuotaArguments(1))],
            limit=3_000,
            ticks=ticks,
            kept=KEPT,
            tick=tick,
        )
        if tick < 20 * 1_500:
            assert granted == [1, 1]
        elif tick < ticks:
            assert granted == [0, 0]
    assert len(stored.grants) < 700
    assert sum(each.amount for each in stored.grants) == 3_000
