"""Envoy's matchers, the forms that generated configuration does not have included."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from google.protobuf.json_format import ParseDict

from mast.cli.explain.matchers import (
    header_matches,
    metadata_matches,
    query_matches,
)
from mast.cli.explain.traffic import Request

REQUEST = Request(
    authority="web.test",
    path="/a?one=1&two&one=2",
    headers=[("x", "1"), ("x", "2"), ("n", "-5"), ("content-type", "application/grpc+proto")],
)
CLAIMS = {"jwt": {"payload": {"name": "eve"}}}


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


def test_metadata_matches() -> None:
    wanted = {"stringMatch": {"exact": "eve"}}
    content = {"filter": "jwt", "path": [{"key": "payload"}, {"key": "name"}], "value": wanted}
    assert metadata_matches(ParseDict(content, MetadataMatcher()), CLAIMS)
    assert not metadata_matches(ParseDict(content, MetadataMatcher()), {})
    assert not metadata_matches(ParseDict({**content, "invert": True}, MetadataMatcher()), CLAIMS)


def test_grpc_is_told_by_its_content_type() -> None:
    assert REQUEST.grpc
    assert not Request(authority="a").grpc
