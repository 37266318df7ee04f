"""Rules of HTTPRoutes: matches in order of precedence, filters, backends, times (pilot.md I8)."""

from typing import Any

import pytest
import yaml

from tests.support.gateway_api import GATEWAY, HTTP, conditions, described, generated, service, told

MESH = (
    GATEWAY + HTTP,
    service("a"),
    service("b", "other"),
    service("two", ports="[{name: a, number: 1, target_port: 1}, {name: b, number: 2,"
                         " target_port: 2}]"),
)  # fmt: skip
A = {"destination": {"host": "a.shop.svc.cluster.local", "port": {"number": 80}}, "weight": 1}
NOWHERE = {"host": "unresolved.invalid", "port": {"number": 80}}


def route(rules: str, name: str = "r") -> str:
    return described(
        "HTTPRoute",
        name,
        "shop",
        f"{{parentRefs: [{{name: web, namespace: edge}}], rules: {rules}}}",
    )


def http(*rules: str) -> list[dict[str, Any]]:
    """The entries that routes r, r1, … of those rules become."""
    routes = (route(each, f"r{index or ''}") for index, each in enumerate(rules))
    found = generated(*MESH, *routes)
    (service,) = (each for key, each in found.items() if key.startswith("VirtualService"))
    return list(service["http"])


def rule(text: str) -> dict[str, Any]:
    """The only entry of one rule, without its name and match."""
    (found,) = http(f"[{text}]")
    return {key: each for key, each in found.items() if key not in ("name", "match")}


def reasons(*rules: str) -> dict[str, str]:
    (parent,) = told(*MESH, route(*rules))["HTTPRoute shop/r"]["parents"]
    return dict(conditions(parent["conditions"]))


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param("{}", {"uri": {"prefix": "/"}}, id="everything"),
        pytest.param("{path: {value: /a/}}", {"uri": {"prefix": "/a"}}, id="prefix"),
        pytest.param("{path: {type: Exact, value: /a}}", {"uri": {"exact": "/a"}}, id="exact"),
        pytest.param("{path: {type: RegularExpression, value: '/a.*'}}",
                     {"uri": {"regex": "/a.*"}}, id="regex"),
        pytest.param("{method: GET}", {"uri": {"prefix": "/"}, "method": {"exact": "GET"}},
                     id="method"),
        pytest.param("{headers: [{name: X-A, value: a}, {name: x-a, value: b},"
                     " {name: c, type: RegularExpression, value: d+}]}",
                     {"uri": {"prefix": "/"},
                      "headers": {"x-a": {"exact": "a"}, "c": {"regex": "d+"}}}, id="headers"),
        pytest.param("{headers: [{name: Host, value: a.test}, {name: host, value: b.test}]}",
                     {"uri": {"prefix": "/"}, "authority": {"exact": "a.test"}}, id="host"),
        pytest.param("{queryParams: [{name: q, value: a}, {name: q, value: b},"
                     " {name: Q, type: RegularExpression, value: c}]}",
                     {"uri": {"prefix": "/"},
                      "query_params": {"q": {"exact": "a"}, "Q": {"regex": "c"}}}, id="query"),
    ],
)  # fmt: skip
def test_matches(match: str, expected: dict[str, Any]) -> None:
    (found,) = http(f"[{{matches: [{match}]}}]")
    assert found["match"] == [expected]


