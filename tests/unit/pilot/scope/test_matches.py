"""Matches of HTTP routes (pilot.md F, F3)."""

import pytest

from istio.networking.v1alpha3.virtual_service_pb2 import (
    HTTPMatchRequest,
    L4MatchAttributes,
    StringMatch,
)
from mast.pilot.core.scope.matches import (
    Caller,
    applies,
    claim_path,
    matches_anything,
    route_match,
    string_matcher,
)
from tests.support.messages import made, plain, read

CALLER = Caller(port=80, namespace="shop", labels={"app": "web", "version": "v1"})
GATEWAY = Caller(port=80, namespace="istio-system", labels={}, gateways=frozenset({"shop/front"}))


@pytest.mark.parametrize(
    ("match", "caller", "expected"),
    [
        pytest.param("{}", CALLER, True, id="everybody"),
        pytest.param("port: 80", CALLER, True, id="own-port"),
        pytest.param("port: 8080", CALLER, False, id="other-port"),
        pytest.param("sourceLabels: {app: web}", CALLER, True, id="label"),
        pytest.param(
            "sourceLabels: {app: web, version: v2}", CALLER, False, id="one-label-differs"
        ),
        pytest.param("sourceNamespace: shop", CALLER, True, id="namespace"),
        pytest.param("sourceNamespace: other", CALLER, False, id="other-namespace"),
        pytest.param("gateways: [mesh]", CALLER, True, id="mesh"),
        pytest.param("gateways: [shop/front]", CALLER, False, id="gateway-only"),
        pytest.param("gateways: [shop/front, mesh]", GATEWAY, True, id="one-of-the-gateways"),
        pytest.param(
            "{gateways: [mesh], sourceLabels: {app: other}}", CALLER, True, id="labels-ignored"
        ),
        pytest.param("{gateways: [mesh], port: 81}", CALLER, False, id="port-not-ignored"),
    ],
)
def test_applies(match: str, caller: Caller, expected: bool) -> None:
    assert applies(made(HTTPMatchRequest, match), caller) is expected


def test_applies_to_connections_alike() -> None:
    assert applies(made(L4MatchAttributes, "sourceLabels: {app: web}"), CALLER)
    assert not applies(made(L4MatchAttributes, "sourceLabels: {app: x}"), CALLER)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param("{}", "prefix: /", id="none"),
        pytest.param("uri: {}", "prefix: /", id="uri-unset"),
        pytest.param("uri: {prefix: ''}", "prefix: /", id="prefix-empty"),
        pytest.param("uri: {exact: /a}", "path: /a", id="exact"),
        pytest.param("uri: {prefix: /a/}", "prefix: /a/", id="prefix"),
        pytest.param("uri: {regex: '/a+'}", "safe_regex: {regex: '/a+'}", id="regex"),
        pytest.param(
            "{uri: {exact: /a}, ignoreUriCase: true}",
            "{path: /a, case_sensitive: false}",
            id="ignore-case",
        ),
        pytest.param(
            "{method: {exact: GET}, scheme: {exact: https}, authority: {prefix: a}}",
            """
            prefix: /
            headers:
            - {name: ':method', string_match: {exact: GET}}
            - {name: ':authority', string_match: {prefix: a}}
            - {name: ':scheme', string_match: {exact: https}}
            """,
            id="pseudo-headers",
        ),
        pytest.param(
            "{headers: {z: {regex: '*'}, b: {}, a: {exact: '1'}, c: {prefix: ''}}}",
            """
            prefix: /
            headers:
            - {name: a, string_match: {exact: '1'}}
            - {name: b, present_match: true}
            - {name: c, present_match: true}
            - {name: z, present_match: true}
            """,
            id="headers-by-name",
        ),
        pytest.param(
            "{withoutHeaders: {b: {}, a: {exact: '1'}}}",
            """
            prefix: /
            headers:
            - name: a
              string_match: {exact: '1'}
              invert_match: true
              treat_missing_header_as_empty: true
            - {name: b, present_match: true, invert_match: true}
            """,
            id="without-headers",
        ),
        pytest.param(
            "{queryParams: {b: {regex: '*'}, a: {regex: '[0-9]'}}}",
            """
            prefix: /
            query_parameters:
            - {name: a, string_match: {safe_regex: {regex: '[0-9]'}}}
            - {name: b, present_match: true}
            """,
            id="query-parameters",
        ),
        pytest.param(
            """
            headers: {'@request.auth.claims.groups': {exact: a}}
            withoutHeaders: {'@request.auth.claims[x.y][z]': {}}
            """,
            """
            prefix: /
            dynamic_metadata:
            - filter: envoy.filters.http.jwt_authn
              path: [{key: payload}, {key: groups}]
              value:
                or_match:
                  value_matchers:
                  - {string_match: {exact: a}}
                  - {list_match: {one_of: {string_match: {exact: a}}}}
            - filter: envoy.filters.http.jwt_authn
              path: [{key: payload}, {key: x.y}, {key: z}]
              value: {present_match: true}
              invert: true
            """,
            id="claims",
        ),
    ],
)
def test_route_match(match: str, expected: str) -> None:
    assert plain(route_match(made(HTTPMatchRequest, match))) == read(expected)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("prefix: /a", {"path_separated_prefix": "/a"}),
        ("prefix: /a/b/", {"path_separated_prefix": "/a/b"}),
        ("prefix: /", {"prefix": "/"}),
        ("exact: /a", {"path": "/a"}),
    ],
)
def test_prefix_of_whole_segments(uri: str, expected: dict[str, str]) -> None:
    match = HTTPMatchRequest(uri=made(StringMatch, uri))
    assert plain(route_match(match, path_separated=True)) == expected


@pytest.mark.parametrize(
    ("header", "path"),
    [
        ("@request.auth.claims.a", ("a",)),
        ("@request.auth.claims.a.b", ("a", "b")),
        ("@request.auth.claims[a.b]", ("a.b",)),
        ("@request.auth.claims[a][b]", ("a", "b")),
        ("@request.auth.claims", ()),
        ("@request.auth.claims[]", ()),
        ("x-claims", ()),
    ],
)
def test_claim_path(header: str, path: tuple[str, ...]) -> None:
    assert claim_path(header) == path


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{}", True),
        ("regex: '*'", True),
        ("prefix: ''", True),
        ("exact: ''", False),
        ("exact: '*'", False),
        ("prefix: a", False),
        ("regex: a", False),
    ],
)
def test_matches_anything(match: str, expected: bool) -> None:
    assert matches_anything(made(StringMatch, match)) is expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("exact: a", {"exact": "a"}),
        ("prefix: a", {"prefix": "a"}),
        ("regex: a+", {"safe_regex": {"regex": "a+"}}),
    ],
)
def test_string_matcher(match: str, expected: dict[str, object]) -> None:
    assert plain(string_matcher(made(StringMatch, match))) == expected
