"""Reference tracking (mixer.md A7 to A13)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.mixer.core.bag import TrackedMap, Tracker, merged
from mast.mixer.core.engine import Condition, Reference
from mast.mixer.core.values import Value
from mast.mixer.core.wire import Words, decode, encode_references
from tests.support.mixer_vectors import dictionary, message, values, vectors

EXACT, ABSENCE = Condition.EXACT, Condition.ABSENCE


@pytest.mark.parametrize("case", vectors("referenced"))
def test_conformance_tracking(case: Any) -> None:
    built = message(case["input"]["message"])
    tracker = Tracker(decode(built, Words(built.words, dictionary(case))))
    for access in case["accesses"]:
        if "get" in access:
            tracker.get(access["get"])
        else:
            name, key = access["map_get"]
            found = tracker.get(name)
            assert isinstance(found, TrackedMap)
            found.get(key)
    expected = case["expected"]
    assert {(r.name, r.map_key, r.condition.name) for r in tracker.referenced} == {
        (each["name"], each.get("map_key"), each["condition"]) for each in expected["matches"]
    }
    assert len(tracker.referenced) == expected["count"]
    before = tracker.mark()
    tracker.rewind({})
    assert not tracker.referenced
    tracker.rewind(before)
    assert len(tracker.referenced) == expected["count"]


def test_a_lookup_is_recorded_once_in_the_order_of_the_first() -> None:
    tracker = Tracker({"a": "1"})
    for name in ("b", "a", "b", "a"):
        tracker.get(name)
    assert tracker.referenced == (
        Reference("b", None, ABSENCE),
        Reference("a", None, EXACT),
    )


def test_of_a_map_only_the_keys_are_recorded() -> None:
    tracker = Tracker({"m": {"k": "v"}})
    found = tracker.get("m")
    assert tracker.referenced == ()
    assert isinstance(found, TrackedMap)
    assert (found.get("k"), found.get("x"), found.get("x", ""), found["k"]) == ("v", None, "", "v")
    with pytest.raises(KeyError):
        found["y"]
    assert tracker.referenced == (
        Reference("m", "k", EXACT),
        Reference("m", "x", ABSENCE),
        Reference("m", "y", ABSENCE),
    )


def test_an_absent_map_is_recorded_without_key() -> None:
    tracker = Tracker({})
    assert tracker.get("m") is None
    assert tracker.referenced == (Reference("m", None, ABSENCE),)


def test_a_map_used_as_a_value_depends_on_all_of_its_keys() -> None:
    tracker = Tracker({"m": {"k": "v", "l": "w"}})
    found = tracker.get("m")
    assert isinstance(found, TrackedMap)
    assert len(found) == 2
    assert tracker.referenced == ()
    assert dict(found.items()) == {"k": "v", "l": "w"}
    assert tracker.referenced == (Reference("m", "k", EXACT), Reference("m", "l", EXACT))


def test_generated_attributes_fill_gaps_and_leave_no_record() -> None:
    tracker = Tracker({"sent": "by request"})
    tracker.fill({"sent": "generated", "made": "generated", "labels": {"app": "x"}})
    tracker.fill({"made": "later"})
    assert tracker.get("made") == "generated"
    assert tracker.get("labels") == {"app": "x"}
    assert tracker.referenced == ()
    assert tracker.get("sent") == "by request"
    assert tracker.referenced == (Reference("sent", None, EXACT),)


def test_rewinding_does_not_lose_the_mark() -> None:
    tracker = Tracker({"a": "1"})
    tracker.get("a")
    mark = tracker.mark()
    for _ in range(2):
        tracker.get("b")
        assert len(tracker.referenced) == 2
        tracker.rewind(mark)
        assert tracker.referenced == (Reference("a", None, EXACT),)


def test_conformance_merge() -> None:
    (case,) = [p.values[0] for p in vectors("bag_ops") if p.id == "bag-02"]
    sets = [(op["bag"], op["name"], op["value"]) for op in case["ops"] if op["op"] == "set"]
    bags: dict[str, dict[str, Value]] = {}
    for bag, name, described in sets:
        bags.setdefault(bag, {}).update(values({name: described}))
    merges = [op["from"] for op in case["ops"] if op["op"] == "merge"]
    (expected,) = [op["values"] for op in case["ops"] if op["op"] == "expect"]
    assert merged([bags["mb"], *(bags[each] for each in merges)]) == values(expected)


def test_references_travel_by_index() -> None:
    tracker = Tracker({"request.headers": {"cookie": "x"}})
    found = tracker.get("request.headers")
    assert isinstance(found, TrackedMap)
    found.get("cookie")
    (match,) = encode_references(tracker.referenced, 222).attribute_matches
    assert (match.name, match.map_key) == (15, 59)