def test_a_route_without_rules_answers_500() -> None:
    assert http("[]") == [{"name": "shop.r.0", "match": [{"uri": {"prefix": "/"}}]}]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param(["[{matches: [{path: {type: RegularExpression, value: /long.*}}]},"
                      " {matches: [{path: {value: /a}}]},"
                      " {matches: [{path: {value: /a/b}}]},"
                      " {matches: [{path: {type: Exact, value: /a}}]}]"],
                     ["shop.r.3", "shop.r.2", "shop.r.1", "shop.r.0"], id="path"),
        pytest.param(["[{matches: [{}]}, {matches: [{queryParams: [{name: a, value: a}]}]},"
                      " {matches: [{headers: [{name: a, value: a}]}]}, {matches: [{method: GET}]},"
                      " {matches: [{headers: [{name: a, value: a}, {name: b, value: b}]}]}]"],
                     ["shop.r.3", "shop.r.4", "shop.r.2", "shop.r.1", "shop.r.0"],
                     id="what-else"),
        pytest.param(["[{}]", "[{matches: [{path: {type: Exact, value: /a}}]}, {}]"],
                     ["shop.r1.0", "shop.r.0", "shop.r1.1"], id="several-routes"),
        pytest.param(["[{matches: [{}, {path: {value: /a}}]}, {}]"],
                     ["shop.r.0", "shop.r.0", "shop.r.1"], id="several-matches"),
    ],
)  # fmt: skip
def test_precedence(rules: list[str], expected: list[str]) -> None:
    assert [each["name"] for each in http(*rules)] == expected


@pytest.mark.parametrize(
    ("backends", "expected", "reason"),
    [
        pytest.param("[{name: a, port: 80}]", [A], "ResolvedRefs", id="one"),
        pytest.param("[{name: a, port: 80, weight: 3}, {name: a, port: 80, weight: 0}]",
                     [A | {"weight": 3}], "ResolvedRefs", id="weights"),
        pytest.param("[{name: a, port: 80, weight: 0}]", None, "ResolvedRefs", id="no-weight"),
        pytest.param("[{name: a}]", [A], "ResolvedRefs", id="only-port"),
        pytest.param("[{name: two}]", None, "!BackendNotFound", id="which-port"),
        pytest.param("[{name: none, port: 80}]", None, "!BackendNotFound", id="missing"),
        pytest.param("[{name: a, port: 81}]", None, "!BackendNotFound", id="missing-port"),
        pytest.param("[{kind: Thing, group: a.com, name: a, port: 80}]", None, "!InvalidKind",
                     id="kind"),
        pytest.param("[{name: b, namespace: other, port: 80}]", None, "!RefNotPermitted",
                     id="not-granted"),
        pytest.param("[{name: a, port: 80}, {name: none, port: 80, weight: 2}]",
                     [A, {"destination": NOWHERE, "weight": 2}], "!BackendNotFound",
                     id="some-missing"),
        pytest.param("[{group: networking.istio.io, kind: Hostname,"
                     " name: b.other.svc.cluster.local, port: 80}]",
                     [{"destination": {"host": "b.other.svc.cluster.local",
                                       "port": {"number": 80}}, "weight": 1}],
                     "ResolvedRefs", id="hostname"),
        pytest.param("[{name: a, port: 80, filters: [{type: RequestHeaderModifier,"
                     " requestHeaderModifier: {set: [{name: a, value: b}]}},"
                     " {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [c]}}]}]",
                     [A | {"headers": {"request": {"set": {"a": "b"}},
                                       "response": {"remove": ["c"]}}}],
                     "ResolvedRefs", id="filters"),
    ],
)  # fmt: skip
def test_backends(backends: str, expected: list[Any] | None, reason: str) -> None:
    text = f"{{backendRefs: {backends}}}"
    assert rule(text).get("route") == expected
    assert reasons(f"[{text}]")["ResolvedRefs"] == reason


