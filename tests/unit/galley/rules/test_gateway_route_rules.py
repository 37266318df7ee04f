"""HTTPRoute, GRPCRoute, TLSRoute, TCPRoute: accepted and rejected (pilot.md I8)."""

from __future__ import annotations

import pytest

from tests.support.galley_rules import found


def of(kind: str, spec: str) -> list[str]:
    """What is found, sorted; ``spec.`` and the only rule are left out of the paths."""
    texts = sorted(found(kind, spec))
    texts = [each.removeprefix("error ").removeprefix("spec.") for each in texts]
    return [each.removeprefix("rules[0].") for each in texts]


def rule(text: str) -> list[str]:
    return of("HTTPRoute", f"{{rules: [{text}]}}")


@pytest.mark.parametrize(
    ("parent", "expected"),
    [
        pytest.param("{name: a}", [], id="gateway"),
        pytest.param("{name: a, namespace: b, sectionName: c, port: 80}", [], id="listener"),
        pytest.param("{group: '', kind: Service, name: a, port: 80}", [], id="service"),
        pytest.param("{group: networking.istio.io, kind: ServiceEntry, name: a}", [], id="entry"),
        pytest.param("{}", ["parentRefs[0].name required"], id="no-name"),
        pytest.param("{kind: Service, name: a}", ["warning spec.parentRefs[0].group reference"],
                     id="no-group"),
        pytest.param("{group: gateway.networking.k8s.io, kind: Service, name: a}",
                     ["parentRefs[0].kind reference"], id="group"),
        pytest.param("{group: '', kind: Service, name: a, sectionName: b}",
                     ["parentRefs[0].sectionName not-allowed"], id="service-section"),
        pytest.param("{name: A, namespace: B_, sectionName: C, port: 70000}",
                     ["parentRefs[0].name name", "parentRefs[0].namespace namespace",
                      "parentRefs[0].port port", "parentRefs[0].sectionName name"], id="bad"),
    ],
)  # fmt: skip
def test_parents(parent: str, expected: list[str]) -> None:
    for kind in ("HTTPRoute", "GRPCRoute"):
        assert of(kind, f"{{parentRefs: [{parent}]}}") == expected


FULL = f"{{matches: [{', '.join(['{}'] * 64)}]}}"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{}", [], id="empty"),
        pytest.param("{hostnames: [a.com, '*.b.com']}", [], id="hosts"),
        pytest.param("{hostnames: ['*', A.com, 1.2.3.4]}",
                     ["hostnames[0] host", "hostnames[1] host", "hostnames[2] host"],
                     id="bad-hosts"),
        pytest.param("{rules: [{name: a}, {name: a}, {name: A}]}",
                     ["rules[1].name duplicate", "rules[2].name name"], id="names"),
        pytest.param(f"{{rules: [{', '.join(['{}'] * 17)}]}}", ["rules size"], id="many-rules"),
        pytest.param(f"{{rules: [{', '.join([FULL] * 3)}]}}", ["rules size"], id="many-matches"),
        pytest.param("{useDefaultGateways: All}", ["useDefaultGateways unknown-field"],
                     id="unknown"),
    ],
)  # fmt: skip
def test_route(spec: str, expected: list[str]) -> None:
    assert of("HTTPRoute", spec) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param("{}", [], id="everything"),
        pytest.param("{path: {type: Exact, value: /a%20b}, method: GET}", [], id="path"),
        pytest.param("{path: {type: PathPrefix}}", [], id="default-path"),
        pytest.param("{path: {type: Exact, value: a}}", ["path.value path"], id="relative"),
        pytest.param("{path: {value: /a//b}}", ["path.value path"], id="double-slash"),
        pytest.param("{path: {value: /a/..}}", ["path.value path"], id="dots"),
        pytest.param("{path: {value: /a%2fb}}", ["path.value path"], id="escaped-slash"),
        pytest.param("{path: {value: '/a b'}}", ["path.value path"], id="space"),
        pytest.param(f"{{path: {{value: /{'a' * 1024}}}}}", ["path.value path"], id="long"),
        pytest.param("{path: {type: RegularExpression, value: '/a(?=b)'}}", ["path.value regex"],
                     id="regex"),
        pytest.param("{path: {type: RegularExpression}}", ["path.value required"],
                     id="empty-regex"),
        pytest.param("{path: {type: Prefix, value: /a}}", ["path.type match-type"],
                     id="unknown-type"),
        pytest.param("{method: get}", ["method method"], id="method"),
        pytest.param("{headers: [{name: a, value: b}, {name: c, type: RegularExpression,"
                     " value: d+}]}", [], id="headers"),
        pytest.param("{headers: [{name: 'a b', value: b}, {name: c}, {name: d, type: Prefix,"
                     " value: e}, {name: f, type: RegularExpression, value: '('}]}",
                     ["headers[0].name header", "headers[1].value required",
                      "headers[2].type match-type", "headers[3].value regex"], id="bad-headers"),
        pytest.param("{queryParams: [{name: a, value: b}, {value: c}, {name: d, type: Is,"
                     " value: e}]}",
                     ["queryParams[1].name required", "queryParams[2].type match-type"],
                     id="query"),
        pytest.param(f"{{headers: [{{name: a, value: {'b' * 4097}}}]}}", ["headers[0].value value"],
                     id="long-value"),
    ],
)  # fmt: skip
def test_matches(match: str, expected: list[str]) -> None:
    found = rule(f"{{matches: [{match}]}}")
    assert [each.removeprefix("matches[0].") for each in found] == expected


