"""Actions of HTTP routes (pilot.md F, second table)."""

import pytest
from envoy.config.route.v3.route_components_pb2 import Route, RouteMatch
from google.protobuf.struct_pb2 import Struct

from istio.networking.v1alpha3.destination_rule_pb2 import LoadBalancerSettings
from istio.networking.v1alpha3.virtual_service_pb2 import (
    Destination,
    HTTPDirectResponse,
    HTTPRedirect,
    HTTPRetry,
    HTTPRoute,
)
from mast.pilot.core.filters.extensions import Additions
from mast.pilot.core.filters.header_operations import ADD, HeaderMutations, header_addition
from mast.pilot.core.packing import packed
from mast.pilot.core.routes.route_actions import (
    Backend,
    Setting,
    direct_response,
    forwarding,
    hash_policy,
    redirect,
    set_action,
)
from tests.support.messages import made, plain, read

MESH = Additions(
    typed_per_filter_config={"mesh": packed(Struct())},
    mutations=HeaderMutations(request_add=(header_addition("x-mesh", "1", ADD),)),
    metadata={"mesh": Struct()},
)


def backend(destination: Destination) -> Backend:
    consistent = None
    if destination.subset:
        consistent = made(LoadBalancerSettings.ConsistentHashLB, "httpHeaderName: x-user")
    additions = MESH if destination.host == "meshed" else Additions()
    return Backend(
        cluster=f"{destination.host}.{destination.subset}", hash=consistent, additions=additions
    )


def setting(**more: object) -> Setting:
    return Setting(port=8080, backend=backend, retry=HTTPRetry(), **more)


def action(http: str, match: RouteMatch | None = None, **more: object) -> Route:
    route = Route(match=match or RouteMatch(prefix="/a"))
    set_action(route, made(HTTPRoute, http), setting(**more))
    route.ClearField("match")
    return route


@pytest.mark.parametrize(
    ("match", "text", "expected"),
    [
        pytest.param(RouteMatch(prefix="/a"), "/", {"prefix_rewrite": "/"}, id="prefix"),
        pytest.param(RouteMatch(prefix="/a"), "/b/", {"prefix_rewrite": "/b/"}, id="prefix-slash"),
        pytest.param(RouteMatch(path_separated_prefix="/a"), "/b", {"prefix_rewrite": "/b"},
                     id="segments"),
        pytest.param(RouteMatch(path_separated_prefix="/a"), "/b/", {"prefix_rewrite": "/b"},
                     id="segments-slash"),
        pytest.param(RouteMatch(path_separated_prefix="/a.b"), "/",
                     {"regex_rewrite": {"pattern": {"regex": r"^/a\.b/?(.*)$"},
                                        "substitution": r"/\1"}}, id="segments-removed"),
    ],
)  # fmt: skip
def test_prefixes_are_replaced(match: RouteMatch, text: str, expected: dict[str, object]) -> None:
    rewritten = Route(match=match)
    destinations = "route: [{destination: {host: a}}]"
    route = made(HTTPRoute, f"{{rewrite: {{uri: {text}}}, {destinations}}}")
    set_action(rewritten, route, setting())
    redirected = redirect(HTTPRedirect(prefix_rewrite=text), setting(), match)
    fields = ("prefix_rewrite", "regex_rewrite")
    for each in (rewritten.route, redirected):
        assert {k: v for k, v in plain(each).items() if k in fields} == expected


NO_TIMEOUT = "timeout: 0s, max_stream_duration: {grpc_timeout_header_max: 0s}"


