"""Gateway: accepted, rejected and warned of (B2)."""

# ruff: noqa: UP031 - YAML is full of braces

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

SPEC = "{selector: {istio: ingressgateway}, servers: [%s]}"
HTTP = "port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com]"
HTTPS = "port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.com]"


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        pytest.param("{%s}" % HTTP, [], id="http"),
        pytest.param("{%s, name: front}" % HTTP,
                     ["warning spec.servers[0].name without-effect"], id="name"),
        pytest.param("{port: {number: 80, name: http, protocol: http}, hosts: ['*']}", [],
                     id="lower-case-protocol"),
        pytest.param("{port: {number: 80, name: http, protocol: HTTP},"
                     " hosts: ['*.a.com', ./b.com, '*/c.com', ns/d.com, 10.0.0.1, '::1']}", [],
                     id="hosts"),
        pytest.param("{port: {number: 80, name: http, protocol: HTTP}}",
                     ["error spec.servers[0].hosts required"], id="no-hosts"),
        pytest.param("{port: {number: 80, name: http, protocol: HTTP}, hosts: [a, A_/b.com]}",
                     ["error spec.servers[0].hosts[0] host",
                      "error spec.servers[0].hosts[1] host"], id="bad-hosts"),
        pytest.param("{hosts: [a.com]}", ["error spec.servers[0].port required"], id="no-port"),
        pytest.param("{port: {number: 80, protocol: HTTP}, hosts: [a.com]},"
                     " {port: {number: 81, protocol: HTTP}, hosts: [a.com]}",
                     ["error spec.servers[0].port.name required",
                      "error spec.servers[1].port.name required"], id="no-port-names"),
        pytest.param("{port: {number: 80, protocol: HTTP}, hosts: [a.com]}",
                     ["error spec.servers[0].port.name required"], id="no-port-name"),
        pytest.param("{port: {number: 80, name: a, protocol: FTP}, hosts: [a.com]}",
                     ["error spec.servers[0].port.protocol protocol"], id="protocol"),
        pytest.param("{port: {number: 65536, name: a, protocol: HTTP}, hosts: [a.com]}",
                     ["error spec.servers[0].port.number port"], id="port-number"),
        pytest.param("{port: {name: a, protocol: HTTP}, hosts: [a.com]}",
                     ["error spec.servers[0].port.number required"], id="no-port-number"),
        pytest.param("{port: {name: a, protocol: HTTP}, bind: 'unix:///a', hosts: [a.com]}", [],
                     id="unix"),
        pytest.param("{%s, bind: 'unix:///a'}" % HTTP, ["error spec.servers[0].port.number port"],
                     id="unix-with-port"),
        pytest.param("{%s, bind: 'unix://a/'}" % HTTP,
                     ["error spec.servers[0].port.number port", "error spec.servers[0].bind bind"],
                     id="relative-unix"),
        pytest.param("{%s, bind: 10.0.0.300}" % HTTP, ["error spec.servers[0].bind bind"],
                     id="bind"),
        pytest.param("{port: {number: 80, name: a, protocol: HTTP, targetPort: 1},"
                     " hosts: [a.com]}",
                     ["error spec.servers[0].port.targetPort unsupported"], id="target-port"),
        pytest.param("{%s, defaultEndpoint: 127.0.0.1:80}" % HTTP,
                     ["error spec.servers[0].defaultEndpoint unsupported"],
                     id="default-endpoint"),
        pytest.param("{%s}, {%s}" % (HTTP, HTTP), ["error spec.servers[1].port.name duplicate"],
                     id="port-name-twice"),
    ],
)  # fmt: skip
def test_server(server: str, expected: list[str]) -> None:
    assert found("Gateway", SPEC % server) == expected


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        pytest.param("{%s, tls: {httpsRedirect: true}}" % HTTP, [], id="redirect"),
        pytest.param("{%s, tls: {httpsRedirect: true, mode: SIMPLE, credentialName: c}}" % HTTP,
                     ["mode not-allowed", "credentialName not-allowed"], id="http-with-tls"),
        pytest.param("{%s}" % HTTPS, [" required"], id="https-without-tls"),
        pytest.param("{port: {number: 1, name: a, protocol: TCP}, hosts: [a.com],"
                     " tls: {mode: SIMPLE, credentialName: c}}", [" not-allowed"],
                     id="tcp-with-tls"),
        pytest.param("{%s, tls: {mode: SIMPLE, credentialName: c, httpsRedirect: true}}" % HTTPS,
                     ["warning httpsRedirect without-effect"], id="redirect-on-https"),
        pytest.param("{%s, tls: {mode: SIMPLE}}" % HTTPS, ["serverCertificate required"],
                     id="simple-without-certificate"),
        pytest.param("{%s, tls: {mode: SIMPLE, serverCertificate: /a}}" % HTTPS,
                     ["privateKey required"], id="no-key"),
        pytest.param("{%s, tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b}}" % HTTPS,
                     [], id="files"),
        pytest.param("{%s, tls: {mode: MUTUAL, serverCertificate: /a, privateKey: /b}}" % HTTPS,
                     ["caCertificates required"], id="mutual-without-ca"),
        pytest.param("{%s, tls: {mode: OPTIONAL_MUTUAL, serverCertificate: /a, privateKey: /b,"
                     " caCertificates: /c}}" % HTTPS, [], id="optional-mutual"),
        pytest.param("{%s, tls: {mode: MUTUAL, credentialName: c}}" % HTTPS, [],
                     id="mutual-by-credential"),
        pytest.param("{%s, tls: {mode: SIMPLE, credentialName: c, serverCertificate: /a,"
                     " privateKey: /b}}" % HTTPS, ["credentialName one-of"], id="two-sources"),
        pytest.param("{%s, tls: {mode: ISTIO_MUTUAL}}" % HTTPS, [], id="istio-mutual"),
        pytest.param("{%s, tls: {mode: ISTIO_MUTUAL, credentialName: c}}" % HTTPS,
                     ["credentialName not-allowed"], id="istio-mutual-with-credential"),
        pytest.param("{%s, tls: {mode: PASSTHROUGH, credentialName: c}}" % HTTPS,
                     ["warning credentialName without-effect"], id="passthrough-with-credential"),
        pytest.param("{%s, tls: {mode: SIMPLE, credentialName: c, caCrl: /d}}" % HTTPS,
                     ["caCrl not-allowed"], id="crl"),
        pytest.param("{%s, tls: {mode: MUTUAL, serverCertificate: /a, privateKey: /b,"
                     " caCertCredentialName: c, caCrl: /d}}" % HTTPS,
                     ["caCrl not-allowed"], id="crl-of-credential"),
        pytest.param("{%s, tls: {mode: SIMPLE, serverCertificate: a~, privateKey: /b}}" % HTTPS,
                     ["serverCertificate file"], id="file-with-tilde"),
        pytest.param("{%s, tls: {mode: SIMPLE, credentialName: c-cacert}}" % HTTPS,
                     ["credentialName credential"], id="no-certificate-in-roots"),
        *(
            pytest.param("{%s, tls: {mode: MUTUAL, credentialName: c, %s}}" % (HTTPS, text),
                         expected, id=text)
            for text, expected in (
                ("verifyCertificateSpki: [%s=]" % ("Y" * 43), []),
                ("verifyCertificateSpki: [YWJj]", ["verifyCertificateSpki[0] digest"]),
                ("verifyCertificateSpki: ['%']", ["verifyCertificateSpki[0] digest"]),
                ("verifyCertificateHash: ['%s']" % ("0a" * 32), []),
                ("verifyCertificateHash: ['%s']" % ":".join(["0A"] * 32), []),
                ("verifyCertificateHash: [abc]", ["verifyCertificateHash[0] digest"]),
                ("caCertCredentialName: 'configmap://n/c'", []),
                ("caCertCredentialName: 'configmap://c'", ["caCertCredentialName credential"]),
                ("caCertCredentialName: 'sds://n/c'", ["caCertCredentialName credential"]),
            )
        ),
        *(
            pytest.param("{%s, tls: {mode: SIMPLE, credentialName: '%s'}}" % (HTTPS, name),
                         expected, id=name)
            for name, expected in (
                ("a.b", []),
                ("kubernetes://a", []),
                ("kubernetes://n/a", []),
                ("kubernetes-gateway://n/a", []),
                ("kubernetes-gateway://a", ["credentialName credential"]),
                ("configmap://n/a", ["credentialName credential"]),
                ("n/a", ["credentialName credential"]),
                ("A", ["credentialName credential"]),
                ("sds://a", ["credentialName credential"]),
            )
        ),
        pytest.param("{%s, tls: {mode: MUTUAL, serverCertificate: /a, privateKey: /b,"
                     " insecureSkipVerify: true}}" % HTTPS, [], id="mutual-unverified"),
        pytest.param("{%s, tls: {mode: SIMPLE, credentialName: c, subjectAltNames: [a]}}" % HTTPS,
                     ["warning subjectAltNames without-effect"], id="simple-with-names"),
        pytest.param("{%s, tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: /a}]}}"
                     % HTTPS, ["tlsCertificates[0].privateKey required"], id="pair-without-key"),
        pytest.param("{%s, tls: {mode: SIMPLE, tlsCertificates: [%s]}}"
                     % (HTTPS, ", ".join(["{serverCertificate: /a, privateKey: /b}"] * 3)),
                     ["warning tlsCertificates certificates"], id="three-pairs"),
        pytest.param("{%s, tls: {mode: SIMPLE, credentialName: c, cipherSuites: [X, AES128-SHA,"
                     " AES128-SHA]}}" % HTTPS,
                     ["warning cipherSuites[0] cipher", "warning cipherSuites[2] cipher"],
                     id="ciphers"),
        pytest.param("{%s, tls: {mode: SIMPLE, credentialName: c,"
                     " minProtocolVersion: TLSV1_0}}" % HTTPS,
                     ["warning minProtocolVersion cipher"], id="old-tls"),
        pytest.param("{%s, tls: {mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_3,"
                     " maxProtocolVersion: TLSV1_2}}" % HTTPS,
                     ["maxProtocolVersion tls-version"], id="versions-swapped"),
    ],
)  # fmt: skip
def test_tls(server: str, expected: list[str]) -> None:
    full = []
    for item in expected:
        severity, rest = ("warning", item[8:]) if item.startswith("warning ") else ("error", item)
        path, rule = rest.split(" ")
        full.append(f"{severity} spec.servers[0].tls{'.' if path else ''}{path} {rule}")
    assert found("Gateway", SPEC % server) == full


def test_the_name_is_one_label() -> None:
    assert found("Gateway", SPEC % f"{{{HTTP}}}", name="a.b") == ["error metadata.name name"]


def test_servers_are_required_and_a_selector_is_wise() -> None:
    assert found("Gateway", "{}") == [
        "warning spec.selector empty-selector",
        "error spec.servers required",
    ]
