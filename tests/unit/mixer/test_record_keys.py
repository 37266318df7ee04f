"""Keys by which records of a report are grouped."""

from __future__ import annotations

import pytest

from mast.common.expressions.tree import Read
from mast.common.expressions.types import ValueType
from mast.mixer.core.lang.keys import compile_key, hashable
from mast.mixer.core.values import Attributes, Duration, Timestamp

TYPES = {
    "s": ValueType.STRING,
    "i": ValueType.INT64,
    "d": ValueType.DOUBLE,
    "b": ValueType.BOOL,
    "m": ValueType.STRING_MAP,
    "dur": ValueType.DURATION,
}


@pytest.mark.parametrize(
    ("read", "left", "right", "same"),
    [
        pytest.param(Read("s"), {"s": "a"}, {"s": "a"}, True, id="equal"),
        pytest.param(Read("s"), {"s": "a"}, {"s": "b"}, False, id="different"),
        pytest.param(Read("s"), {}, {"s": ""}, False, id="absent-is-not-empty"),
        pytest.param(Read("s"), {"i": 1}, {"i": 2}, True, id="not-read"),
        pytest.param(Read("i"), {"i": 1}, {"i": True}, False, id="int-and-bool"),
        pytest.param(Read("i"), {"i": 1}, {"i": 1.0}, False, id="int-and-float"),
        pytest.param(Read("d"), {"d": 0.0}, {"d": -0.0}, False, id="signed-zero"),
        pytest.param(Read("d"), {"d": float("nan")}, {"d": float("nan")}, True, id="nan"),
        pytest.param(Read("b"), {"b": False}, {}, False, id="false-is-not-absent"),
        pytest.param(Read("dur"), {"dur": Duration(1)}, {"dur": Timestamp(1)}, False, id="times"),
        pytest.param(Read("m", "k"), {"m": {"k": "a"}}, {"m": {"k": "a", "x": "y"}}, True,
                     id="other-keys-do-not-count"),
        pytest.param(Read("m", "k"), {"m": {}}, {}, False, id="absent-key-is-not-absent-map"),
        pytest.param(Read("m", "k"), {"m": {}}, {"m": {"k": ""}}, False, id="empty-entry"),
        pytest.param(Read("m", "k"), {"m": "text"}, {"m": "else"}, False, id="no-map"),
        pytest.param(Read("m"), {"m": {"k": "a"}}, {"m": {"k": "a", "x": "y"}}, False,
                     id="whole-map"),
        pytest.param(Read("unknown"), {"unknown": 1}, {"unknown": 2}, False, id="undeclared"),
    ],
)  # fmt: skip
def test_keys(read: Read, left: Attributes, right: Attributes, same: bool) -> None:
    key = compile_key([read], TYPES)
    assert (key(left.get) == key(right.get)) is same
    assert hash(key(left.get)) == hash(key(dict(left).get))


def test_a_map_read_as_a_whole_needs_no_keys() -> None:
    key = compile_key([Read("m"), Read("m", "k")], TYPES)
    assert key({"m": {"k": "v"}}.get) == ((("k", "v"),),)


def test_values_that_are_not_hashable_can_be_made_so() -> None:
    key = compile_key([Read("s"), Read("i")], TYPES)
    found = key({"s": {"a": "b"}, "i": {"c": "d"}}.get)
    assert hash(tuple(hashable(part) for part in found))
