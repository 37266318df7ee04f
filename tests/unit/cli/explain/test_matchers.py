"""Envoy's matchers, the forms that generated configuration does not have included."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.json_format import ParseDict

from mast.cli.explain.matchers import (
    NotUnderstood,
    header_matches,
    metadata_matches,
    query_matches,
    string_matches,
)
from mast.cli.explain.traffic import Request

REQUEST = Request(
    authority="web.test",
    path="/a?one=1&two&one=2",
    headers=[("x", "1"), ("x", "2"), ("n", "-5"), ("content-type", "application/grpc+proto")],
)
CLAIMS = {"jwt": {"payload": {"groups": ["a", "b"], "name": "eve", "admin": True, "age": 30}}}


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
    ("matcher", "expected"),
    [
        pytest.param({"name": "x"}, True, id="present-by-default"),
        pytest.param({"name": "X", "presentMatch": True}, True, id="present"),
        pytest.param({"name": "y", "presentMatch": False}, True, id="absent"),
        pytest.param({"name": "x", "stringMatch": {"exact": "1,2"}}, True, id="joined"),
        pytest.param(
            {"name": "y", "stringMatch": {"exact": "1"}, "invertMatch": True},
            False,
            id="missing-never-fits",
        ),
        pytest.param(
            {
                "name": "y",
                "stringMatch": {"exact": "1"},
                "invertMatch": True,
                "treatMissingHeaderAsEmpty": True,
            },
            True,
            id="missing-is-empty",
        ),
        pytest.param({"name": "n", "rangeMatch": {"start": -10, "end": 0}}, True, id="range"),
        pytest.param({"name": "x", "rangeMatch": {"start": 0, "end": 9}}, False, id="no-number"),
        pytest.param({"name": ":authority", "exactMatch": "web.test"}, True, id="old-exact"),
        pytest.param({"name": ":path", "prefixMatch": "/a"}, True, id="old-prefix"),
        pytest.param({"name": "host", "suffixMatch": ".test"}, True, id="old-suffix"),
        pytest.param({"name": ":method", "containsMatch": "E"}, True, id="old-contains"),
        pytest.param({"name": ":scheme", "safeRegexMatch": {"regex": "h.*"}}, True, id="old-regex"),
    ],
)
def test_header_matches(matcher: dict[str, Any], expected: bool) -> None:
    assert header_matches(ParseDict(matcher, HeaderMatcher()), REQUEST) is expected


@pytest.mark.parametrize(
    ("matcher", "expected"),
    [
        pytest.param({"name": "one"}, True, id="present-by-default"),
        pytest.param({"name": "two", "stringMatch": {"exact": ""}}, True, id="without-value"),
        pytest.param({"name": "one", "stringMatch": {"exact": "1"}}, True, id="first-value"),
        pytest.param({"name": "six", "presentMatch": False}, True, id="absent"),
        pytest.param({"name": "six", "stringMatch": {"exact": ""}}, False, id="missing"),
    ],
)
def test_query_matches(matcher: dict[str, Any], expected: bool) -> None:
    assert query_matches(ParseDict(matcher, QueryParameterMatcher()), REQUEST) is expected


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
        pytest.param("none", {"nullMatch": {}}, True, id="null"),
        pytest.param("name", {"presentMatch": True}, True, id="present"),
    ],
)
def test_metadata_matches(claim: str, value: dict[str, Any], expected: bool) -> None:
    content = {"filter": "jwt", "path": [{"key": "payload"}, {"key": claim}], "value": value}
    assert metadata_matches(ParseDict(content, MetadataMatcher()), CLAIMS) is expected
    content["invert"] = True
    assert metadata_matches(ParseDict(content, MetadataMatcher()), CLAIMS) is not expected


def test_metadata_without_a_pattern() -> None:
    with pytest.raises(NotUnderstood):
        metadata_matches(MetadataMatcher(filter="jwt"), CLAIMS)


def test_grpc_is_told_by_its_content_type() -> None:
    assert REQUEST.grpc
    assert not Request(authority="a").grpc
