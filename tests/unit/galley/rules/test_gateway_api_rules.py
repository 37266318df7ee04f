"""GatewayClass, Gateway, ReferenceGrant, BackendTLSPolicy: accepted and rejected (pilot.md I8)."""

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

GATEWAY = "gateway.networking.k8s.io/Gateway"
HTTP = "{name: http, port: 80, protocol: HTTP}"
MODE = "gateway.istio.io/tls-terminate-mode"


def gateway(listener: str, more: str = "") -> list[str]:
    """What is found in a Gateway with one listener, without the paths' beginning."""
    spec = f"{{gatewayClassName: istio, listeners: [{listener}]{more}}}"
    texts = found(GATEWAY, spec)
    return [each.removeprefix("error ").replace("spec.listeners[0].", "") for each in texts]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{controllerName: istio.io/gateway-controller, description: ours}", [],
                     id="good"),
        pytest.param("{}", ["error spec.controllerName required"], id="no-controller"),
        pytest.param("{controllerName: nothing}", ["error spec.controllerName controller"],
                     id="no-path"),
        pytest.param(f"{{controllerName: a.com/b, description: {'a' * 65}}}",
                     ["error spec.description size"], id="long-description"),
        pytest.param("{controllerName: a.com/b, parametersRef: {group: a_b, kind: C C}}",
                     ["error spec.parametersRef.group group", "error spec.parametersRef.kind kind",
                      "error spec.parametersRef.name required",
                      "warning spec.parametersRef without-effect"], id="parameters"),
    ],
)  # fmt: skip
def test_gateway_class(spec: str, expected: list[str]) -> None:
    assert sorted(found("GatewayClass", spec)) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(f"{{gatewayClassName: istio, listeners: [{HTTP}]}}", [], id="good"),
        pytest.param("{}", ["error spec.gatewayClassName required",
                            "error spec.listeners required"], id="empty"),
        pytest.param(f"{{gatewayClassName: 'A B', listeners: [{HTTP}]}}",
                     ["error spec.gatewayClassName name"], id="class"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}, {HTTP}]}}",
                     ["error spec.listeners[1] duplicate",
                      "error spec.listeners[1].name duplicate"], id="twice"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " addresses: [{value: 1.2.3.4}]}",
                     ["error spec.addresses[0].type unsupported"], id="ip-address"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}], addresses: [{{}}]}}",
                     ["error spec.addresses[0].type unsupported"], id="any-address"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " addresses: [{type: IPAddress, value: a.b}]}",
                     ["error spec.addresses[0].type unsupported",
                      "error spec.addresses[0].value address"], id="no-address"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " addresses: [{type: Hostname, value: a.b}]}", [], id="service"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " addresses: [{type: Hostname}]}",
                     ["error spec.addresses[0].value required"], id="no-service"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " addresses: [{type: Hostname, value: '*'}]}",
                     ["error spec.addresses[0].value host"], id="service-wildcard"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " addresses: [{type: Name, value: a}, {type: Hostname, value: a}]}",
                     ["error spec.addresses size", "error spec.addresses[0].type address"],
                     id="several-addresses"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " allowedListeners: {namespaces: {from: All}}}",
                     ["error spec.allowedListeners unsupported"], id="listener-sets"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " allowedListeners: {namespaces: {from: None}}}", [], id="no-listener-sets"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " infrastructure: {labels: {'a b': c}}}",
                     ['error spec.infrastructure.labels["a b"] label',
                      'warning spec.infrastructure without-effect'], id="infrastructure"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " tls: {backend: {clientCertificateRef: {kind: Secret, name: a}}}}",
                     ["error spec.tls.backend unsupported"], id="certificate-for-backends"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}],"
                     " tls: {frontend: {perPort: [{port: 443, tls: {}}, {port: 443, tls: {}}]}}}",
                     ["error spec.tls.frontend.perPort[1].port duplicate"], id="port-twice"),
        pytest.param(f"{{gatewayClassName: a, listeners: [{HTTP}], defaultScope: All}}",
                     ["error spec.defaultScope unknown-field"], id="unknown"),
    ],
)  # fmt: skip
def test_gateway(spec: str, expected: list[str]) -> None:
    assert sorted(found(GATEWAY, spec)) == expected


def test_the_name_of_a_gateway_becomes_a_label() -> None:
    spec = f"{{gatewayClassName: a, listeners: [{HTTP}]}}"
    assert found(GATEWAY, spec, name="ab." * 21 + "c") == ["error metadata.name name"]


