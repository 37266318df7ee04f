"""Sidecar: accepted, rejected and warned of (B2)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

PORT = "port: {number: 80, protocol: HTTP, name: http}"
TLS_PORT = "port: {number: 443, protocol: HTTPS, name: https}"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{egress: [{hosts: ['./*']}]}", [], id="egress"),
        pytest.param("{}", ["error spec required"], id="nothing"),
        pytest.param("{workloadSelector: {labels: {a: b}}, ingress: [{%s}]}" % PORT, [],
                     id="ingress-without-endpoint"),
        pytest.param("{outboundTrafficPolicy: {mode: REGISTRY_ONLY, egressProxy: {host: a}}}",
                     ["error spec.outboundTrafficPolicy.egressProxy not-allowed"],
                     id="egress-proxy"),
        pytest.param("{outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: a}}}", [],
                     id="egress-proxy-allowed"),
        pytest.param("{egress: [{hosts: [a]}]}", ["error spec.egress[0].hosts[0] host"],
                     id="host-without-namespace"),
        pytest.param("{egress: [{hosts: ['*/*', ~/*, ~other/*, ns/a.com, './*.a.com']}]}", [],
                     id="hosts"),
        pytest.param("{egress: [{hosts: [~/a.com, A/b.com, ns/a*]}]}",
                     ["error spec.egress[0].hosts[0] host", "error spec.egress[0].hosts[1] host",
                      "error spec.egress[0].hosts[2] host"], id="bad-hosts"),
        pytest.param("{egress: [{hosts: ['./*', './*']}]}",
                     ["warning spec.egress[0].hosts[1] duplicate"], id="host-twice"),
        pytest.param("{egress: [{}]}", ["error spec.egress[0].hosts required"], id="no-hosts"),
        pytest.param("{egress: [{hosts: ['./*']}, {hosts: ['./*'], %s}]}" % PORT,
                     ["error spec.egress[0] egress"], id="portless-not-last"),
        pytest.param("{egress: [{hosts: ['./*'], %s}, {hosts: ['./*'], %s}]}" % (PORT, PORT),
                     ["error spec.egress[1].port.number duplicate"], id="egress-port-twice"),
        pytest.param("{egress: [{hosts: ['./*'], port: {name: a}}]}",
                     ["error spec.egress[0].port.number required"], id="egress-port-number"),
        pytest.param("{ingress: [{port: {protocol: HTTP}}, {port: {protocol: HTTP}}]}",
                     ["error spec.ingress[0].port.number required",
                      "error spec.ingress[1].port.number required"], id="ingress-numbers"),
        pytest.param("{egress: [{hosts: ['./*'], bind: x, %s}]}" % PORT,
                     ["error spec.egress[0].bind bind"], id="egress-bind"),
        pytest.param("{ingress: [{%s}, {%s}]}" % (PORT, PORT),
                     ["error spec.ingress[1].port.number duplicate"], id="ingress-port-twice"),
        pytest.param("{ingress: [{%s, bind: '::1'}]}" % PORT, [], id="ingress-bind"),
        pytest.param("{ingress: [{%s, bind: 'unix:///a'}]}" % PORT,
                     ["error spec.ingress[0].bind bind"], id="ingress-bind-socket"),
        pytest.param("{ingress: [{bind: 10.0.0.1}]}", ["error spec.ingress[0].port required"],
                     id="no-port"),
        pytest.param("{ingress: [{port: {name: a}}]}",
                     ["error spec.ingress[0].port.number required",
                      "error spec.ingress[0].port.protocol required"], id="empty-port"),
    ],
)  # fmt: skip
def test_sidecar(spec: str, expected: list[str]) -> None:
    assert found("Sidecar", spec) == expected


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        *(
            pytest.param("{%s, defaultEndpoint: '%s'}" % (PORT, text), [], id=text)
            for text in ("127.0.0.1:80", "0.0.0.0:80", "[::1]:80", "[::]:80", ":80", "unix:///a")
        ),
        *(
            pytest.param("{%s, defaultEndpoint: '%s'}" % (PORT, text),
                         ["defaultEndpoint endpoint"], id=text)
            for text in ("10.0.0.1:80", "127.0.0.1", "127.0.0.1:x", ":70000", "unix://a")
        ),
        pytest.param("{%s, tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b}}" % TLS_PORT,
                     [], id="tls"),
        pytest.param("{%s, tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b}}" % PORT,
                     ["tls not-allowed"], id="tls-on-http"),
        pytest.param("{%s, tls: {mode: ISTIO_MUTUAL}}" % TLS_PORT, ["tls.mode not-allowed"],
                     id="istio-mutual"),
        pytest.param("{%s, tls: {mode: SIMPLE, credentialName: c}}" % TLS_PORT,
                     ["tls.credentialName not-allowed"], id="credential"),
        pytest.param("{%s, tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b,"
                     " subjectAltNames: [a]}}" % TLS_PORT, ["tls.subjectAltNames not-allowed"],
                     id="sans"),
        pytest.param("{port: {number: 1, protocol: TCP, name: a},"
                     " connectionPool: {http: {maxRetries: 1}}}",
                     ["warning connectionPool.http without-effect"], id="http-pool-on-tcp"),
    ],
)  # fmt: skip
def test_ingress(listener: str, expected: list[str]) -> None:
    full = [
        f"warning spec.ingress[0].{item[8:]}"
        if item.startswith("warning ")
        else f"error spec.ingress[0].{item}"
        for item in expected
    ]
    assert found("Sidecar", "{ingress: [%s]}" % listener) == full
