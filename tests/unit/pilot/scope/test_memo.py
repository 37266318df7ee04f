"""Results are kept until a fact they were made from changes."""

import pytest

from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.scope.memo import Fact, Memo, Reads


class Recipe:
    """A function with dependencies, which counts how often it is called."""

    def __init__(self, *facts: tuple[str, str | None], value: object = "value") -> None:
        self.facts = facts
        self.value = value
        self.calls = 0

    def __call__(self, reads: Reads) -> object:
        self.calls += 1
        for fact in self.facts:
            reads.note(*fact)
        return self.value


@pytest.mark.parametrize(
    ("read", "touched", "forgotten"),
    [
        pytest.param(("service", "a"), Fact("service", "a"), True, id="same"),
        pytest.param(("service", "a"), Fact("service", "b"), False, id="other-name"),
        pytest.param(("service", "a"), Fact("port", "a"), False, id="other-kind"),
        pytest.param(("service", None), Fact("service", "b"), True, id="reads-whole-kind"),
        pytest.param(("service", "a"), Fact("service"), True, id="whole-kind-touched"),
    ],
)
def test_advance(read: tuple[str, str | None], touched: Fact, forgotten: bool) -> None:
    memo, recipe = Memo(), Recipe(read)
    memo.get("key", 0, None, recipe)
    memo.advance(1, [touched])
    memo.get("key", 1, None, recipe)
    assert recipe.calls == (2 if forgotten else 1)


def test_many_facts_of_a_kind_count_as_the_whole_kind() -> None:
    reads = Reads()
    for number in range(Reads.LIMIT + 1):
        reads.note("service", number)
        reads.note("port", 1)
    assert reads.facts() == {Fact("service"), Fact("port", 1)}


def test_a_result_depends_on_what_its_parts_depend_on() -> None:
    memo, inner, outer_calls = Memo(), Recipe(("service", "a"), ("port", None)), []

    def outer(reads: Reads) -> object:
        outer_calls.append(1)
        return memo.get("inner", memo.generation, reads, inner)

    memo.get("inner", 0, None, inner)
    memo.get("outer", 0, None, outer)
    memo.advance(1, [Fact("service", "a")])
    memo.get("outer", 1, None, outer)
    assert len(outer_calls) == 2
    assert inner.calls == 2


def test_an_equal_result_is_the_same_object() -> None:
    memo = Memo()
    first = memo.get("key", 0, None, Recipe(("service", "a"), value=["x"]))
    memo.advance(1, [Fact("service", "a")])
    assert memo.get("key", 1, None, Recipe(("service", "a"), value=["x"])) is first
    memo.advance(2, [Fact("service", "a")])
    assert memo.get("key", 2, None, Recipe(("service", "a"), value=["y"])) == ["y"]
    memo.advance(3, [Fact("service", "a")])
    assert memo.get("key", 3, None, Recipe(("service", "a"), value=("y",))) == ("y",)


def test_who_is_late_neither_gets_nor_leaves_newer_results() -> None:
    memo = Memo()
    memo.advance(1, [])
    memo.get("key", 1, None, Recipe(value="new"))
    late = Recipe(value="old")
    assert memo.get("key", 0, None, late) == "old"
    assert memo.get("other", 0, None, late) == "old"
    assert memo.get("key", 1, None, Recipe(value="x")) == "new"
    assert memo.get("other", 1, None, Recipe(value="fresh")) == "fresh"


def test_who_is_late_shares_what_has_not_changed_since() -> None:
    memo, recipe = Memo(), Recipe(("service", "a"))
    memo.get("key", 0, None, recipe)
    memo.advance(1, [Fact("service", "b")])
    memo.get("key", 0, None, recipe)
    assert recipe.calls == 1


def test_what_nobody_asks_for_goes() -> None:
    memo = Memo()
    for generation in range(3):
        for number in range(Memo.SWEEP_FLOOR):
            memo.get((generation, number), generation, None, Recipe(("service", str(number))))
        memo.get("asked", generation, None, Recipe(("service", "x")))
        memo.advance(generation + 1, [])
    assert len(memo) < 3 * Memo.SWEEP_FLOOR
    kept = Recipe()
    memo.get("asked", 3, None, kept)
    assert kept.calls == 0
    memo.advance(4, [Fact("service", "x")])
    memo.get("asked", 4, None, kept)
    assert kept.calls == 1


def anybody(key: object) -> bool:
    """Everything concerns somebody."""
    del key
    return True


def finding(key: str) -> Finding:
    return Finding(fault=Fault.NO_INSTANCES, key=key, message="There is nothing.")


class TestFindings:
    """What comes to light while results are made lives as long as they do."""

    @staticmethod
    def part(memo: Memo, generation: int, reads: Reads | None, *keys: str) -> object:
        def build(own: Reads) -> object:
            own.note("service", "a")
            own.report(map(finding, keys))
            return keys

        return memo.get("part", generation, reads, build)

    def whole(self, memo: Memo, generation: int, *keys: str) -> None:
        memo.get("whole", generation, None, lambda reads: self.part(memo, generation, reads, *keys))

    def test_of_parts_are_those_of_the_whole(self) -> None:
        memo = Memo()
        self.whole(memo, 0, "x", "y")
        self.whole(memo, 0, "ignored: the result is kept")
        assert memo.findings(anybody) == {finding("x"), finding("y")}

    def test_concern_somebody(self) -> None:
        memo = Memo()
        self.whole(memo, 0, "x")
        assert memo.findings(lambda key: key == "whole") == {finding("x")}
        assert memo.findings(lambda key: key != "whole") == set()

    def test_are_forgotten_with_the_result(self) -> None:
        memo = Memo()
        self.whole(memo, 0, "x")
        memo.advance(1, [Fact("service", "b")])
        assert memo.findings(anybody) == {finding("x")}
        memo.advance(2, [Fact("service", "a")])
        assert memo.findings(anybody) == set()
        self.whole(memo, 2, "y")
        assert memo.findings(anybody) == {finding("y")}

    def test_of_a_part_that_nobody_uses_any_more_do_not_count(self) -> None:
        memo = Memo()
        self.part(memo, 0, Reads(), "x")
        assert memo.findings(anybody) == set()

    def test_who_is_late_leaves_none_behind(self) -> None:
        memo = Memo()
        memo.advance(1, [])
        self.whole(memo, 0, "x")
        assert memo.findings(anybody) == set()

    def test_are_swept_with_results_nobody_asks_for(self) -> None:
        memo = Memo()
        self.whole(memo, 0, "x")
        for number in range(2 * Memo.SWEEP_FLOOR):
            memo.get(number, 0, None, lambda reads: None)
        memo.advance(1, [])
        memo.get("used", 1, None, lambda reads: None)
        for number in range(4 * Memo.SWEEP_FLOOR):
            memo.get((1, number), 1, None, lambda reads: None)
        memo.advance(2, [])
        memo.advance(3, [])
        assert memo.findings(anybody) == set()


def test_results_are_counted_by_what_they_are() -> None:
    memo = Memo()
    for key in (
        ("routes", "80"),
        (("scope", "key"), ("routes", 9)),
        (("scope", "key"), "services"),
    ):
        memo.get(key, 0, None, lambda reads: None)
    assert memo.sizes() == {"routes": 2, "services": 1}


def test_a_cleared_memo_makes_everything_again() -> None:
    memo, recipe = Memo(), Recipe(("service", "a"), value=["x"])
    first = memo.get("key", 0, None, recipe)
    memo.clear()
    assert len(memo) == 0
    assert memo.get("key", 0, None, recipe) is first
    assert recipe.calls == 2