def test_names_of_generated_gateways_are_reserved() -> None:
    spec = "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*']}],"
    name = "web-istio-autogenerated-k8s-gateway-http"
    assert found("gw", f"{spec} selector: {{a: b}}}}", name=name) == [
        "error metadata.name reserved"
    ]


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        pytest.param(HTTP, [], id="http"),
        pytest.param("{name: a, port: 80, protocol: HTTP, hostname: '*.a.com'}", [], id="wildcard"),
        pytest.param("{name: a, port: 80, protocol: HTTP, hostname: '*'}", ["hostname host"],
                     id="every-host"),
        pytest.param("{name: a, port: 80, protocol: HTTP, hostname: A.com}", ["hostname host"],
                     id="upper-case"),
        pytest.param("{name: a, port: 80, protocol: HTTP, hostname: 1.2.3.4}", ["hostname host"],
                     id="address"),
        pytest.param("{}", ["name required", "port required", "protocol required"], id="empty"),
        pytest.param("{name: A, port: 70000, protocol: UDP}",
                     ["name name", "port port", "protocol protocol"], id="bad"),
        pytest.param("{name: a, port: 15008, protocol: HBONE}", ["warning protocol without-effect"],
                     id="waypoint"),
        pytest.param("{name: a, port: 80, protocol: TCP, hostname: a.com}",
                     ["hostname not-allowed"], id="tcp-host"),
        pytest.param("{name: a, port: 80, protocol: HTTP, tls: {}}", ["tls not-allowed"],
                     id="http-tls"),
        pytest.param("{name: a, port: 443, protocol: HTTPS}", ["tls required"], id="https-no-tls"),
        pytest.param("{name: a, port: 443, protocol: HTTPS, tls: {}}",
                     ["tls.certificateRefs required"], id="no-certificate"),
        pytest.param("{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}",
                     ["tls.mode not-allowed"], id="https-passthrough"),
        pytest.param("{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough}}", [],
                     id="passthrough"),
        pytest.param("{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough,"
                     " certificateRefs: [{name: a}]}}", ["tls.certificateRefs not-allowed"],
                     id="passthrough-certificate"),
        pytest.param("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}]}}",
                     [], id="https"),
        pytest.param("{name: a, port: 443, protocol: HTTPS, tls: {mode: Open,"
                     " certificateRefs: [{kind: ConfigMap, name: a}, {group: a.com, name: a}]}}",
                     ["tls.certificateRefs[0].kind reference",
                      "tls.certificateRefs[1].kind reference", "tls.mode tls-mode"],
                     id="no-secrets"),
        pytest.param(f"{{name: a, port: 443, protocol: HTTPS,"
                     f" tls: {{options: {{{MODE}: ISTIO_MUTUAL}}}}}}",
                     [], id="mesh-certificate"),
        pytest.param(f"{{name: a, port: 443, protocol: HTTPS,"
                     f" tls: {{options: {{{MODE}: ISTIO_MUTUAL}},"
                     " certificateRefs: [{name: a}]}}", ["tls.certificateRefs not-allowed"],
                     id="mesh-certificate-and-own"),
        pytest.param(f"{{name: a, port: 443, protocol: HTTPS,"
                     f" tls: {{options: {{{MODE}: NONE, b: c}},"
                     " certificateRefs: [{name: a}]}}",
                     ["tls.options.b unsupported", f'tls.options["{MODE}"] tls-mode'],
                     id="options"),
        pytest.param("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}],"
                     " frontendValidation: {caCertificateRefs: [{kind: ConfigMap, name: a}]}}}",
                     [], id="clients"),
        pytest.param("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}],"
                     " frontendValidation: {mode: Maybe,"
                     " caCertificateRefs: [{kind: Thing, name: a}, {kind: Secret, name: b}]}}}",
                     ["tls.frontendValidation.caCertificateRefs[0].kind reference",
                      "tls.frontendValidation.caCertificateRefs[1] unsupported",
                      "tls.frontendValidation.mode tls-mode"], id="bad-clients"),
        pytest.param("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: a}],"
                     f" options: {{{MODE}: MUTUAL}}, frontendValidation:"
                     " {caCertificateRefs: [{kind: ConfigMap, name: a}]}}}",
                     ["tls.frontendValidation one-of"], id="clients-twice"),
        pytest.param("{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All},"
                     " kinds: [{kind: HTTPRoute}]}}", [], id="allowed"),
        pytest.param("{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Any},"
                     " kinds: [{kind: TCPRoute}, {group: a.com, kind: HTTPRoute}]}}",
                     ["allowedRoutes.kinds[0] route-kind", "allowedRoutes.kinds[1] route-kind",
                      "allowedRoutes.namespaces.from namespaces"], id="allowed-bad"),
        pytest.param("{name: a, port: 80, protocol: HTTP,"
                     " allowedRoutes: {namespaces: {from: Selector}}}",
                     ["allowedRoutes.namespaces.selector required"], id="no-selector"),
        pytest.param("{name: a, port: 80, protocol: HTTP,"
                     " allowedRoutes: {namespaces: {from: All, selector: {}}}}",
                     ["allowedRoutes.namespaces.selector not-allowed"], id="selector"),
        pytest.param("{name: a, port: 80, protocol: HTTP,"
                     " allowedRoutes: {namespaces: {from: Selector, selector:"
                     " {matchLabels: {'a b': '?'}, matchExpressions: [{key: a, operator: In},"
                     " {key: a, operator: Exists, values: [b]}, {key: a, operator: Is}]}}}}",
                     ["allowedRoutes.namespaces.selector.matchExpressions[0].values required",
                      "allowedRoutes.namespaces.selector.matchExpressions[1].values not-allowed",
                      "allowedRoutes.namespaces.selector.matchExpressions[2].operator operator",
                      'allowedRoutes.namespaces.selector.matchLabels["a b"] label',
                      'allowedRoutes.namespaces.selector.matchLabels["a b"] label'],
                     id="bad-selector"),
    ],
)  # fmt: skip
def test_listener(listener: str, expected: list[str]) -> None:
    assert sorted(gateway(listener)) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{from: [{group: a.com, kind: A, namespace: b}], to: [{kind: Secret}]}", [],
                     id="good"),
        pytest.param("{}", ["error spec.from required", "error spec.to required"], id="empty"),
        pytest.param("{from: [{kind: A}], to: [{name: 'A B'}]}",
                     ["error spec.from[0].namespace required", "error spec.to[0].kind required",
                      "error spec.to[0].name name"], id="bad"),
    ],
)  # fmt: skip
def test_reference_grant(spec: str, expected: list[str]) -> None:
    assert sorted(found("ReferenceGrant", spec)) == expected


