"""What of a route match gRPC can look at, and what is decided for it (pilot.md B29)."""

from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import RouteMatch
from google.protobuf.json_format import MessageToDict, ParseDict

from mast.pilot.core.proxyless.matches import matches
from mast.pilot.core.proxyless.unsupported import Unsupported

AUTHORITIES = ("web", "web:80")
PLAIN = {"prefix": "/"}
WITHOUT = {"name": "x", "string_match": {"exact": "1"}, "invert_match": True}


def header(name: str, **fields: Any) -> dict[str, Any]:
    return {"prefix": "/", "headers": [{"name": name, **fields}]}


def made(match: dict[str, Any]) -> list[dict[str, Any]]:
    found = matches(ParseDict(match, RouteMatch()), AUTHORITIES)
    return [MessageToDict(each, preserving_proto_field_name=True) for each in found]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param(PLAIN, [PLAIN], id="prefix"),
        pytest.param({"path": "/a.B/C"}, [{"path": "/a.B/C"}], id="path"),
        pytest.param(
            {"safe_regex": {"regex": "/a.*"}, "case_sensitive": False},
            [{"safe_regex": {"regex": "/a.*"}, "case_sensitive": False}],
            id="regex",
        ),
        pytest.param({"path_separated_prefix": "/a.B"}, [{"prefix": "/a.B/"}], id="segments"),
        pytest.param(
            header("end-user", string_match={"exact": "j"}),
            [header("end-user", string_match={"exact": "j"})],
            id="header",
        ),
        pytest.param(header(":method", string_match={"exact": "POST"}), [PLAIN], id="post"),
        pytest.param(header(":method", string_match={"exact": "GET"}), [], id="get"),
        pytest.param(
            header(":method", string_match={"exact": "GET"}, invert_match=True),
            [PLAIN],
            id="not-get",
        ),
        pytest.param(header(":scheme", present_match=True), [PLAIN], id="any-scheme"),
        pytest.param(
            header(":authority", string_match={"safe_regex": {"regex": "web.*"}}),
            [PLAIN],
            id="every-authority",
        ),
        pytest.param(header(":authority", string_match={"prefix": "other"}), [], id="no-authority"),
        pytest.param(
            {"prefix": "/", "query_parameters": [{"name": "q", "present_match": True}]},
            [],
            id="calls-have-no-query",
        ),
        pytest.param(
            {"prefix": "/", "headers": [{**WITHOUT, "treat_missing_header_as_empty": True}]},
            [
                header("x", present_match=True, invert_match=True),
                {"prefix": "/", "headers": [WITHOUT]},
            ],
            id="absent-or-different",
        ),
        pytest.param(
            header(
                "x",
                string_match={"safe_regex": {"regex": ".*"}},
                invert_match=True,
                treat_missing_header_as_empty=True,
            ),
            [header("x", string_match={"safe_regex": {"regex": ".*"}}, invert_match=True)],
            id="absent-is-excluded-too",
        ),
    ],
)
def test_matches(match: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    assert made(match) == expected


@pytest.mark.parametrize(
    ("match", "problem"),
    [
        pytest.param(
            {"prefix": "/", "dynamic_metadata": [{"filter": "f"}]}, "JWT claims", id="claims"
        ),
        pytest.param(
            header(":authority", string_match={"exact": "web"}), "some authorities", id="authority"
        ),
        pytest.param(header("key-bin", present_match=True), "binary header key-bin", id="binary"),
        pytest.param(
            header(":method", string_match={"safe_regex": {"regex": "\\pL("}}),
            "the expression",
            id="expression",
        ),
        pytest.param(
            {
                "prefix": "/",
                "headers": [
                    {**WITHOUT, "name": f"x{each}", "treat_missing_header_as_empty": True}
                    for each in range(7)
                ],
            },
            "many withoutHeaders",
            id="too-many-alternatives",
        ),
    ],
)
def test_what_cannot_be_said_is_not_guessed(match: dict[str, Any], problem: str) -> None:
    with pytest.raises(Unsupported, match=problem):
        made(match)
