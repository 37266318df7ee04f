"""Authentication and authorization: accepted, rejected and warned of (B3)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

SELECTOR = "selector: {matchLabels: {app: a}}"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{mtls: {mode: STRICT}}", [], id="strict"),
        pytest.param("{%s, portLevelMtls: {8080: {mode: DISABLE}}}" % SELECTOR, [], id="port"),
        pytest.param("{portLevelMtls: {8080: {mode: DISABLE}}}",
                     ["error spec.portLevelMtls selector"], id="port-without-selector"),
        pytest.param("{%s, portLevelMtls: {70000: {mode: DISABLE}}}" % SELECTOR,
                     ["error spec.portLevelMtls.70000 port"], id="port-number"),
        pytest.param("{%s, portLevelMtls: {x: {mode: DISABLE}}}" % SELECTOR,
                     ["error spec.portLevelMtls.x wrong-type"], id="port-name"),
        pytest.param("{%s, portLevelMtls: {}}" % SELECTOR,
                     ["error spec.portLevelMtls empty-list"], id="no-ports"),
        pytest.param("{selector: {matchLabels: {app: '*'}}}",
                     ["error spec.selector.matchLabels.app selector"], id="wildcard"),
        pytest.param("{mtls: {mode: SOMETIMES}}", ["error spec.mtls.mode wrong-type"], id="mode"),
    ],
)  # fmt: skip
def test_peer_authentication(spec: str, expected: list[str]) -> None:
    assert found("PeerAuthentication", spec) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{}", [], id="allow-nothing"),
        pytest.param("{rules: [{}]}", [], id="allow-all"),
        pytest.param("{%s, targetRefs: [{kind: Service, name: a}]}" % SELECTOR,
                     ["error spec.targetRefs one-of",
                      "warning spec.targetRefs[0].kind nobody"], id="selector-and-target"),
        pytest.param("{targetRef: {group: networking.istio.io, kind: ServiceEntry, name: a}}",
                     ["warning spec.targetRef.kind nobody"], id="target-of-a-waypoint"),
        pytest.param("{targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: a,"
                     " namespace: b}}",
                     ["error spec.targetRef.namespace target-ref"], id="target-elsewhere"),
        pytest.param("{action: DENY}", ["error spec.rules required"], id="deny-nothing"),
        pytest.param("{action: DENY, rules: [{to: [{operation: {ports: ['80']}}]}]}", [],
                     id="deny-port"),
        pytest.param("{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}",
                     ["warning spec.rules[0] http-only"], id="deny-http-only"),
        pytest.param("{action: DENY, rules: [{to: [{operation: {methods: [GET],"
                     " ports: ['80']}}]}]}",
                     [], id="deny-http-on-port"),
        pytest.param("{action: CUSTOM, provider: {name: p},"
                     " rules: [{to: [{operation: {paths: [/a]}}]}]}", [], id="custom"),
        pytest.param("{action: CUSTOM, provider: {name: p},"
                     " rules: [{when: [{key: 'request.headers[a]', values: [b]}]}]}", [],
                     id="custom-by-header"),
        pytest.param("{action: CUSTOM}", ["error spec.provider.name required",
                     "error spec.rules required"], id="custom-of-nobody"),
        pytest.param("{provider: {name: p}}", ["error spec.provider not-allowed"],
                     id="provider-for-allow"),
        pytest.param("{action: CUSTOM, provider: {name: p}, rules: [{from: [{source:"
                     " {principals: [a], ipBlocks: [1.1.1.1]}}],"
                     " when: [{key: 'request.auth.claims[a]', values: [b]}]}]}",
                     ["error spec.rules[0].from[0].source.principals not-allowed",
                      "error spec.rules[0].when[0].key not-allowed"], id="custom-identity"),
        pytest.param("{rules: [{from: [{source: {}}], to: [{operation: {}}]}]}",
                     ["error spec.rules[0].from[0].source empty",
                      "error spec.rules[0].to[0].operation empty"], id="empty-parts"),
        pytest.param("{rules: [{from: [], to: []}, {from: 5}]}",
                     ["error spec.rules[0].from empty-list", "error spec.rules[0].to empty-list",
                      "error spec.rules[1].from wrong-type"], id="empty-lists-mean-nobody"),
        pytest.param("{rules: [{from: [{source: {ipBlocks: [x, 'fe80::1%eth0'],"
                     " notRemoteIpBlocks: [1.1.1.0/24],"
                     " principals: [''], notNamespaces: ['']}}]}]}",
                     ["error spec.rules[0].from[0].source.ipBlocks[0] cidr",
                      "error spec.rules[0].from[0].source.ipBlocks[1] cidr",
                      "error spec.rules[0].from[0].source.notNamespaces[0] namespace",
                      "error spec.rules[0].from[0].source.principals[0] principal"], id="source"),
        pytest.param("{rules: [{from: [{source: {principals: [%s], requestPrincipals: [%s, %s],"
                     " notNamespaces: [%s]}}]}]}" % ("a" * 2049, "/" * 33, "a" * 2049, "a" * 256),
                     ["error spec.rules[0].from[0].source.notNamespaces[0] namespace",
                      "error spec.rules[0].from[0].source.principals[0] principal",
                      "error spec.rules[0].from[0].source.requestPrincipals[0] principal",
                      "error spec.rules[0].from[0].source.requestPrincipals[1] principal",
                      "warning spec.rules[0].from[0].source.requestPrincipals[1] nobody"],
                     id="long-names"),
        pytest.param("{rules: [{from: [{source: {requestPrincipals: ['', a/b, '*a', 'a*', a]}},"
                     " {source: {notPrincipals: ['spiffe://a/ns/b/sa/c', a/ns/b/sa/c]}}]}]}",
                     ["error spec.rules[0].from[0].source.requestPrincipals[0] principal",
                      "warning spec.rules[0].from[0].source.requestPrincipals[4] nobody",
                      "warning spec.rules[0].from[1].source.notPrincipals[0] nobody"],
                     id="nobody"),
        pytest.param("{rules: [{from: [{source: {serviceAccounts:"
                     " [a, ns/b, N/c, a/b/c, 'a*', %s]}}]}]}" % ("a" * 256),
                     ["error spec.rules[0].from[0].source.serviceAccounts[2] service-account",
                      "error spec.rules[0].from[0].source.serviceAccounts[3] service-account",
                      "error spec.rules[0].from[0].source.serviceAccounts[4] service-account",
                      "error spec.rules[0].from[0].source.serviceAccounts[5] service-account"],
                     id="service-accounts"),
        pytest.param("{rules: [{from: [{source: {serviceAccounts: [%s]}}]}]}"
                     % ", ".join(["a"] * 17),
                     ["error spec.rules[0].from[0].source.serviceAccounts too-many"],
                     id="many-service-accounts"),
        pytest.param("{rules: [{from: [{source: {serviceAccounts: [a], namespaces: [b]}}]}]}",
                     ["error spec.rules[0].from[0].source.namespaces one-of"],
                     id="service-accounts-and-namespaces"),
        pytest.param("{rules: [{from: [{source: {trustDomains: [a, '*b', 'c*', 'a*b', a/b,"
                     " '*a*', '*', '%s']}}]}]}" % ("a" * 256),
                     ["error spec.rules[0].from[0].source.trustDomains[3] trust-domain",
                      "error spec.rules[0].from[0].source.trustDomains[4] trust-domain",
                      "error spec.rules[0].from[0].source.trustDomains[5] trust-domain",
                      "error spec.rules[0].from[0].source.trustDomains[7] trust-domain"],
                     id="trust-domains"),
        pytest.param("{rules: [{from: [{source: {trustDomains: ['']}}],"
                     " to: [{operation: {paths: ['']}}]}]}",
                     ["error spec.rules[0].from[0].source.trustDomains[0] trust-domain",
                      "error spec.rules[0].to[0].operation.paths[0] path"], id="empty-texts"),
        pytest.param("{rules: [{to: [{operation: {ports: ['0', '65536', x, '٣'],"
                     " methods: ['']}}]}]}",
                     ["error spec.rules[0].to[0].operation.methods[0] empty",
                      "error spec.rules[0].to[0].operation.ports[1] port",
                      "error spec.rules[0].to[0].operation.ports[2] port",
                      "error spec.rules[0].to[0].operation.ports[3] port"], id="operation"),
        pytest.param("{rules: [{to: [{operation: {paths: ['/a/{*}/b', '/a/{**}', '/a*', '/{x}',"
                     " '/{*}*']}}]}]}",
                     ["error spec.rules[0].to[0].operation.paths[3] path",
                      "error spec.rules[0].to[0].operation.paths[4] path"], id="paths"),
        pytest.param("{rules: [{to: [{operation: {notPaths: ['/{**}/a', '/{**}/{*}', '{*}',"
                     " '/a b/{*}', '/a//{*}', '/a*/{*}', '/{*}/']}}]}]}",
                     ["error spec.rules[0].to[0].operation.notPaths[1] path",
                      "error spec.rules[0].to[0].operation.notPaths[2] path",
                      "error spec.rules[0].to[0].operation.notPaths[3] path",
                      "error spec.rules[0].to[0].operation.notPaths[4] path",
                      "error spec.rules[0].to[0].operation.notPaths[5] path"], id="templates"),
        pytest.param("{rules: [{when: [{key: 'request.headers[a b]', values: [a]},"
                     " {key: 'request.headers[a][b]', values: [a]},"
                     " {key: 'request.headers[:path]', values: [a]},"
                     " {key: 'request.auth.claims[]', values: [a]},"
                     " {key: 'experimental.envoy.filters.a', values: [a]},"
                     " {key: 'experimental.envoy.filters.[a]', values: [a]}]}]}",
                     [f"error spec.rules[0].when[{at}].key condition" for at in (0, 1, 3, 4, 5)],
                     id="condition-keys"),
        pytest.param("{rules: [{when: [{key: source.serviceAccount, values: [a/b/c]},"
                     " {key: source.trustDomain, values: [a/b]},"
                     " {key: source.namespace, notValues: ['']},"
                     " {key: request.auth.principal, values: [%s]}]}]}" % ("/" * 33),
                     ["error spec.rules[0].when[0].values[0] condition",
                      "error spec.rules[0].when[1].values[0] condition",
                      "error spec.rules[0].when[2].notValues[0] condition",
                      "error spec.rules[0].when[3].values[0] condition"], id="condition-values"),
        pytest.param("{rules: [{when: [{key: 'request.headers[x]', notValues: [a]},"
                     " {key: destination.port, values: ['80']},"
                     " {key: 'request.auth.claims[a][b]', values: [c]},"
                     " {key: 'experimental.envoy.filters.a[b]', values: [c]}]}]}", [],
                     id="conditions"),
        pytest.param("{rules: [{when: [{key: a, values: [b]}, {key: source.ip, values: [x]},"
                     " {key: destination.port, values: [x]}, {key: source.namespace},"
                     " {values: [a]}, {key: source.principal, values: ['']}]}]}",
                     ["error spec.rules[0].when[0].key condition",
                      "error spec.rules[0].when[1].values[0] condition",
                      "error spec.rules[0].when[2].values[0] condition",
                      "error spec.rules[0].when[3].values required",
                      "error spec.rules[0].when[4].key required",
                      "error spec.rules[0].when[5].values[0] condition"], id="bad-conditions"),
    ],
)  # fmt: skip
def test_authorization_policy(spec: str, expected: list[str]) -> None:
    assert sorted(found("AuthorizationPolicy", spec)) == sorted(expected)


@pytest.mark.parametrize(
    ("kind", "spec", "annotations", "expected"),
    [
        pytest.param("AuthorizationPolicy", "{}", "{istio.io/dry-run: 'true'}", [], id="dry-run"),
        pytest.param("AuthorizationPolicy", "{}", "{istio.io/dry-run: 'maybe'}", ["dry-run"],
                     id="dry-run-maybe"),
        pytest.param("AuthorizationPolicy", "{action: AUDIT}", "{istio.io/dry-run: 'true'}",
                     ["dry-run"], id="dry-run-of-audit"),
        pytest.param("PeerAuthentication", "{}", "{istio.io/dry-run: 'true'}", ["dry-run"],
                     id="dry-run-elsewhere"),
        pytest.param("PeerAuthentication", "{}", "{internal.istio.io/parents: a}", ["annotation"],
                     id="internal"),
        pytest.param("PeerAuthentication", "{}", "{'bad key': a}", ["annotation"], id="key"),
    ],
)  # fmt: skip
def test_annotations(kind: str, spec: str, annotations: str, expected: list[str]) -> None:
    rules = [item.rsplit(" ", 1)[1] for item in found(kind, spec, annotations=annotations)]
    assert rules == expected