REWRITE = "{type: URLRewrite, urlRewrite: {hostname: a.com}}"
PREFIX = "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"{{filters: [{REWRITE}, {REWRITE}]}}", ["filters[1] duplicate"],
                     id="filter-twice"),
        pytest.param("{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a,"
                     " port: 80}}}, {type: RequestMirror, requestMirror: {backendRef: {name: b,"
                     " port: 80}}}]}", [], id="two-mirrors"),
        pytest.param(f"{{filters: [{REWRITE}, {{type: RequestRedirect,"
                     " requestRedirect: {port: 80}}]}", ["filters[0] one-of"],
                     id="redirect-and-rewrite"),
        pytest.param("{filters: [{type: RequestRedirect, requestRedirect: {port: 80}}],"
                     " backendRefs: [{name: a, port: 80}]}", ["backendRefs not-allowed"],
                     id="redirect-and-backend"),
        pytest.param(f"{{filters: [{{type: URLRewrite, urlRewrite: {{{PREFIX}}}}}]}}", [],
                     id="prefix-of-everything"),
        pytest.param(f"{{matches: [{{path: {{type: Exact, value: /a}}}}],"
                     f" filters: [{{type: URLRewrite, urlRewrite: {{{PREFIX}}}}}]}}",
                     ["filters[0].urlRewrite.path.type path-modifier"], id="prefix-of-exact"),
        pytest.param("{matches: [{path: {value: /a}}, {path: {value: /b}}],"
                     f" filters: [{{type: RequestRedirect, requestRedirect: {{{PREFIX}}}}}]}}",
                     ["filters[0].requestRedirect.path.type path-modifier"], id="prefix-of-two"),
        pytest.param("{sessionPersistence: {type: Cookie}}", ["sessionPersistence unsupported"],
                     id="session"),
        pytest.param("{timeouts: {request: 1h30m, backendRequest: 500ms},"
                     " retry: {codes: [500], attempts: 0, backoff: 1s}}", [], id="times"),
        pytest.param("{timeouts: {request: 1s, backendRequest: 2s}}",
                     ["timeouts.backendRequest duration"], id="attempt-too-long"),
        pytest.param("{timeouts: {request: 0s, backendRequest: 2s}}", [], id="no-limit"),
        pytest.param("{timeouts: {request: 1.5s, backendRequest: soon},"
                     " retry: {codes: [200], attempts: -1, backoff: 0s}}",
                     ["retry.attempts attempts", "retry.backoff duration", "retry.codes[0] status",
                      "timeouts.backendRequest duration", "timeouts.request duration"],
                     id="bad-times"),
        pytest.param("{backendRefs: [{name: a, port: 80, weight: 0},"
                     " {group: networking.istio.io, kind: Hostname, name: a.com, port: 80}]}", [],
                     id="backends"),
        pytest.param("{backendRefs: [{name: a}, {port: 70000, weight: -1},"
                     " {group: a.com, kind: Bucket, name: a, port: 80}]}",
                     ["backendRefs[0].port required", "backendRefs[1].name required",
                      "backendRefs[1].port port", "backendRefs[1].weight weight",
                      "backendRefs[2].kind reference"], id="bad-backends"),
        pytest.param("{backendRefs: [{name: a, port: 80, filters: [{type: RequestHeaderModifier,"
                     " requestHeaderModifier: {remove: [a]}}]}]}", [], id="backend-headers"),
        pytest.param(f"{{backendRefs: [{{name: a, port: 80, filters: [{REWRITE}]}}]}}",
                     ["backendRefs[0].filters[0].type unsupported"], id="backend-rewrite"),
    ],
)  # fmt: skip
def test_rules(text: str, expected: list[str]) -> None:
    assert rule(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{matches: [{method: {service: a.b.C, method: D}}, {method: {method: D}}]}",
                     [], id="methods"),
        pytest.param("{matches: [{method: {}}]}", ["matches[0].method required"], id="no-method"),
        pytest.param("{matches: [{method: {service: a/b, method: 'c d'}}]}",
                     ["matches[0].method.method grpc-name", "matches[0].method.service grpc-name"],
                     id="bad-methods"),
        pytest.param("{matches: [{method: {type: RegularExpression, service: '('}}]}",
                     ["matches[0].method.service regex"], id="regex"),
        pytest.param("{matches: [{method: {type: RegularExpression, service: a|b,"
                     f" method: {'c' * 1020}}}}}]}}", ["matches[0].method regex"],
                     id="long-regexes"),
        pytest.param("{filters: [{type: URLRewrite}]}", ["filters[0].type filter"], id="filter"),
        pytest.param("{filters: [{type: ExtensionRef}], sessionPersistence: {}}",
                     ["filters[0].type unsupported", "sessionPersistence unsupported"],
                     id="unsupported"),
        pytest.param("{backendRefs: [{name: a, port: 80, filters: [{type: RequestMirror,"
                     " requestMirror: {backendRef: {name: a, port: 80}}}]}]}",
                     ["backendRefs[0].filters[0].type unsupported"], id="backend-mirror"),
    ],
)  # fmt: skip
def test_grpc_rules(text: str, expected: list[str]) -> None:
    assert of("GRPCRoute", f"{{rules: [{text}]}}") == expected


@pytest.mark.parametrize("kind", ["TLSRoute", "TCPRoute"])
@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param("[{backendRefs: [{name: a, port: 80}]}]", [], id="good"),
        pytest.param("[]", ["rules required"], id="none"),
        pytest.param("[{}]", ["backendRefs required"], id="no-backends"),
        pytest.param("[{backendRefs: [{name: a, port: 80}]}, {backendRefs: [{name: a, port: 80}]}]",
                     ["rules size"], id="two"),
        pytest.param("[{backendRefs: [{name: a, port: 80, weight: 1000001}]}]",
                     ["backendRefs[0].weight weight"], id="weight"),
    ],
)  # fmt: skip
def test_stream_rules(kind: str, rules: str, expected: list[str]) -> None:
    assert of(kind, f"{{rules: {rules}}}") == expected