@pytest.mark.parametrize(
    ("grant", "granted"),
    [
        pytest.param("{from: [{group: gateway.networking.k8s.io, kind: HTTPRoute,"
                     " namespace: shop}], to: [{kind: Service}]}", True, id="kind"),
        pytest.param("{from: [{group: gateway.networking.k8s.io, kind: HTTPRoute,"
                     " namespace: shop}], to: [{kind: Service, name: b}]}", True, id="name"),
        pytest.param("{from: [{group: gateway.networking.k8s.io, kind: HTTPRoute,"
                     " namespace: shop}], to: [{kind: Service, name: c}, {kind: Secret}]}", False,
                     id="other-name"),
        pytest.param("{from: [{group: gateway.networking.k8s.io, kind: GRPCRoute,"
                     " namespace: shop}], to: [{kind: Service}]}", False, id="other-kind"),
        pytest.param("{from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: x}],"
                     " to: [{kind: Service}]}", False, id="other-namespace"),
    ],
)  # fmt: skip
def test_grants(grant: str, *, granted: bool) -> None:
    text = route("[{backendRefs: [{name: b, namespace: other, port: 80}]}]")
    found = told(*MESH, described("ReferenceGrant", "g", "other", grant), text)
    (parent,) = found["HTTPRoute shop/r"]["parents"]
    reason = "ResolvedRefs" if granted else "!RefNotPermitted"
    assert conditions(parent["conditions"])["ResolvedRefs"] == reason


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a,"
                     " value: b}], add: [{name: c, value: d}], remove: [e]}}",
                     "{headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}}}", id="request"),
        pytest.param("{type: ResponseHeaderModifier, responseHeaderModifier: {remove: [e]}}",
                     "{headers: {response: {remove: [e]}}}", id="response"),
        pytest.param("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}}}",
                     "{mirrors: [{destination: {host: a.shop.svc.cluster.local,"
                     " port: {number: 80}}, percentage: {value: 100.0}}]}", id="mirror"),
        pytest.param("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80},"
                     " percent: 7}}",
                     "{mirrors: [{destination: {host: a.shop.svc.cluster.local,"
                     " port: {number: 80}}, percentage: {value: 7.0}}]}", id="mirror-percent"),
        pytest.param("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80},"
                     " fraction: {numerator: 1, denominator: 8}}}",
                     "{mirrors: [{destination: {host: a.shop.svc.cluster.local,"
                     " port: {number: 80}}, percentage: {value: 12.5}}]}", id="mirror-fraction"),
        pytest.param("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80},"
                     " fraction: {numerator: 3}}}",
                     "{mirrors: [{destination: {host: a.shop.svc.cluster.local,"
                     " port: {number: 80}}, percentage: {value: 3.0}}]}", id="mirror-of-100"),
        pytest.param("{type: RequestMirror, requestMirror: {backendRef: {name: none, port: 80}}}",
                     "{}", id="mirror-to-nobody"),
        pytest.param("{type: RequestRedirect, requestRedirect: {hostname: b.test}}",
                     "{redirect: {authority: b.test, redirect_code: 302,"
                     " derive_port: FROM_REQUEST_PORT}}", id="redirect"),
        pytest.param("{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301,"
                     " path: {type: ReplaceFullPath, replaceFullPath: /a}}}",
                     "{redirect: {scheme: https, uri: /a, redirect_code: 301,"
                     " derive_port: FROM_PROTOCOL_DEFAULT}}", id="redirect-scheme"),
        pytest.param("{type: RequestRedirect, requestRedirect: {port: 8443,"
                     " path: {type: ReplacePrefixMatch, replacePrefixMatch: /a}}}",
                     "{redirect: {port: 8443, prefix_rewrite: /a/, redirect_code: 302}}",
                     id="redirect-prefix"),
        pytest.param("{type: URLRewrite, urlRewrite: {hostname: b.test,"
                     " path: {type: ReplacePrefixMatch, replacePrefixMatch: /a}}}",
                     "{rewrite: {authority: b.test, uri: /a/}}", id="rewrite-root"),
        pytest.param("{type: URLRewrite, urlRewrite: {hostname: b.test}}",
                     "{rewrite: {authority: b.test}}", id="rewrite-host"),
        pytest.param("{type: URLRewrite, urlRewrite: {path:"
                     " {type: ReplacePrefixMatch, replacePrefixMatch: ''}}}",
                     "{rewrite: {uri: /}}", id="rewrite-to-nothing"),
        pytest.param("{type: URLRewrite, urlRewrite: {path:"
                     " {type: ReplaceFullPath, replaceFullPath: '/a\\b'}}}",
                     "{rewrite: {uri_regex_rewrite: {match: '^/.*$', rewrite: '/a\\\\b'}}}",
                     id="rewrite-all"),
        pytest.param("{type: CORS, cors: {allowOrigins: ['*'], maxAge: 60}}",
                     "{cors_policy: {allow_origins: [{regex: .*}], max_age: 60s,"
                     " unmatched_preflights: IGNORE}}", id="cors-all"),
        pytest.param("{type: CORS, cors: {allowOrigins: ['https://*.a.test', 'http://b.test'],"
                     " allowMethods: [GET], allowHeaders: [a], exposeHeaders: [b],"
                     " allowCredentials: true}}",
                     "{cors_policy: {allow_origins: [{regex: 'https://.+\\.a\\.test'},"
                     " {exact: 'http://b.test'}], allow_methods: [GET], allow_headers: [a],"
                     " expose_headers: [b], allow_credentials: true, max_age: 5s,"
                     " unmatched_preflights: IGNORE}}", id="cors"),
    ],
)  # fmt: skip
def test_filters(filters: str, expected: str) -> None:
    assert rule(f"{{filters: [{filters}]}}") == yaml.safe_load(expected)