SERVICE = "targetRefs: [{group: '', kind: Service, name: a}]"
SYSTEM = "validation: {hostname: a.com, wellKnownCACertificates: System}"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(f"{{{SERVICE}, {SYSTEM}}}", [], id="system"),
        pytest.param(f"{{{SERVICE}, validation: {{hostname: a.com,"
                     " caCertificateRefs: [{kind: ConfigMap, name: a}]}}", [], id="config-map"),
        pytest.param("{}", ["error spec.targetRefs required", "error spec.validation required"],
                     id="empty"),
        pytest.param(f"{{{SERVICE}, validation: {{hostname: '*.a.com'}}}}",
                     ["error spec.validation required", "error spec.validation.hostname host"],
                     id="no-certificates"),
        pytest.param(f"{{{SERVICE}, validation: {{hostname: a.com, wellKnownCACertificates: Mine,"
                     " caCertificateRefs: [{kind: Secret, name: a}, {kind: ConfigMap, name: b}]}}",
                     ["error spec.validation.caCertificateRefs[0].kind reference",
                      "error spec.validation.caCertificateRefs[1] unsupported",
                      "error spec.validation.wellKnownCACertificates certificates",
                      "error spec.validation.wellKnownCACertificates one-of"],
                     id="bad-certificates"),
        pytest.param(f"{{{SERVICE}, {SYSTEM}, options: {{a: b}}}}",
                     ["error spec.options unsupported"], id="options"),
        pytest.param(f"{{targetRefs: [{{kind: Gateway, name: a}}], {SYSTEM}}}",
                     ["error spec.targetRefs[0].kind reference"], id="target"),
        pytest.param("{targetRefs: [{kind: Service, name: a}, {kind: Service, name: a,"
                     f" sectionName: b}}, {{kind: Service, name: c}}], {SYSTEM}}}",
                     ["error spec.targetRefs[1] duplicate"], id="target-twice"),
        pytest.param("{targetRefs: [{kind: Service, name: a, sectionName: b},"
                     f" {{kind: Service, name: a, sectionName: c}}], {SYSTEM}}}", [], id="ports"),
        pytest.param(f"{{{SERVICE}, validation: {{hostname: a.com, wellKnownCACertificates: System,"
                     " subjectAltNames: [{type: Hostname}, {type: URI, hostname: a.com},"
                     " {type: Name, uri: a}]}}",
                     ["error spec.validation.subjectAltNames[0].hostname required",
                      "error spec.validation.subjectAltNames[1].hostname not-allowed",
                      "error spec.validation.subjectAltNames[1].uri required",
                      "error spec.validation.subjectAltNames[2].type name-type"], id="names"),
    ],
)  # fmt: skip
def test_backend_tls_policy(spec: str, expected: list[str]) -> None:
    assert sorted(found("BackendTLSPolicy", spec)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("shop", [], id="good"),
        pytest.param("a.b", ["error metadata.name name"], id="dotted"),
    ],
)
def test_namespace(name: str, expected: list[str]) -> None:
    assert found("Namespace", "{finalizers: [kubernetes]}", name=name) == expected
