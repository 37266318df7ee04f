"""VirtualService and its HTTP rules: accepted, rejected and warned of (B2)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

HTTP = "{hosts: [a.com], http: [%s]}"
ROUTE = "route: [{destination: {host: a.com}}]"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(HTTP % f"{{{ROUTE}}}", [], id="route"),
        pytest.param("{hosts: [10.0.0.1, a, '*.b.com'], http: [{%s}]}" % ROUTE, [], id="hosts"),
        pytest.param("{hosts: ['a b'], http: [{%s}]}" % ROUTE, ["error spec.hosts[0] host"],
                     id="bad-host"),
        pytest.param("{hosts: [a.1], http: [{%s}]}" % ROUTE, ["error spec.hosts[0] host"],
                     id="numeric-last-label"),
        pytest.param("{hosts: [a.com.], http: [{%s}]}" % ROUTE, [], id="final-dot"),
        pytest.param("{hosts: ['a.*.com'], http: [{%s}]}" % ROUTE, ["error spec.hosts[0] host"],
                     id="wildcard-inside"),
        pytest.param("{hosts: ['*'], http: [{%s}]}" % ROUTE, ["error spec.hosts[0] host"],
                     id="any-host-for-mesh"),
        pytest.param("{hosts: ['*'], gateways: [ns/gw], http: [{%s}]}" % ROUTE, [],
                     id="any-host-for-gateway"),
        pytest.param("{hosts: ['*'], gateways: [gw, mesh], http: [{%s}]}" % ROUTE,
                     ["error spec.hosts[0] host"], id="any-host-for-gateway-and-mesh"),
        pytest.param("{hosts: [a.com, A.com], http: [{%s}]}" % ROUTE,
                     ["error spec.hosts[1] duplicate-host"], id="host-twice"),
        pytest.param("{hosts: [x.a.com, '*.a.com'], http: [{%s}]}" % ROUTE,
                     ["error spec.hosts[1] duplicate-host"], id="host-covered"),
        pytest.param("{http: [{%s}]}" % ROUTE, [], id="delegate"),
        pytest.param("{gateways: [gw], http: [{%s}]}" % ROUTE,
                     ["error spec.gateways not-allowed"], id="delegate-with-gateways"),
        pytest.param("{tcp: [{route: [{destination: {host: a}}]}]}",
                     ["error spec.tcp not-allowed"], id="delegate-with-tcp"),
        pytest.param("{http: [{delegate: {name: b}}]}",
                     ["error spec.http[0].delegate delegate"], id="delegate-of-delegate"),
        pytest.param("{hosts: [a.com]}", ["error spec required"], id="no-rules"),
        pytest.param("{hosts: [a.com], gateways: [GW], http: [{%s}]}" % ROUTE,
                     ["error spec.gateways[0] gateway"], id="bad-gateway"),
        pytest.param("{hosts: [a.com], gateways: [gw.ns.svc.cluster.local], http: [{%s}]}" % ROUTE,
                     ["warning spec.gateways[0] gateway"], id="gateway-by-host"),
        pytest.param("{hosts: [a.com], exportTo: ['.', shop], http: [{%s}]}" % ROUTE,
                     ["error spec.exportTo[1] export-to"], id="export-twice"),
        pytest.param("{hosts: [a.com], exportTo: ['*', b], http: [{%s}]}" % ROUTE,
                     ["error spec.exportTo export-to"], id="export-to-all-and-more"),
        pytest.param("{hosts: [a.com], exportTo: ['~'], http: [{%s}]}" % ROUTE,
                     ["error spec.exportTo[0] export-to"], id="export-to-none"),
        pytest.param("{hosts: [a.com], exportTo: [B_], http: [{%s}]}" % ROUTE,
                     ["error spec.exportTo[0] export-to"], id="export-to-no-namespace"),
    ],
)  # fmt: skip
def test_object(spec: str, expected: list[str]) -> None:
    assert found("VirtualService", spec) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("{name: empty}", ["error spec.http[0] required"], id="no-action"),
        pytest.param("{%s, redirect: {uri: /}}" % ROUTE,
                     ["error spec.http[0].redirect one-of"], id="two-actions"),
        pytest.param("{redirect: {uri: /}}", [], id="redirect"),
        pytest.param("{redirect: {uri: /}, fault: {abort: {httpStatus: 500}}}",
                     ["error spec.http[0].fault not-allowed"], id="redirect-with-fault"),
        pytest.param("{directResponse: {status: 200}, rewrite: {uri: /}}",
                     ["error spec.http[0].rewrite not-allowed"], id="response-with-rewrite"),
        pytest.param("{%s, mirror: {host: b}, mirrors: [{destination: {host: c}}]}" % ROUTE,
                     ["error spec.http[0].mirrors one-of"], id="mirror-and-mirrors"),
        pytest.param("{%s, mirror: {host: b}, mirrorPercent: 10}" % ROUTE,
                     ["warning spec.http[0].mirrorPercent deprecated"], id="mirror-percent"),
        pytest.param("{%s, mirror: {host: b}, mirrorPercentage: {value: 101}}" % ROUTE,
                     ["error spec.http[0].mirrorPercentage.value percentage"],
                     id="mirror-percentage"),
        pytest.param("{%s, timeout: 5s}" % ROUTE, [], id="timeout"),
        pytest.param("{%s, timeout: 0s}" % ROUTE, ["error spec.http[0].timeout duration"],
                     id="no-timeout"),
        pytest.param("{%s, timeout: 1500us}" % ROUTE, ["error spec.http[0].timeout duration"],
                     id="timeout-with-microseconds"),
        pytest.param("{route: [{destination: {host: '*'}}]}",
                     ["error spec.http[0].route[0].destination.host host"], id="any-destination"),
        pytest.param('{appendHeaders: {a b: c}, removeResponseHeaders: ["a\\nb"],'
                     " appendRequestHeaders: {x: a%b}, route: [{destination: {host: a}}]}",
                     ['error spec.http[0].appendHeaders["a b"] header',
                      "error spec.http[0].removeResponseHeaders[0] header",
                      "error spec.http[0].appendRequestHeaders.x header"], id="old-headers"),
        pytest.param("{route: [{destination: {host: a}, removeRequestHeaders: [Host]}]}",
                     ["error spec.http[0].route[0].removeRequestHeaders[0] header"],
                     id="old-headers-of-destination"),
        pytest.param("{route: [{weight: 1}]}",
                     ["error spec.http[0].route[0].destination required"], id="no-destination"),
        pytest.param("{route: [{destination: {host: a, port: {number: 65536}}}]}",
                     ["error spec.http[0].route[0].destination.port.number port"], id="port"),
        pytest.param("{route: [{destination: {host: a}, weight: -1}]}",
                     ["error spec.http[0].route[0].weight weight"], id="negative-weight"),
        pytest.param("{route: [{destination: {host: a}}, {destination: {host: b}}]}",
                     ["error spec.http[0].route weight"], id="no-weights"),
        pytest.param("{route: [{destination: {host: a}, weight: 20},"
                     " {destination: {host: b}, weight: 30}]}", [], id="weights-of-any-sum"),
        pytest.param("{route: [{destination: {host: a}, weight: 2147483647},"
                     " {destination: {host: b}, weight: 2147483647},"
                     " {destination: {host: c}, weight: 2}]}",
                     ["error spec.http[0].route weight"], id="weights-beyond-32-bits"),
        pytest.param("{redirect: {}}", ["error spec.http[0].redirect required"],
                     id="empty-redirect"),
        pytest.param("{redirect: {uri: /, redirectCode: 200}}",
                     ["error spec.http[0].redirect.redirectCode redirect"], id="redirect-code"),
        pytest.param(r'{match: [{uri: {prefix: /}}],'
                     r' redirect: {authority: "a\nb", prefixRewrite: "/\0"}}',
                     ["error spec.http[0].redirect.authority control-character",
                      "error spec.http[0].redirect.prefixRewrite control-character"],
                     id="redirect-of-lines"),
        pytest.param(r'{%s, rewrite: {authority: "a\rb", uri: "/\n"}}' % ROUTE,
                     ["error spec.http[0].rewrite.authority control-character",
                      "error spec.http[0].rewrite.uri control-character"], id="rewrite-of-lines"),
        pytest.param(r'{%s, rewrite: {uriRegexRewrite: {match: a, rewrite: "\n"}}}' % ROUTE,
                     ["error spec.http[0].rewrite.uriRegexRewrite.rewrite control-character"],
                     id="regex-rewrite-of-lines"),
        pytest.param("{redirect: {scheme: ftp}}",
                     ["error spec.http[0].redirect.scheme redirect"], id="redirect-scheme"),
        pytest.param("{match: [{uri: {prefix: /a}}], redirect: {uri: /b, prefixRewrite: /b}}",
                     ["error spec.http[0].redirect.prefixRewrite one-of"], id="redirect-uris"),
        pytest.param("{match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /b}}",
                     ["error spec.http[0].redirect.prefixRewrite redirect"],
                     id="prefix-rewrite-of-exact"),
        pytest.param("{match: [{uri: {prefix: /a}}], redirect: {prefixRewrite: /b}}", [],
                     id="prefix-rewrite"),
        pytest.param("{%s, rewrite: {}}" % ROUTE, ["error spec.http[0].rewrite required"],
                     id="empty-rewrite"),
        pytest.param("{%s, rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}}" % ROUTE,
                     ["error spec.http[0].rewrite.uriRegexRewrite one-of"], id="rewrite-uris"),
        pytest.param("{%s, rewrite: {uriRegexRewrite: {match: '(', rewrite: b}}}" % ROUTE,
                     ["error spec.http[0].rewrite.uriRegexRewrite.match regex"],
                     id="rewrite-regex"),
        pytest.param("{directResponse: {body: {string: x}}}",
                     ["error spec.http[0].directResponse.status required"], id="no-status"),
        pytest.param("{directResponse: {status: 199}}",
                     ["error spec.http[0].directResponse.status status"], id="status"),
        pytest.param("{directResponse: {status: 200, body: {string: %s}}}" % ("x" * 110_000),
                     ["warning spec.http[0].directResponse.body large-body"], id="large-body"),
        pytest.param("{directResponse: {status: 200, body: {string: %s}}}" % ("x" * 1_048_577),
                     ["error spec.http[0].directResponse.body too-large"], id="huge-body"),
        pytest.param("{%s, retries: {attempts: -1}}" % ROUTE,
                     ["error spec.http[0].retries.attempts retries"], id="attempts"),
        pytest.param("{%s, retries: {attempts: 0}}" % ROUTE, [], id="no-retries"),
        pytest.param("{%s, retries: {attempts: 0, perTryTimeout: 1s}}" % ROUTE,
                     ["error spec.http[0].retries.perTryTimeout retries"], id="retries-off"),
        pytest.param("{%s, retries: {attempts: 1, retryOn: '5xx, reset,503'}}" % ROUTE, [],
                     id="retry-on"),
        pytest.param("{%s, retries: {attempts: 1, retryOn: sometimes}}" % ROUTE,
                     ["error spec.http[0].retries.retryOn retries"], id="retry-on-unknown"),
        pytest.param("{%s, retries: {attempts: 1, retryOn: '99'}}" % ROUTE,
                     ["error spec.http[0].retries.retryOn retries"], id="retry-on-no-status"),
        pytest.param("{%s, fault: {}}" % ROUTE, ["error spec.http[0].fault required"],
                     id="empty-fault"),
        pytest.param("{%s, fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}}}" % ROUTE,
                     [], id="delay"),
        pytest.param("{%s, fault: {delay: {percentage: {value: 1}}}}" % ROUTE,
                     ["error spec.http[0].fault.delay.fixedDelay required"], id="no-delay"),
        pytest.param("{%s, fault: {delay: {exponentialDelay: 1s}}}" % ROUTE,
                     ["error spec.http[0].fault.delay.exponentialDelay unsupported"],
                     id="exponential-delay"),
        pytest.param("{%s, fault: {abort: {httpStatus: 600}}}" % ROUTE,
                     ["error spec.http[0].fault.abort.httpStatus status"], id="abort-status"),
        pytest.param("{%s, fault: {abort: {grpcStatus: UNAVAILABLE}}}" % ROUTE, [],
                     id="abort-grpc"),
        pytest.param("{%s, fault: {abort: {grpcStatus: BAD}}}" % ROUTE,
                     ["error spec.http[0].fault.abort.grpcStatus abort"], id="abort-grpc-unknown"),
        pytest.param("{%s, fault: {abort: {http2Error: x}}}" % ROUTE,
                     ["error spec.http[0].fault.abort.http2Error unsupported"], id="abort-http2"),
        pytest.param("{%s, fault: {abort: {percentage: {value: 1}}}}" % ROUTE,
                     ["warning spec.http[0].fault.abort abort"], id="abort-without-type"),
        pytest.param("{%s, fault: {abort: {httpStatus: 500, percentage: {value: 0.00001}}}}"
                     % ROUTE, ["error spec.http[0].fault.abort.percentage.value percentage"],
                     id="abort-too-rare"),
        pytest.param("{%s, corsPolicy: {allowOrigins: [{exact: https://a}], maxAge: 1500ms}}"
                     % ROUTE, ["error spec.http[0].corsPolicy.maxAge duration"], id="cors-age"),
        pytest.param("{%s, corsPolicy: {allowOrigins: [{}]}}" % ROUTE,
                     ["error spec.http[0].corsPolicy.allowOrigins[0] required"],
                     id="cors-empty-origin"),
        pytest.param("{%s, corsPolicy: {allowMethods: ['G T'], allowHeaders: ['a:b']}}" % ROUTE,
                     ["error spec.http[0].corsPolicy.allowMethods[0] cors",
                      "error spec.http[0].corsPolicy.allowHeaders[0] cors"], id="cors-tokens"),
        pytest.param("{%s, headers: {request: {set: {':authority': x}}}}" % ROUTE, [],
                     id="authority-by-header"),
        pytest.param("{%s, headers: {response: {set: {':authority': x}}}}" % ROUTE,
                     ["error spec.http[0].headers.response.set[\":authority\"] header"],
                     id="authority-in-response"),
        pytest.param("{%s, headers: {request: {remove: [Host]}}}" % ROUTE,
                     ["error spec.http[0].headers.request.remove[0] header"], id="remove-host"),
        pytest.param("{%s, headers: {request: {set: {a: '50%%'}}}}" % ROUTE.replace("%", "%%"),
                     ["error spec.http[0].headers.request.set.a header"], id="unpaired-percent"),
        pytest.param("{%s, rewrite: {authority: x}, headers: {request: {set: {':authority': x}}}}"
                     % ROUTE, ["error spec.http[0].headers.request authority"],
                     id="authority-twice"),
        pytest.param("{rewrite: {authority: x}, route: [{destination: {host: a},"
                     " headers: {request: {set: {':authority': x}}}}]}",
                     ["error spec.http[0].route[0].headers.request authority"],
                     id="authority-of-destination"),
        pytest.param("{route: [{destination: {host: a},"
                     " headers: {request: {set: {':authority': x}}}}]}", [],
                     id="authority-of-destination-alone"),
        pytest.param("{%s, headers: {request: {set: {a: 'b\\x01'}}}}" % ROUTE.replace("'", ""),
                     [], id="escape-in-single-quotes"),
        pytest.param('{%s, headers: {response: {add: {a: "b\\x01"}}}}' % ROUTE,
                     ["error spec.http[0].headers.response.add.a header"], id="control-character"),
        pytest.param("{delegate: {name: b, namespace: N}}",
                     ["error spec.http[0].delegate.namespace name"], id="delegate-namespace"),
    ],
)  # fmt: skip
def test_http_rule(rule: str, expected: list[str]) -> None:
    assert found("VirtualService", HTTP % rule) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        pytest.param("{uri: {prefix: ''}}", [], id="empty-uri-prefix"),
        pytest.param("{method: {prefix: ''}}",
                     ["error spec.http[0].match[0].method.prefix string-match"],
                     id="empty-prefix"),
        pytest.param("{uri: {regex: '('}}", ["error spec.http[0].match[0].uri.regex regex"],
                     id="bad-regex"),
        pytest.param("{uri: {regex: 'a(?=b)'}}", ["error spec.http[0].match[0].uri.regex regex"],
                     id="lookahead-is-not-re2"),
        pytest.param("{uri: {regex: %s}}" % ("a" * 1025),
                     ["error spec.http[0].match[0].uri.regex regex"], id="long-regex"),
        pytest.param("{headers: {x-user: {regex: ''}}}",
                     ["error spec.http[0].match[0].headers.x-user.regex regex"],
                     id="empty-regex"),
        pytest.param("{withoutHeaders: {x-user: {regex: '*'}}}", [], id="any-header"),
        pytest.param("{headers: {':path': {exact: /}}}",
                     ["error spec.http[0].match[0].headers[\":path\"] header"],
                     id="pseudo-header"),
        pytest.param("{headers: {'@request.auth.claims.sub': {exact: a}}}",
                     ["error spec.http[0].match[0].headers"
                      "[\"@request.auth.claims.sub\"] jwt-claim"],
                     id="claim-in-mesh"),
        pytest.param("{headers: {'@request.auth.claims.sub': {exact: a}}, gateways: [gw]}", [],
                     id="claim-at-gateway"),
        pytest.param("{port: 70000}", ["error spec.http[0].match[0].port port"], id="port"),
        pytest.param("{sourceLabels: {app: 'a b'}}",
                     ["error spec.http[0].match[0].sourceLabels.app label"], id="labels"),
        pytest.param("{sourceNamespace: A}",
                     ["error spec.http[0].match[0].sourceNamespace namespace"], id="namespace"),
        pytest.param("{queryParams: {'': {exact: a}}}",
                     ["error spec.http[0].match[0].queryParams[\"\"] query-parameter"],
                     id="query-parameter"),
        pytest.param("{gateways: [A/b]}", ["error spec.http[0].match[0].gateways[0] gateway"],
                     id="gateway"),
    ],
)  # fmt: skip
def test_match(match: str, expected: list[str]) -> None:
    rule = f"{{match: [{match}], {ROUTE}}}"
    assert found("VirtualService", HTTP % rule) == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param("{%s}, {match: [{uri: {prefix: /a}}], %s}" % (ROUTE, ROUTE),
                     ["warning spec.http[1] unreachable"], id="after-catch-all"),
        pytest.param("{match: [{uri: {prefix: /}}], %s}, {%s}" % (ROUTE, ROUTE),
                     ["warning spec.http[1] unreachable"], id="after-root-prefix"),
        pytest.param("{match: [{uri: {exact: /a}}], %s}, {match: [{name: b, uri: {exact: /a}}], %s}"
                     % (ROUTE, ROUTE), ["warning spec.http[1].match[0] unreachable"],
                     id="same-match"),
        pytest.param("{match: [{uri: {exact: /a}}], %s}, {%s}" % (ROUTE, ROUTE), [],
                     id="catch-all-last"),
        pytest.param("{match: [{name: any}], %s}, {%s}" % (ROUTE, ROUTE),
                     ["warning spec.http[1] unreachable"], id="after-empty-match"),
        pytest.param("{match: [{uri: {regex: .*}}], %s}, {%s}" % (ROUTE, ROUTE),
                     ["warning spec.http[1] unreachable"], id="after-any-regex"),
        pytest.param("{match: [{uri: {prefix: /}, port: 80}], %s}, {%s}" % (ROUTE, ROUTE), [],
                     id="root-of-one-port"),
    ],
)  # fmt: skip
def test_unreachable_rules(rules: str, expected: list[str]) -> None:
    assert found("VirtualService", HTTP % rules) == expected


@pytest.mark.parametrize(
    ("earlier", "later", "shadowed"),
    [
        pytest.param("{uri: {prefix: /a}}", "{uri: {exact: /ab}}", True, id="exact"),
        pytest.param("{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}", True, id="longer-prefix"),
        pytest.param("{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}", False, id="shorter-prefix"),
        pytest.param("{uri: {exact: /a}}", "{uri: {exact: /ab}}", False, id="exact-first"),
        pytest.param("{uri: {prefix: /a}}", "{uri: {prefix: /a}, port: 80}", True,
                     id="more-conditions"),
        pytest.param("{uri: {prefix: /a}, port: 80}", "{uri: {prefix: /a/b}, port: 80}", True,
                     id="same-conditions"),
        pytest.param("{uri: {prefix: /a}, port: 80}", "{uri: {prefix: /a/b}, port: 81}", False,
                     id="other-conditions"),
        pytest.param("{port: 80}", "{uri: {exact: /a}, port: 80}", True, id="any-path"),
        pytest.param("{uri: {prefix: /a}}", "{uri: {regex: /a.*}}", False, id="regex"),
        pytest.param("{uri: {regex: .*}, port: 80}", "{uri: {regex: /a.*}, port: 80}", True,
                     id="regex-of-all"),
        pytest.param("{uri: {prefix: /A}, ignoreUriCase: true}", "{uri: {exact: /ab}}", True,
                     id="of-any-case"),
        pytest.param("{uri: {prefix: /a}}", "{uri: {exact: /ab}, ignoreUriCase: true}", False,
                     id="in-any-case"),
        pytest.param("{uri: {prefix: /%s}}" % ("a" * 2000), "{uri: {prefix: /%s}}" % ("a" * 2001),
                     False, id="long-paths-are-not-compared"),
    ],
)  # fmt: skip
def test_shadowed_rules(earlier: str, later: str, shadowed: bool) -> None:
    rules = f"{{match: [{earlier}], {ROUTE}}}, {{match: [{later}], {ROUTE}}}"
    expected = ["warning spec.http[1].match[0] unreachable"] if shadowed else []
    assert found("VirtualService", HTTP % rules) == expected


TLS = "{hosts: [a.com, '*.b.com'], tls: [%s]}"
TARGET = "route: [{destination: {host: a.com}}]"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("{match: [{sniHosts: [a.com, x.b.com]}], %s}" % TARGET, [], id="within"),
        pytest.param("{match: [{sniHosts: [c.com]}], %s}" % TARGET,
                     ["error spec.tls[0].match[0].sniHosts[0] sni"], id="not-within"),
        pytest.param("{match: [{sniHosts: [10.0.0.1]}], %s}" % TARGET,
                     ["warning spec.tls[0].match[0].sniHosts[0] sni"], id="address"),
        pytest.param("{match: [{port: 443}], %s}" % TARGET,
                     ["error spec.tls[0].match[0].sniHosts required"], id="no-names"),
        pytest.param("{%s}" % TARGET, ["error spec.tls[0].match required"], id="no-match"),
        pytest.param("{match: [{sniHosts: [a.com]}]}", ["error spec.tls[0].route required"],
                     id="no-route"),
        pytest.param("{match: [{sniHosts: [a.com]}], %s}, {match: [{sniHosts: [a.com]}], %s}"
                     % (TARGET, TARGET), ["warning spec.tls[1].match[0] unreachable"],
                     id="same-match"),
        pytest.param("{match: [{sniHosts: [a.com], destinationSubnets: [10.0.0.0/33]}], %s}"
                     % TARGET, ["error spec.tls[0].match[0].destinationSubnets[0] cidr"],
                     id="subnet"),
    ],
)  # fmt: skip
def test_tls_rule(rule: str, expected: list[str]) -> None:
    assert found("VirtualService", TLS % rule) == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("{match: [{destinationSubnets: [10.0.0.0/8], port: 1}], %s}" % TARGET, [],
                     id="good"),
        pytest.param("{match: [{port: 1}]}", ["error spec.tcp[0].route required"], id="no-route"),
        pytest.param("{match: [{sourceLabels: {'a/b/c': d}}], %s}" % TARGET,
                     ["error spec.tcp[0].match[0].sourceLabels.a/b/c label"], id="label-key"),
        pytest.param("{route: [{destination: {host: a}}, {destination: {host: b}}]}",
                     ["error spec.tcp[0].route weight"], id="no-weights"),
        pytest.param("{%s}, {match: [{port: 1}], %s}" % (TARGET, TARGET),
                     ["warning spec.tcp[1] unreachable"], id="after-catch-all"),
    ],
)  # fmt: skip
def test_tcp_rule(rule: str, expected: list[str]) -> None:
    assert found("VirtualService", "{hosts: [a.com], tcp: [%s]}" % rule) == expected