def test_a_prefix_that_is_replaced_below_the_root() -> None:
    path = "{type: ReplacePrefixMatch, replacePrefixMatch: /b}"
    matches = "matches: [{path: {value: /a}}]"
    found = rule(f"{{{matches}, filters: [{{type: URLRewrite, urlRewrite: {{path: {path}}}}}]}}")
    assert found == {"rewrite": {"uri": "/b"}}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        pytest.param("{timeouts: {request: 1m30s}}", {"timeout": "90s"}, id="request"),
        pytest.param("{timeouts: {request: 0s}}", {"timeout": "0s"}, id="none"),
        pytest.param("{timeouts: {backendRequest: 500ms}}",
                     {"retries": {"attempts": 2, "per_try_timeout": "0.500s"}}, id="attempt"),
        pytest.param("{retry: {attempts: 3, backoff: 1s, codes: [500, 500, 503]}}",
                     {"retries": {"attempts": 3, "backoff": "1s",
                                  "retry_on": "connect-failure,refused-stream,unavailable,"
                                              "cancelled,500,503"}}, id="retry"),
        pytest.param("{retry: {codes: [500]}}",
                     {"retries": {"attempts": 2,
                                  "retry_on": "connect-failure,refused-stream,unavailable,"
                                              "cancelled,500"}}, id="default-attempts"),
        pytest.param("{retry: {attempts: 0}, timeouts: {backendRequest: 1s}}",
                     {"retries": {}, "timeout": "1s"}, id="one-attempt"),
        pytest.param("{retry: {attempts: 0}, timeouts: {request: 2s, backendRequest: 1s}}",
                     {"retries": {}, "timeout": "1s"}, id="shorter-attempt"),
        pytest.param("{retry: {attempts: 0}}", {"retries": {}}, id="never"),
    ],
)  # fmt: skip
def test_times(times: str, expected: dict[str, Any]) -> None:
    assert rule(times) == expected


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        pytest.param("{filters: [{type: ExtensionRef, extensionRef: {kind: A, name: a}}]}",
                     "filter 'ExtensionRef' is not supported", id="filter"),
        pytest.param("{sessionPersistence: {}}", "session persistence is not supported",
                     id="session"),
        pytest.param("{backendRefs: [{name: a, port: 80, filters: [{type: URLRewrite}]}]}",
                     "filter 'URLRewrite' is not supported for a backend", id="backend-filter"),
    ],
)  # fmt: skip
def test_rules_that_cannot_be_followed(wrong: str, why: str) -> None:
    assert [each["name"] for each in http(f"[{wrong}, {{}}]")] == ["shop.r.1"]
    found = told(*MESH, route(f"[{wrong}, {{}}]"))["HTTPRoute shop/r"]["parents"][0]["conditions"]
    assert conditions(found)["PartiallyInvalid"] == "UnsupportedValue"
    assert [each["message"] for each in found if each["message"]] == [f"rule 0: {why}"]
    expected = {"Accepted": "!UnsupportedValue", "ResolvedRefs": "ResolvedRefs"}
    assert reasons(f"[{wrong}]") == expected
