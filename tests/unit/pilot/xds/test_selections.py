"""Sessions that need the same find the work done."""

import pytest

from mast.pilot.core.xds.resources import CDS, EDS, RDS
from mast.pilot.core.xds.selection import EMPTY_VERSIONS, NOTHING, difference
from mast.pilot.core.xds.selections import Selections
from tests.fakes.pilot_views import FakeMesh, assignment, routes, static_cluster

A, B = assignment("a", [1]), assignment("b", [2])
NEW_A = assignment("a", [9])


def view(*resources):
    mesh = FakeMesh()
    mesh.put(*resources)
    return mesh.view()


def test_names_beside_everything():
    seen = view(static_cluster("a"))
    both = Selections().select(seen, CDS, frozenset("ax"), wildcard=True, stand_ins=NOTHING)
    assert (list(both.resources), both.missing, both.whole) == (["a"], {"x"}, True)
    assert [each.name for each in difference(EMPTY_VERSIONS, both).changed] == ["a"]


class TestSharing:
    """Sessions that need the same find the work done."""

    @staticmethod
    def select(selections, seen, names="", *, wildcard=False, kind=EDS):
        return selections.select(seen, kind, frozenset(names), wildcard=wildcard, stand_ins=NOTHING)

    @pytest.mark.parametrize(
        ("names", "wildcard"),
        [("", True), ("ab", False), ("a", True)],
        ids=["all", "named", "both"],
    )
    def test_of_a_view(self, names, wildcard):
        selections, seen = Selections(), view(A, B)
        one, other = (self.select(selections, seen, names, wildcard=wildcard) for _ in range(2))
        assert one is other

    def test_with_the_view_before_if_nothing_changed(self):
        selections, mesh = Selections(), FakeMesh()
        mesh.put(A, B)
        before = self.select(selections, mesh.view(), "a")
        selections.age()
        mesh.put(assignment("b", [7]))
        assert self.select(selections, mesh.view(), "a") is before
        mesh.put(NEW_A)
        assert self.select(selections, mesh.view(), "a") is not before

    def test_of_differences(self):
        selections, seen = Selections(), view(A)
        wanted = self.select(selections, seen, "a")
        first = selections.difference(EMPTY_VERSIONS, wanted, NOTHING)
        assert selections.difference(EMPTY_VERSIONS, wanted, NOTHING) is first
        assert selections.difference(EMPTY_VERSIONS, wanted, frozenset("a")) is not first
        assert selections.difference({}, wanted, NOTHING) is not first

    def test_of_full_sets_that_keep_something(self):
        selections, seen = Selections(), view(routes("r", "c"))
        wanted = self.select(selections, seen, wildcard=True, kind=RDS)
        before = {"a": A, "b": B}
        kept = selections.retaining(wanted, before, ("a", "unknown"))
        assert set(kept) == {"a", "r"}
        assert selections.retaining(wanted, before, ("a", "unknown")) is kept
