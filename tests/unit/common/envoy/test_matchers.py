"""Envoy's matchers of strings and values."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.struct_pb2 import StructMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf.json_format import ParseDict

from mast.common.envoy.matchers import NotUnderstood, string_matches, value_at, value_matches

CLAIMS = {"groups": ["a", "b"], "name": "eve", "admin": True, "age": 30}


@pytest.mark.parametrize(
    ("matcher", "text", "expected"),
    [
        pytest.param({"exact": "a"}, "a", True, id="exact"),
        pytest.param({"exact": "A", "ignoreCase": True}, "a", True, id="ignoring-case"),
        pytest.param({"prefix": "a"}, "ab", True, id="prefix"),
        pytest.param({"suffix": "a"}, "ab", False, id="suffix"),
        pytest.param({"contains": "b"}, "abc", True, id="contains"),
        pytest.param({"safeRegex": {"regex": "a+"}}, "aab", False, id="regex-matches-all"),
    ],
)
def test_string_matches(matcher: dict[str, Any], text: str, expected: bool) -> None:
    assert string_matches(ParseDict(matcher, StringMatcher()), text) is expected


@pytest.mark.parametrize(
    "matcher",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"custom": {"name": "x"}}, id="custom"),
        pytest.param({"safeRegex": {"regex": "("}}, id="regex"),
    ],
)
def test_matchers_that_are_not_understood(matcher: dict[str, Any]) -> None:
    with pytest.raises(NotUnderstood):
        string_matches(ParseDict(matcher, StringMatcher()), "a")


@pytest.mark.parametrize(
    ("claim", "value", "expected"),
    [
        pytest.param("name", {"stringMatch": {"exact": "eve"}}, True, id="text"),
        pytest.param(
            "groups", {"listMatch": {"oneOf": {"stringMatch": {"exact": "b"}}}}, True, id="list"
        ),
        pytest.param(
            "groups",
            {
                "orMatch": {
                    "valueMatchers": [
                        {"stringMatch": {"exact": "b"}},
                        {"listMatch": {"oneOf": {"stringMatch": {"exact": "b"}}}},
                    ]
                }
            },
            True,
            id="either",
        ),
        pytest.param("admin", {"boolMatch": True}, True, id="switch"),
        pytest.param("age", {"doubleMatch": {"exact": 30}}, True, id="number"),
        pytest.param("age", {"doubleMatch": {"range": {"start": 1, "end": 30}}}, False, id="range"),
        pytest.param("name", {"doubleMatch": {"exact": 1}}, False, id="no-number"),
        pytest.param("admin", {"doubleMatch": {"exact": 1}}, False, id="switch-is-no-number"),
        pytest.param("name", {"listMatch": {"oneOf": {"presentMatch": True}}}, False, id="no-list"),
        pytest.param("none", {"nullMatch": {}}, True, id="null"),
        pytest.param("name", {"presentMatch": True}, True, id="present"),
    ],
)
def test_value_matches(claim: str, value: dict[str, Any], expected: bool) -> None:
    assert value_matches(ParseDict(value, ValueMatcher()), CLAIMS.get(claim)) is expected


def test_a_value_without_a_pattern() -> None:
    with pytest.raises(NotUnderstood, match="not null_match, double_match"):
        value_matches(ValueMatcher(), 1)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param([], {"a": {"b": 1}}, id="whole"),
        pytest.param(["a", "b"], 1, id="inside"),
        pytest.param(["a", "b", "c"], None, id="beyond"),
        pytest.param(["x", "y"], None, id="absent"),
    ],
)
def test_value_at(keys: list[str], expected: object) -> None:
    matcher = StructMatcher(path=[StructMatcher.PathSegment(key=key) for key in keys])
    assert value_at({"a": {"b": 1}}, matcher.path) == expected