@pytest.mark.parametrize(
    ("http", "expected"),
    [
        pytest.param(
            "route: [{destination: {host: a}}]",
            f"route: {{cluster: a., {NO_TIMEOUT}}}",
            id="one",
        ),
        pytest.param(
            "route: [{destination: {host: a}, weight: 0}]",
            f"route: {{cluster: a., {NO_TIMEOUT}}}",
            id="a-single-one-needs-no-weight",
        ),
        pytest.param(
            """
            route:
            - {destination: {host: a}, weight: 30}
            - {destination: {host: b}, weight: 70}
            - {destination: {host: c}, weight: 0}
            """,
            f"""
            route:
              weighted_clusters: {{clusters: [{{name: a., weight: 30}}, {{name: b., weight: 70}}]}}
              {NO_TIMEOUT.replace(", max", chr(10) + " " * 14 + "max")}
            """,
            id="weights-without-zero",
        ),
        pytest.param(
            "route: [{destination: {host: a}, weight: 5}, {destination: {host: b}}]",
            f"route: {{cluster: a., {NO_TIMEOUT}}}",
            id="one-is-left",
        ),
        pytest.param(
            "route: [{destination: {host: a}}, {destination: {host: b}}]",
            "direct_response: {status: 500}",
            id="nobody-has-weight",
        ),
        pytest.param("rewrite: {uri: /b}", "direct_response: {status: 500}", id="no-destination"),
        pytest.param(
            "{route: [{destination: {host: a}}], timeout: 3s}",
            "route: {cluster: a., timeout: 3s}",
            id="timeout-stands-alone",
        ),
        pytest.param(
            "{route: [{destination: {host: a}}], timeout: 0s}",
            f"route: {{cluster: a., {NO_TIMEOUT}}}",
            id="timeout-zero-is-none",
        ),
        pytest.param(
            "{redirect: {uri: /x}, headers: {response: {remove: [a]}}}",
            """
            redirect: {path_redirect: /x}
            response_headers_to_remove: [a]
            """,
            id="redirect-with-headers",
        ),
        pytest.param(
            "{directResponse: {status: 404}, headers: {response: {remove: [a]}}}",
            """
            direct_response: {status: 404}
            response_headers_to_remove: [a]
            """,
            id="direct-response-with-headers",
        ),
    ],
)
def test_action(http: str, expected: str) -> None:
    assert plain(action(http)) == read(expected)


@pytest.mark.parametrize(
    ("http", "host", "weights"),
    [
        ("{route: [R], headers: {request: {set: {host: route}}}}", "route", []),
        (
            "{route: [R], rewrite: {authority: rewrite}, headers: {request: {set: {host: route}}}}",
            "rewrite",
            [],
        ),
        ("{route: [D], rewrite: {authority: rewrite}}", "destination", []),
        ("{route: [R, D], rewrite: {authority: rewrite}}", "rewrite", ["", "destination"]),
        ("{route: [R]}", "", []),
    ],
    ids=["headers", "rewrite-wins", "destination-wins", "destination-of-several", "kept"],
)
def test_host_rewrite(http: str, host: str, weights: list[str]) -> None:
    own = "{destination: {host: b}, weight: 1, headers: {request: {set: {host: destination}}}}"
    text = http.replace("[R", "[{destination: {host: a}, weight: 1}").replace("D]", f"{own}]")
    route = action(text).route
    assert route.host_rewrite_literal == host
    assert [each.host_rewrite_literal for each in route.weighted_clusters.clusters] == weights


def test_header_operations_of_route_then_destination() -> None:
    """Those of the route stand in each of several destinations (see test_routes_envoy)."""
    http = """
    headers: {request: {set: {a: route}, remove: [r]}}
    route:
    - {destination: {host: meshed}, weight: 1, headers: {request: {set: {a: own}, remove: [d]}}}
    - {destination: {host: b}, weight: 1}
    """
    route = action(http)
    assert not route.request_headers_to_add
    first, second = route.route.weighted_clusters.clusters
    assert [(each.header.key, each.header.value) for each in first.request_headers_to_add] == [
        ("a", "route"),
        ("a", "own"),
        ("x-mesh", "1"),
    ]
    assert list(first.request_headers_to_remove) == ["r", "d"]
    assert [each.header.value for each in second.request_headers_to_add] == ["route"]
    assert set(first.typed_per_filter_config) == {"mesh"}
    assert set(route.metadata.filter_metadata) == {"mesh"}


def test_additions_of_a_single_destination() -> None:
    route = action("route: [{destination: {host: meshed}}]")
    assert set(route.typed_per_filter_config) == {"mesh"}
    assert [each.header.key for each in route.request_headers_to_add] == ["x-mesh"]
    assert set(route.metadata.filter_metadata) == {"mesh"}


