"""Filters of HTTPRoute: accepted and rejected (pilot.md I8)."""

from __future__ import annotations

import pytest

from tests.support.galley_rules import found


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        pytest.param("{}", ["type required"], id="no-type"),
        pytest.param("{type: Sing}", ["type filter"], id="unknown"),
        pytest.param("{type: ExtensionRef, extensionRef: {kind: A, name: a}}",
                     ["type unsupported"], id="extension"),
        pytest.param("{type: ExternalAuth, externalAuth: {}}", ["type unsupported"],
                     id="external-auth"),
        pytest.param("{type: CORS}", ["cors required"], id="no-content"),
        pytest.param("{type: CORS, cors: {}, urlRewrite: {hostname: a.com}}",
                     ["urlRewrite not-allowed"], id="other-content"),
        pytest.param("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a,"
                     " value: b}], add: [{name: c, value: d}], remove: [e]}}", [], id="headers"),
        pytest.param("{type: RequestHeaderModifier, requestHeaderModifier: {}}",
                     ["requestHeaderModifier required"], id="no-headers"),
        pytest.param("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{value: a},"
                     " {value: b}]}}",
                     ["requestHeaderModifier.set[0].name required",
                      "requestHeaderModifier.set[1].name required"], id="headers-without-name"),
        pytest.param("{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A,"
                     " value: b}], remove: [a]}}", ["requestHeaderModifier duplicate"],
                     id="header-twice"),
        pytest.param("{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: 'a b',"
                     " value: \"c\\n\"}, {name: d, value: '%'}]}}",
                     ["responseHeaderModifier.set[0].name header",
                      "responseHeaderModifier.set[0].value header",
                      "responseHeaderModifier.set[1].value header"], id="bad-headers"),
        pytest.param("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80},"
                     " fraction: {numerator: 1, denominator: 3}}}", [], id="mirror"),
        pytest.param("{type: RequestMirror, requestMirror: {percent: 101}}",
                     ["requestMirror.backendRef required", "requestMirror.percent percentage"],
                     id="bad-mirror"),
        pytest.param("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80},"
                     " percent: 1, fraction: {numerator: 3, denominator: 2}}}",
                     ["requestMirror.fraction one-of",
                      "requestMirror.fraction.numerator fraction"], id="mirror-share-twice"),
        pytest.param("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80},"
                     " fraction: {numerator: 0, denominator: 0}}}",
                     ["requestMirror.fraction.denominator fraction"], id="mirror-of-nothing"),
        pytest.param("{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80},"
                     " fraction: {numerator: 1, denominator: 100000000}}}",
                     ["requestMirror.fraction.numerator fraction"], id="mirror-too-fine"),
        pytest.param("{type: RequestRedirect, requestRedirect: {scheme: https, hostname: a.com,"
                     " path: {type: ReplaceFullPath, replaceFullPath: /a}, port: 443,"
                     " statusCode: 308}}", [], id="redirect"),
        pytest.param("{type: RequestRedirect, requestRedirect: {}}", ["requestRedirect required"],
                     id="redirect-nowhere"),
        pytest.param("{type: RequestRedirect, requestRedirect: {scheme: ftp, hostname: '*.a.com',"
                     " port: 70000, statusCode: 300}}",
                     ["requestRedirect.hostname host", "requestRedirect.port port",
                      "requestRedirect.scheme scheme", "requestRedirect.statusCode status"],
                     id="bad-redirect"),
        pytest.param("{type: URLRewrite, urlRewrite: {hostname: a.com}}", [], id="rewrite"),
        pytest.param("{type: URLRewrite, urlRewrite: {}}", ["urlRewrite required"],
                     id="rewrite-nothing"),
        pytest.param("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath,"
                     " replacePrefixMatch: /}}}",
                     ["urlRewrite.path.replaceFullPath required",
                      "urlRewrite.path.replacePrefixMatch not-allowed"], id="other-path"),
        pytest.param("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath,"
                     f" replaceFullPath: {'a' * 1025}}}}}}}",
                     ["urlRewrite.path.replaceFullPath path"], id="long-path"),
        pytest.param("{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath,"
                     " replaceFullPath: a}}}",
                     ["urlRewrite.path.replaceFullPath path"], id="relative-path"),
        pytest.param("{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch,"
                     " replacePrefixMatch: ''}}}", [], id="remove-prefix"),
        pytest.param("{type: URLRewrite, urlRewrite: {path: {type: Replace}}}",
                     ["urlRewrite.path.type path-modifier"], id="unknown-path-type"),
        pytest.param("{type: CORS, cors: {allowOrigins: ['https://a.com', 'http://*.b.com:80'],"
                     " allowMethods: [GET], allowHeaders: ['*'], maxAge: 5}}", [], id="cors"),
        pytest.param("{type: CORS, cors: {allowOrigins: ['*', a.com], allowMethods: [get],"
                     " exposeHeaders: ['a b', c, c], maxAge: -1}}",
                     ["cors.allowMethods[0] cors", "cors.allowOrigins cors",
                      "cors.allowOrigins[1] cors", "cors.exposeHeaders[0] cors",
                      "cors.exposeHeaders[2] duplicate", "cors.maxAge cors"], id="bad-cors"),
    ],
)  # fmt: skip
def test_filters(filters: str, expected: list[str]) -> None:
    problems = sorted(found("HTTPRoute", f"{{rules: [{{filters: [{filters}]}}]}}"))
    prefix = "error spec.rules[0].filters[0]."
    assert [each.removeprefix(prefix) for each in problems] == expected
