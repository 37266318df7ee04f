"""Results are kept until a fact they were made from changes."""

from collections.abc import Mapping

import pytest

from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.scope.families import Derived, Member
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


class Family:
    """Members whose values are what a dict says, and who was asked to make them."""

    FAMILY = ("services", "web")

    def __init__(self, memo: Memo, **values: object) -> None:
        self.memo = memo
        self.values = values
        self.asked: list[str] = []

    def make(self, name: str, reads: Reads) -> object:
        self.asked.append(name)
        reads.note("service", name)
        if name == "bad":
            reads.report([finding(name)])
        return self.values.get(name)

    def members(self, *names: str, generation: int | None = None) -> Mapping[str, object]:
        """What is made of the members; `asked` tells which of them were made anew."""
        self.asked.clear()
        self.reads = Reads()
        at = self.memo.generation if generation is None else generation
        return self.memo.members(self.FAMILY, names, at, self.reads, self.make)

    def advance(self, *touched: str) -> None:
        self.memo.advance(self.memo.generation + 1, [Fact("service", each) for each in touched])


class TestMembers:
    """Of many results that make one, those are looked at that were forgotten."""

    def test_that_did_not_change_are_the_same_object(self) -> None:
        family = Family(Memo(), a=1, b=2)
        before = family.members("a", "b")
        assert before == {"a": 1, "b": 2}
        family.advance("x")
        assert family.members("a", "b") is before
        assert family.asked == []

    def test_that_changed_are_made_anew(self) -> None:
        family = Family(Memo(), a=1, b=2)
        family.members("a", "b")
        family.values["b"] = 3
        family.advance("b")
        assert family.members("a", "b") == {"a": 1, "b": 3}
        assert family.asked == ["b"]

    def test_may_come_and_go(self) -> None:
        family = Family(Memo(), a=1, b=2, c=3)
        family.members("a", "b")
        family.advance()
        assert family.members("b", "c") == {"b": 2, "c": 3}
        assert family.asked == ["c"]

    def test_are_what_the_whole_depends_on(self) -> None:
        family = Family(Memo(), a=1, b=2)
        for touched in ("b", "x"):
            family.members("a", "b")
            assert family.reads.facts() == {Fact("service", "a"), Fact("service", "b")}
            family.advance(touched)

    def test_bring_findings_to_light_as_long_as_they_last(self) -> None:
        family = Family(Memo(), bad=1, a=1)
        for names, count in ((("a", "bad"), 1), (("a", "bad"), 1), (("a",), 0)):
            family.members(*names)
            assert len(family.reads.findings) == count
            family.advance()

    def test_of_an_older_generation_are_not_mixed_with_newer_ones(self) -> None:
        family = Family(Memo(), a="old")
        before = family.memo.generation
        family.members("a")
        family.advance("a")
        family.values["a"] = "new"
        assert family.members("a") == {"a": "new"}
        family.values["a"] = "old"
        assert family.members("a", generation=before) == {"a": "old"}
        assert family.members("a") == {"a": "new"}


class TestRenewed:
    """Which members may be others than those somebody saw."""

    @staticmethod
    def memo(*names: str) -> Memo:
        memo = Memo()
        for name in names:
            memo.get(Member("kind", "owner", name), 0, None, Recipe(("service", name)))
        return memo

    def test_are_told_since_a_generation(self) -> None:
        memo = self.memo("a", "b", "c")
        memo.advance(1, [Fact("service", "a")])
        memo.advance(2, [Fact("service", "b")])
        family = ("kind", "owner")
        assert memo.renewed(family, 0) == {"a", "b"}
        assert memo.renewed(family, 1) == {"b"}
        assert memo.renewed(family, 2) == set()

    def test_are_unknown_before_anybody_asked(self) -> None:
        assert self.memo().renewed(("kind", "owner"), 0) is None

    def test_are_unknown_after_all_was_forgotten(self) -> None:
        memo = self.memo("a")
        memo.clear()
        assert memo.renewed(("kind", "owner"), 0) is None

    def test_are_not_told_for_ever(self) -> None:
        memo = self.memo()
        for generation in range(12_000):
            key = Member("kind", "owner", "a")
            memo.get(key, generation, None, Recipe(("service", "a")))
            memo.advance(generation + 1, [Fact("service", "a")])
        assert memo.renewed(("kind", "owner"), 0) is None
        assert memo.renewed(("kind", "owner"), 11_990) == {"a"}

    @pytest.mark.parametrize("followed", [True, False])
    def test_stay_known_as_long_as_somebody_follows(self, followed: bool) -> None:
        """Members that are not asked for are not swept: their changes would go unnoticed."""
        memo = self.memo("a")
        for generation in range(1, 4):
            for number in range(2 * Memo.SWEEP_FLOOR):
                memo.get((generation, number), generation - 1, None, Recipe())
            memo.advance(generation, [])
            if followed:
                assert memo.renewed(("kind", "owner"), generation - 1) == set()
        memo.advance(4, [Fact("service", "a")])
        assert memo.renewed(("kind", "owner"), 3) == ({"a"} if followed else None)


class TestDerived:
    """Results that are facts themselves."""

    KEY = Derived("egress", "web")

    @pytest.mark.parametrize("differs", [True, False])
    def test_stand_between_others_and_what_they_were_made_from(self, differs: bool) -> None:
        memo, calls = Memo(), Recipe(("shown", "a"))
        memo.get(self.KEY, 0, None, Recipe(("service", None), value="old"))
        memo.get("user", 0, None, calls)
        memo.advance(1, [Fact("service", "a")])
        assert memo.lost() == [(self.KEY, "old")]
        assert memo.lost() == []
        memo.advance(1, [Fact("shown", "a")] if differs else [])
        memo.get("user", 1, None, calls)
        assert calls.calls == (2 if differs else 1)

    def test_are_never_swept(self) -> None:
        memo = Memo()
        memo.get(self.KEY, 0, None, Recipe(("service", "a")))
        for generation in range(1, 4):
            for number in range(2 * Memo.SWEEP_FLOOR):
                memo.get((generation, number), generation - 1, None, Recipe())
            memo.advance(generation, [])
        memo.advance(4, [Fact("service", "a")])
        assert [key for key, _ in memo.lost()] == [self.KEY]


def test_a_result_can_be_made_from_the_one_before() -> None:
    memo, seen = Memo(), []

    def build(reads: Reads, before: str | None) -> str:
        reads.note("service", "a")
        seen.append(before)
        return f"{before}+"

    for generation in range(2):
        memo.continued("key", generation, None, build)
        memo.advance(generation + 1, [Fact("service", "a")])
    assert seen == [None, "None+"]


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