@pytest.mark.parametrize(
    ("redirection", "expected"),
    [
        ("{}", "{}"),
        (
            "{uri: /u, authority: a, scheme: https}",
            "{path_redirect: /u, host_redirect: a, scheme_redirect: https}",
        ),
        ("{port: 8443, scheme: https}", "{port_redirect: 8443, scheme_redirect: https}"),
        ("{port: 443, scheme: https}", "{scheme_redirect: https}"),
        ("{port: 80, scheme: https}", "{port_redirect: 80, scheme_redirect: https}"),
        ("{port: 80}", "{}"),
        ("{derivePort: FROM_PROTOCOL_DEFAULT}", "{}"),
        ("{derivePort: FROM_REQUEST_PORT}", "{port_redirect: 8080}"),
        ("{redirectCode: 301}", "{}"),
        ("{redirectCode: 302}", "{response_code: FOUND}"),
        ("{redirectCode: 303}", "{response_code: SEE_OTHER}"),
        ("{redirectCode: 307}", "{response_code: TEMPORARY_REDIRECT}"),
        ("{redirectCode: 308}", "{response_code: PERMANENT_REDIRECT}"),
        ("{redirectCode: 304}", "{}"),
        ("{prefixRewrite: /p}", "{prefix_rewrite: /p}"),
        ("{prefixRewrite: /p, uri: /u}", "{path_redirect: /u}"),
    ],
)
def test_redirect(redirection: str, expected: str) -> None:
    assert plain(redirect(made(HTTPRedirect, redirection), setting())) == read(expected)


def test_redirect_behind_tls_elides_443() -> None:
    rule = HTTPRedirect(port=443)
    assert redirect(rule, setting(scheme="https")).port_redirect == 0
    assert redirect(rule, setting()).port_redirect == 443


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("status: 204", "status: 204"),
        ("{status: 200, body: {string: hi}}", "{status: 200, body: {inline_string: hi}}"),
        ("{status: 200, body: {bytes: AAE=}}", "{status: 200, body: {inline_bytes: AAE=}}"),
    ],
)
def test_direct_response(response: str, expected: str) -> None:
    assert plain(direct_response(made(HTTPDirectResponse, response))) == read(expected)


@pytest.mark.parametrize(
    ("match", "rewrite", "expected"),
    [
        ("prefix: /a", "uri: /b", "prefix_rewrite: /b"),
        ("path_separated_prefix: /a", "uri: /b", "prefix_rewrite: /b"),
        ("path: /a", "uri: /b", "regex_rewrite: {pattern: {regex: '^.+$'}, substitution: /b}"),
        (
            "safe_regex: {regex: a}",
            "uri: '/b\\1'",
            "regex_rewrite: {pattern: {regex: '^.+$'}, substitution: '/b\\\\1'}",
        ),
        (
            "path: /a",
            "{uri: /b, uriRegexRewrite: {match: '^/(.)', rewrite: '\\1'}}",
            "regex_rewrite: {pattern: {regex: '^/(.)'}, substitution: '\\1'}",
        ),
        ("path: /a", "authority: x", "host_rewrite_literal: x"),
    ],
)
def test_rewrite(match: str, rewrite: str, expected: str) -> None:
    http = f"{{route: [{{destination: {{host: a}}}}], rewrite: {_flow(rewrite)}, timeout: 1s}}"
    found = plain(action(http, made(RouteMatch, match)).route)
    assert found == {"cluster": "a.", "timeout": "1s", **read(expected)}


def _flow(text: str) -> str:
    return text if text.startswith("{") else f"{{{text}}}"


