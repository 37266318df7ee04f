"""No window ever holds more than the limit (mixer.md G.1, J3; checklist 20)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mast.mixer.adapters.memquota import Memquota
from mast.mixer.core.adapter import Instance, QuotaArguments
from tests.support.mixer_config import Clock
from tests.unit.mixer.test_memquota import NAME, config

asks = st.lists(
    st.tuples(
        st.floats(0, 1.5),  # seconds since the ask before
        st.integers(1, 8),  # amount
        st.booleans(),  # best effort
        st.integers(0, 30),  # id: some are repeated
    ),
    max_size=60,
)


@given(st.integers(1, 3), st.integers(1, 12), asks)
def test_every_window_keeps_the_limit(
    seconds: int, limit: int, load: list[tuple[float, int, bool, int]]
) -> None:
    clock = Clock()
    quota = {"name": NAME, "max_amount": limit, "valid_duration": f"{seconds}s"}
    handler = Memquota(config(quota, dedup="1s").params, clock)
    granted: list[tuple[float, int]] = []
    answered: dict[int, int] = {}
    for pause, amount, best_effort, id in load:
        clock.now += pause
        arguments = QuotaArguments(amount, best_effort, str(id), stock=id)
        before = handler._answers.find(NAME, str(id), clock.now)  # noqa: SLF001
        found = handler.quota(Instance(NAME, "quota", {"dimensions": {}}), arguments).amount
        if before is not None:
            assert found == answered[id]
            continue
        assert 0 <= found <= amount
        assert found in {0, amount} or best_effort
        answered[id] = found
        granted.append((clock.now, found))
    for start, _ in granted:
        inside = sum(each for at, each in granted if start <= at < start + seconds)
        assert inside <= limit


@given(asks)
def test_after_a_pause_everything_is_there_again(
    load: list[tuple[float, int, bool, int]],
) -> None:
    clock = Clock()
    handler = Memquota(
        config({"name": NAME, "max_amount": 10, "valid_duration": "2s"}).params, clock
    )
    instance = Instance(NAME, "quota", {"dimensions": {}})
    for pause, amount, best_effort, _ in load:
        clock.now += pause
        handler.quota(instance, QuotaArguments(amount, best_effort))
    clock.now += 2.2
    assert handler.quota(instance, QuotaArguments(10)).amount == 10
