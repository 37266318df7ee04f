"""Adapter memquota (mixer.md G.1; checklist 17, 18, 20, 22)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from istio.mixer.adapter.memquota.config.config_pb2 import Params
from mast.mixer.adapters import memquota
from mast.mixer.core.adapter import (
    HandlerConfig,
    Instance,
    InstanceType,
    QuotaArguments,
    QuotaResult,
)
from mast.mixer.core.values import Duration, Value
from tests.support.mixer_config import Clock

NAME = "q.instance.istio-system"
QUOTA = {"name": NAME, "max_amount": 10, "valid_duration": "2s"}


def config(*quotas: dict[str, Any], dedup: str = "1s", instances: tuple[str, ...] = (NAME,)) -> (
    HandlerConfig
):  # fmt: skip
    params = ParseDict({"quotas": quotas, "min_deduplication_duration": dedup}, Params())
    types = tuple(InstanceType(name, "quota", {}) for name in instances)
    return HandlerConfig("h", "memquota", params, types)


class Quota:
    """One quota and a clock."""

    def __init__(self, *quotas: dict[str, Any], dedup: str = "1s") -> None:
        self.clock = Clock()
        self.handler = memquota.Memquota(config(*(quotas or (QUOTA,)), dedup=dedup).params,
                                         self.clock)  # fmt: skip
        self.ids = 0

    def ask(
        self, amount: int, best_effort: bool = False, id: str = "", **dimensions: Value
    ) -> QuotaResult:
        self.ids += 1
        instance = Instance(NAME, "quota", {"dimensions": dimensions})
        arguments = QuotaArguments(amount, best_effort, id or f"id{self.ids}")
        return self.handler.quota(instance, arguments)


def test_all_or_nothing() -> None:
    quota = Quota()
    assert quota.ask(7) == QuotaResult(7, timedelta(seconds=2))
    assert quota.ask(4).amount == 0
    assert quota.ask(3).amount == 3
    assert quota.ask(1).amount == 0
    assert quota.ask(1).status.code == 0


def test_best_effort_gets_the_rest() -> None:
    quota = Quota()
    assert quota.ask(7).amount == 7
    assert quota.ask(7, best_effort=True).amount == 3
    assert quota.ask(7, best_effort=True).amount == 0
    assert Quota().ask(12, best_effort=True).amount == 10


@pytest.mark.parametrize(
    ("limit", "duration", "stock", "granted"),
    [
        pytest.param(128, "2s", 9, 1, id="small-limits-are-given-out-one-by-one"),
        pytest.param(1000, "2s", 9, 1 + 999 // 128, id="a-small-part-of-what-is-left"),
        pytest.param(10_000, "2s", 9, 10, id="not-more-than-asked"),
        pytest.param(10_000, "0s", 9, 1, id="none-where-nothing-comes-free-by-itself"),
    ],
)
def test_a_stock_is_a_small_part_of_what_is_left(limit, duration, stock, granted) -> None:
    cell = memquota.Cell(memquota.window_ticks(timedelta(seconds=int(duration[0]))))
    assert cell.allocate(QuotaArguments(1, stock=stock), limit, 0) == granted
    assert cell.used == granted


def test_stocks_get_smaller_and_all_is_granted_in_the_end() -> None:
    cell, granted = memquota.Cell(20), list[int]()
    while amount := cell.allocate(QuotaArguments(1, stock=500), 5000, 0):
        granted.append(amount)
    assert sum(granted) == 5000
    assert granted == sorted(granted, reverse=True)
    assert granted[0] == 40
    assert granted[-127:] == [1] * 127
    assert cell.allocate(QuotaArguments(2, best_effort=True, stock=5), 5000, 0) == 0


def test_amount_zero_is_the_zero_result() -> None:
    assert Quota().ask(0) == QuotaResult()


def test_the_window_rolls() -> None:
    quota = Quota()
    quota.ask(6)
    quota.clock.now += 1
    quota.ask(4)
    quota.clock.now += 1
    assert quota.ask(1).amount == 0
    quota.clock.now += 0.1
    assert quota.ask(7).amount == 0
    assert quota.ask(6).amount == 6
    quota.clock.now += 1
    assert quota.ask(4).amount == 4


def test_a_window_is_whole_seconds() -> None:
    quota = Quota({**QUOTA, "valid_duration": "1.2s"})
    quota.ask(10)
    quota.clock.now += 2
    assert quota.ask(1).amount == 0
    quota.clock.now += 0.11
    assert quota.ask(1).amount == 1


def test_without_duration_amounts_come_back_only_when_released() -> None:
    quota = Quota({**QUOTA, "valid_duration": "0s"})
    assert quota.ask(10) == QuotaResult(10, timedelta())
    quota.clock.now += 1e6
    assert quota.ask(1).amount == 0
    assert quota.ask(-4) == QuotaResult()
    assert quota.ask(5).amount == 0
    assert quota.ask(4).amount == 4


def test_releasing_more_than_is_used_does_not_add_to_the_limit() -> None:
    for duration in ("0s", "2s"):
        quota = Quota({**QUOTA, "valid_duration": duration})
        quota.ask(3)
        quota.ask(-100)
        assert quota.ask(11).amount == 0
        assert quota.ask(10).amount == 10


def test_the_newest_grants_are_released_first() -> None:
    quota = Quota()
    quota.ask(5)
    quota.clock.now += 1
    quota.ask(5)
    quota.ask(-6)
    assert quota.ask(7).amount == 0
    quota.clock.now += 1.1
    assert quota.ask(10).amount == 10


def test_dimensions_are_counted_apart() -> None:
    quota = Quota()
    assert quota.ask(10, user="a").amount == 10
    assert quota.ask(10, user="b").amount == 10
    assert quota.ask(1, user="a").amount == 0


def test_the_key_of_a_cell() -> None:
    assert memquota.cell_key("fqn", {"b": 5, "a": Duration(60 * 10**9)}) == "fqn;a=1m0s;b=5"


@pytest.mark.parametrize(
    ("dimensions", "limit"),
    [
        pytest.param({"user": "ann", "size": 1}, 2, id="first-that-fits"),
        pytest.param({"user": "ann", "size": 5}, 2, id="first-wins"),
        pytest.param({"user": "bob", "size": 5}, 3, id="by-value"),
        pytest.param({"user": "bob"}, 10, id="missing-dimension"),
        pytest.param({"user": "eve", "age": Duration(60 * 10**9)}, 4, id="duration"),
        pytest.param({"user": "eve"}, 10, id="none-fits"),
        pytest.param({"user": "joe", "other": "x"}, 5, id="missing-equals-empty"),
    ],
)
def test_overrides(dimensions: dict[str, Value], limit: int) -> None:
    overrides = [
        {"dimensions": {"user": "ann"}, "max_amount": 2, "valid_duration": "1s"},
        {"dimensions": {"size": "05"}, "max_amount": 3, "valid_duration": "1s"},
        {"dimensions": {"age": "60s"}, "max_amount": 4, "valid_duration": "1s"},
        {"dimensions": {"user": "joe", "none": ""}, "max_amount": 5, "valid_duration": "1s"},
    ]
    quota = Quota({**QUOTA, "overrides": overrides})
    found = quota.ask(100, best_effort=True, **dimensions)
    assert found.amount == limit
    assert found.valid_duration == timedelta(seconds=2 if limit == 10 else 1)


def test_the_same_id_gets_the_same_answer() -> None:
    quota = Quota()
    assert quota.ask(6, id="x").amount == 6
    assert quota.ask(6, id="x").amount == 6
    assert quota.ask(6, id="y").amount == 0
    assert quota.ask(4, id="z").amount == 4


def test_a_release_is_not_repeated_either() -> None:
    quota = Quota()
    quota.ask(10)
    quota.ask(-3, id="x")
    quota.ask(-3, id="x")
    assert quota.ask(4).amount == 0
    assert quota.ask(3).amount == 3


def test_answers_live_one_to_two_periods() -> None:
    quota = Quota({**QUOTA, "max_amount": 100}, dedup="5s")
    quota.ask(60, id="x")
    quota.clock.now += 4.9
    assert quota.ask(60, id="x").amount == 60
    quota.clock.now += 4.9  # now in the older half
    assert quota.ask(60, id="x").amount == 60
    quota.clock.now += 5
    assert quota.ask(70, id="x").amount == 70


def test_answers_are_forgotten_after_a_pause() -> None:
    quota = Quota({**QUOTA, "max_amount": 100}, dedup="5s")
    quota.ask(60, id="x")
    quota.clock.now += 10
    assert quota.ask(70, id="x").amount == 70


def test_without_id_nothing_is_deduplicated() -> None:
    quota = Quota()
    instance = Instance(NAME, "quota", {"dimensions": {}})
    answers = [quota.handler.quota(instance, QuotaArguments(6)).amount for _ in range(2)]
    assert answers == [6, 0]


def test_cells_in_which_nothing_is_used_are_forgotten() -> None:
    quota = Quota()
    for user in range(3000):
        quota.ask(1, user=user)
        quota.clock.now += 0.1
    assert len(quota.handler._cells) < 1200  # noqa: SLF001  memory is what this is about


def test_a_missing_limit_is_a_problem() -> None:
    adapter = memquota.adapter(Clock())
    other = "o.instance.x"
    assert adapter.validate(config(QUOTA, instances=(NAME, other))) == [
        "did not find limit defined for quota o.instance.x"
    ]
    assert adapter.validate(config(QUOTA)) == []
    built = adapter.build(config(QUOTA))
    assert isinstance(built, memquota.Memquota)


def test_problems() -> None:
    override = {"dimensions": {"a": "b"}, "max_amount": -1, "valid_duration": "-1s"}
    problems = memquota.adapter(Clock()).validate(
        config({**QUOTA, "max_amount": -1, "overrides": [override]}, dedup="0s")
    )
    assert problems == [
        "min_deduplication_duration: deduplication window of 0:00:00 is invalid, must be > 0",
        "quotas[0].max_amount: -1 is negative",
        "quotas[0].overrides[0].max_amount: -1 is negative",
        "quotas[0].overrides[0].valid_duration: must not be negative",
    ]