@pytest.mark.parametrize(
    ("mirrors", "expected"),
    [
        ("mirror: {host: m}", [("m.", 1_000_000)]),
        ("mirror: {host: m}, mirrorPercentage: {value: 12.5}", [("m.", 125_000)]),
        ("mirror: {host: m}, mirrorPercent: 3", [("m.", 30_000)]),
        ("mirror: {host: m}, mirrorPercent: 3, mirrorPercentage: {value: 2}", [("m.", 20_000)]),
        ("mirror: {host: m}, mirrorPercentage: {value: 0}", []),
        ("mirrorPercent: 3", []),
        (
            "mirrors: [{destination: {host: m}}, {destination: {host: n}, percentage: {value: 1}}]",
            [("m.", 1_000_000), ("n.", 10_000)],
        ),
        ("mirrors: [{destination: {host: m}, percentage: {value: 0}}]", []),
        (
            "mirror: {host: a}, mirrors: [{destination: {host: b}}]",
            [("a.", 1_000_000), ("b.", 1_000_000)],
        ),
    ],
)
def test_mirrors(mirrors: str, expected: list[tuple[str, int]]) -> None:
    policies = action(f"{{route: [{{destination: {{host: a}}}}], {mirrors}}}").route
    found = policies.request_mirror_policies
    fractions = [(each.cluster, each.runtime_fraction.default_value.numerator) for each in found]
    assert fractions == expected
    for each in found:
        assert not each.trace_sampled.value
        assert each.HasField("trace_sampled")
        assert each.disable_shadow_host_suffix_append


@pytest.mark.parametrize(
    ("consistent", "expected"),
    [
        ("httpHeaderName: x-a", "header: {header_name: x-a}"),
        ("httpCookie: {name: c}", "cookie: {name: c}"),
        (
            "httpCookie: {name: c, path: /p, ttl: 3s, attributes: [{name: SameSite, value: Lax}]}",
            "cookie: {name: c, path: /p, ttl: 3s, attributes: [{name: SameSite, value: Lax}]}",
        ),
        ("httpCookie: {name: c, ttl: 0s}", "cookie: {name: c, ttl: 0s}"),
        ("httpQueryParameterName: q", "query_parameter: {name: q}"),
        ("useSourceIp: true", "connection_properties: {source_ip: true}"),
    ],
)
def test_hash_policy(consistent: str, expected: str) -> None:
    policy = hash_policy(made(LoadBalancerSettings.ConsistentHashLB, consistent))
    assert policy is not None
    assert plain(policy) == read(expected)


@pytest.mark.parametrize("consistent", ["{}", "useSourceIp: false", "maglev: {tableSize: 5}"])
def test_no_hash_policy(consistent: str) -> None:
    assert hash_policy(made(LoadBalancerSettings.ConsistentHashLB, consistent)) is None


def test_equal_hashes_of_several_subsets_count_once() -> None:
    http = """
    retries: {attempts: 1}
    route:
    - {destination: {host: a, subset: v1}, weight: 1}
    - {destination: {host: a, subset: v2}, weight: 1}
    - {destination: {host: b}, weight: 1}
    """
    route = action(http).route
    assert [plain(each) for each in route.hash_policy] == [{"header": {"header_name": "x-user"}}]
    assert not route.retry_policy.retry_host_predicate


def test_retries_of_route_and_mesh() -> None:
    default = Setting(port=80, backend=backend)
    route = Route(match=RouteMatch(prefix="/"))
    set_action(route, made(HTTPRoute, "route: [{destination: {host: a}}]"), default)
    assert route.route.retry_policy.num_retries.value == 2
    route = action("{route: [{destination: {host: a}}], retries: {attempts: 7}}")
    assert route.route.retry_policy.num_retries.value == 7
    assert not action("route: [{destination: {host: a}}]").route.HasField("retry_policy")


def test_missing_cluster_under_gateway_api() -> None:
    plain_route = action("route: [{destination: {host: a}}]").route
    assert plain_route.cluster_not_found_response_code == 0
    route = action("route: [{destination: {host: a}}]", gateway_semantics=True).route
    assert route.cluster_not_found_response_code == 2


def test_filters_of_a_route() -> None:
    http = """
    route: [{destination: {host: a}}]
    fault: {abort: {httpStatus: 500, percentage: {value: 1}}}
    corsPolicy: {}
    """
    names = ["envoy.filters.http.cors", "envoy.filters.http.fault"]
    assert sorted(action(http).typed_per_filter_config) == names
    assert not action("{route: [{destination: {host: a}}], fault: {}}").typed_per_filter_config


def test_forwarding() -> None:
    found = forwarding(Backend(cluster="c"), HTTPRetry(attempts=1))
    assert found.cluster == "c"
    assert found.retry_policy.num_retries.value == 1
    assert found.max_stream_duration.HasField("grpc_timeout_header_max")
