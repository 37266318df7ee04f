"""Reference tracking (mixer.md A7 to A13)."""

from __future__ import annotations

from typing import Any

import pytest

from mast.mixer.core.bag import TrackedMap, Tracker, merged
from mast.mixer.core.engine import Condition, Reference
from mast.mixer.core.values import Value
from mast.mixer.core.wire import Words, decode, encode, encode_references, update
from tests.support.mixer_vectors import dictionary, message, values, vectors

EXACT, ABSENCE = Condition.EXACT, Condition.ABSENCE


@pytest.mark.parametrize("case", vectors("referenced"))
def test_conformance_tracking(case: Any) -> None:
    """A7, A12: what was read is recorded, forgotten and back."""
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
    """A7: found is EXACT, not found ABSENCE."""
    tracker = Tracker({"a": "1"})
    for name in ("b", "a", "b", "a"):
        tracker.get(name)
    assert tracker.referenced == (
        Reference("b", None, ABSENCE),
        Reference("a", None, EXACT),
    )


def test_of_a_map_only_the_keys_are_recorded() -> None:
    """A7: each key that was read, there or not."""
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
    """A7: its absence says all."""
    tracker = Tracker({})
    assert tracker.get("m") is None
    assert tracker.referenced == (Reference("m", None, ABSENCE),)


def test_a_map_used_as_a_value_depends_on_all_of_its_keys() -> None:
    """A10: each of them, and that it was the whole map."""
    tracker = Tracker({"m": {"k": "v", "l": "w"}})
    found = tracker.get("m")
    assert isinstance(found, TrackedMap)
    assert len(found) == 2
    assert tracker.referenced == ()
    assert tracker.whole == set()
    assert dict(found.items()) == {"k": "v", "l": "w"}
    assert tracker.referenced == (Reference("m", "k", EXACT), Reference("m", "l", EXACT))
    assert tracker.whole == {"m"}


def test_generated_attributes_fill_gaps_and_leave_no_record() -> None:
    """A8, A13: what was sent stays and is recorded."""
    tracker = Tracker({"sent": "by request"})
    tracker.fill({"sent": "generated", "made": "generated", "labels": {"app": "x"}})
    tracker.fill({"made": "later"})
    assert tracker.get("made") == "generated"
    assert tracker.get("labels") == {"app": "x"}
    assert tracker.referenced == ()
    assert tracker.get("sent") == "by request"
    assert tracker.referenced == (Reference("sent", None, EXACT),)


def test_rewinding_does_not_lose_the_mark() -> None:
    """A12: every quota begins at the same record."""
    tracker = Tracker({"a": "1"})
    tracker.get("a")
    mark = tracker.mark()
    for _ in range(2):
        tracker.get("b")
        assert len(tracker.referenced) == 2
        tracker.rewind(mark)
        assert tracker.referenced == (Reference("a", None, EXACT),)


NO_SUCH_OPERATION = {"bag-03", "bag-04"}
"""Bags lose nothing here: requests are read only, deltas cannot delete (B2)."""


@pytest.mark.parametrize(
    "case", [each for each in vectors("bag_ops") if each.id not in NO_SUCH_OPERATION]
)
def test_conformance_bags(case: Any) -> None:
    """A bag is a mapping; later values go over earlier ones as in deltas, merged ones do not (A13).

    A child is an overlay, a copy goes over the wire.
    """
    bags: dict[str, dict[str, Value]] = {}
    for op in case["ops"]:
        name = op["bag"]
        match op["op"]:
            case "new":
                bags[name] = {}
            case "child":
                bags[name] = {}
                bags[f"parent of {name}"] = bags[op["parent"]]
            case "decode":
                built = message(op["message"])
                bags[name] = decode(built, Words(built.words, op["global_words"]))
            case "set":
                bags[name] = updated(bags[name], {op["name"]: op["value"]})
            case "set_many":
                bags[name] = updated(bags[name], op["values"])
            case "merge":
                bags[name] = merged([bags[name], bags[op["from"]]])
            case "copy":
                sent = encode(bags[op["from"]])
                bags[name] = decode(sent, Words(sent.words))
            case "expect":
                tracker = Tracker({**bags.get(f"parent of {name}", {}), **bags[name]})
                for attribute, wanted in values(op["values"]).items():
                    assert tracker.get(attribute) == wanted
                assert all(tracker.get(each) is None for each in op.get("missing", ()))
            case "expect_names":
                assert sorted(bags[name]) == op["names"]
            case other:
                raise AssertionError(other)


def updated(bag: dict[str, Value], described: Any) -> dict[str, Value]:
    sent = encode(values(described))
    return update(bag, sent, Words(sent.words))


def test_references_travel_by_index() -> None:
    """A11: of the global list where there is one."""
    tracker = Tracker({"request.headers": {"cookie": "x"}})
    found = tracker.get("request.headers")
    assert isinstance(found, TrackedMap)
    found.get("cookie")
    (match,) = encode_references(tracker.referenced, 222).attribute_matches
    assert (match.name, match.map_key) == (15, 59)
