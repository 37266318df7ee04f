"""What a subscription should hold, and how that differs from what it holds."""

import pytest

from mast.pilot.core.xds.resources import CDS, EDS, RDS, SDS
from mast.pilot.core.xds.selection import (
    DOUBTFUL,
    GONE,
    NOTHING,
    Layer,
    Selection,
    Versions,
    difference,
    named,
    whole,
)
from tests.fakes.pilot_views import FakeMesh, assignment, eds_cluster

A, B = assignment("a", [1]), assignment("b", [2])
NEW_A = assignment("a", [9])


def view(*resources):
    mesh = FakeMesh()
    mesh.put(*resources)
    return mesh.view()


def chosen(seen, type_url, names, stand_ins=NOTHING):
    return Selection((named(seen, type_url, frozenset(names), stand_ins),))


@pytest.mark.parametrize(
    ("held", "names", "changed", "obsolete", "absent", "adds"),
    [
        pytest.param({}, "ab", "ab", "", "", True, id="nothing-held"),
        pytest.param({"a": A.version, "b": B.version}, "ab", "", "", "", False, id="all-held"),
        pytest.param({"a": "old", "b": B.version}, "ab", "a", "", "", False, id="one-changed"),
        pytest.param({"a": DOUBTFUL}, "a", "a", "", "", False, id="doubtful-is-sent"),
        pytest.param({"a": GONE}, "a", "a", "", "", True, id="it-came-to-exist"),
        pytest.param({}, "x", "", "", "x", False, id="unknown"),
        pytest.param({"x": GONE}, "x", "", "", "", False, id="known-not-to-exist"),
        pytest.param({"x": "1"}, "x", "", "x", "", False, id="it-vanished"),
        pytest.param({"x": "1"}, "a", "a", "", "", True, id="others-do-not-matter"),
    ],
)
def test_named_resources(held, names, changed, obsolete, absent, adds):
    found = difference(held, chosen(view(A, B), EDS, names))
    assert "".join(each.name for each in found.changed) == changed
    assert ("".join(found.obsolete), "".join(found.absent)) == (obsolete, absent)
    assert found.adds is adds
    assert found.removed == tuple(sorted(obsolete + absent))


@pytest.mark.parametrize(
    ("held", "changed", "obsolete"),
    [
        pytest.param({}, "ab", "", id="nothing-held"),
        pytest.param({"a": A.version, "b": B.version, "x": "1"}, "", "x", id="one-too-many"),
        pytest.param({"x": DOUBTFUL}, "ab", "x", id="perhaps-one-too-many"),
        pytest.param({"x": GONE}, "ab", "", id="removed-already"),
    ],
)
def test_everything(held, changed, obsolete):
    found = difference(held, whole(view(A, B).collection(EDS).resources))
    assert "".join(each.name for each in found.changed) == changed
    assert "".join(found.obsolete) == obsolete


def test_forced_names_are_sent_unchanged():
    wanted = chosen(view(A, B), EDS, "abx")
    found = difference(wanted.versions, wanted, frozenset("ax"))
    assert [each.name for each in found.changed] == ["a"]
    assert found.removed == ("x",)


def test_kept_is_what_a_client_has_that_was_not_told_what_to_forget():
    wanted = chosen(view(A), EDS, "axy")
    found = difference({"x": "1"}, wanted)
    assert found.kept == {"a": A.version, "x": "1", "y": GONE}
    assert difference(found.kept, wanted).obsolete == ("x",)
    assert wanted.versions == {"a": A.version, "x": GONE, "y": GONE}


def test_a_stand_in_is_sent_to_who_waits_and_not_to_who_has_something():
    wanted = chosen(view(), RDS, "r", frozenset({RDS}))
    assert wanted.missing == NOTHING
    assert [each.name for each in difference({}, wanted).changed] == ["r"]
    assert difference({"r": "old"}, wanted).changed == ()
    assert difference({"r": "old"}, wanted, frozenset("r")).changed != ()


def test_types_without_a_stand_in_are_missing():
    assert chosen(view(), SDS, "s", frozenset({SDS})).missing == {"s"}


class TestLayers:
    """Clusters that everybody calls are one layer, own ones another."""

    COMMON = Layer({"a": A, "b": B})
    NEWER = Layer({"a": NEW_A, "b": B})

    def test_what_is_alike_is_not_looked_at(self):
        one = Selection((self.COMMON, Layer({"x": assignment("x")})), whole=True)
        other = Selection((self.NEWER, one.layers[1]), whole=True)
        found = difference(one.versions, other)
        assert (found.changed, found.removed, found.adds) == ((NEW_A,), (), False)

    @pytest.mark.parametrize(
        "held",
        [
            pytest.param(Versions([{"b": B.version}, {"a": A.version}]), id="in-other-layers"),
            pytest.param(Versions([{"a": A.version, "b": B.version}]), id="in-one-layer"),
            pytest.param({"a": A.version, "b": B.version}, id="in-none"),
        ],
    )
    def test_where_a_client_has_it_makes_no_difference_in_the_end(self, held):
        wanted = Selection((Layer({"a": A}), Layer({"b": B})), whole=True)
        found = difference(held, wanted)
        assert found.removed == ()
        assert {each.name for each in found.changed} <= {"a", "b"}
        assert found.kept == {"a": A.version, "b": B.version}

    def test_a_layer_that_is_gone_is_forgotten(self):
        one = Selection((self.COMMON, Layer({"x": assignment("x")})), whole=True)
        assert difference(one.versions, Selection((self.COMMON,), whole=True)).removed == ("x",)


class TestRenewal:
    """A layer made from another one is compared by what changed only."""

    @staticmethod
    def renewed(old, names, *resources):
        return old.renewed(frozenset(names), named(view(*resources), EDS, set(names), NOTHING))

    def test_of_nothing(self):
        old = named(view(A, B), EDS, frozenset("abx"), NOTHING)
        assert self.renewed(old, "ax", A, B) is old

    @pytest.mark.parametrize(
        ("names", "resources", "changed", "removed"),
        [
            pytest.param("a", [NEW_A, B], "a", "", id="changed"),
            pytest.param("b", [A], "", "b", id="gone"),
            pytest.param("x", [A, B, assignment("x")], "x", "", id="new"),
        ],
    )
    def test_equals_what_is_made_from_nothing(self, names, resources, changed, removed):
        old = named(view(A, B), EDS, frozenset("abx"), NOTHING)
        new = self.renewed(old, names, *resources)
        fresh = named(view(*resources), EDS, frozenset("abx"), NOTHING)
        assert new.same_as(fresh)
        assert list(new.resources) == sorted(new.resources)
        assert new.versions == fresh.versions
        found = difference(Versions([old.versions]), Selection((new,)))
        assert "".join(each.name for each in found.changed) == changed
        assert "".join(found.removed) == removed


def test_required_names_are_those_of_what_changed():
    first, second = eds_cluster("a"), eds_cluster("b")
    wanted = whole(view(first, second).collection(CDS).resources)
    assert wanted.requires == {"a", "b"}
    assert difference({"a": first.version}, wanted).requires == {"b"}
