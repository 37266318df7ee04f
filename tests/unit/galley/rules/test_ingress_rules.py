"""Ingress and IngressClass: accepted, rejected and warned of (pilot.md I7)."""

from __future__ import annotations

import pytest

from tests.support.galley_rules import found

BACKEND = "backend: {service: {name: a, port: {number: 80}}}"


def paths(text: str) -> list[str]:
    texts = found("Ingress", f"{{rules: [{{host: a.com, http: {{paths: [{{{text}}}]}}}}]}}")
    return sorted(each.replace("spec.rules[0].http.paths[0].", "") for each in texts)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{defaultBackend: {service: {name: a, port: {name: http}}}}",
                     ["warning spec.defaultBackend without-effect"], id="default-backend"),
        pytest.param("{}", ["error spec required"], id="empty"),
        pytest.param("{rules: [{host: A.com}, {host: '*.b.com'}, {host: '*'}]}",
                     ["error spec.rules[0].host host", "error spec.rules[2].host host",
                      "warning spec.rules[0].http without-effect",
                      "warning spec.rules[1].http without-effect",
                      "warning spec.rules[2].http without-effect"], id="hosts"),
        pytest.param("{defaultBackend: {resource: {kind: Bucket, name: a}}}",
                     ["error spec.defaultBackend.resource unsupported",
                      "warning spec.defaultBackend without-effect"], id="resource"),
        pytest.param("{defaultBackend: {}}", ["error spec.defaultBackend.service required",
                      "warning spec.defaultBackend without-effect"],
                     id="no-service"),
        pytest.param("{defaultBackend: {service: {name: a.b, port: {number: 80, name: http}}}}",
                     ["error spec.defaultBackend.service.name name",
                      "error spec.defaultBackend.service.port.number one-of",
                      "warning spec.defaultBackend without-effect"], id="port-twice"),
        pytest.param("{defaultBackend: {service: {name: a, port: {}}}}",
                     ["error spec.defaultBackend.service.port required",
                      "warning spec.defaultBackend without-effect"], id="no-port"),
        pytest.param("{defaultBackend: {service: {name: a, port: {number: 70000}}},"
                     " tls: [{hosts: [A], secretName: A}, {hosts: [a.com]}]}",
                     ["error spec.defaultBackend.service.port.number port",
                      "error spec.tls[0].hosts[0] host", "error spec.tls[0].secretName name",
                      "warning spec.defaultBackend without-effect",
                      "warning spec.tls[1].secretName without-effect"], id="tls"),
    ],
)  # fmt: skip
def test_ingress(spec: str, expected: list[str]) -> None:
    assert sorted(found("Ingress", spec)) == expected


def test_the_annotation_wins_over_the_class() -> None:
    path = f"{{path: /, pathType: Prefix, {BACKEND}}}"
    spec = f"{{ingressClassName: a, rules: [{{host: a.com, http: {{paths: [{path}]}}}}]}}"
    annotations = "{kubernetes.io/ingress.class: istio}"
    expected = ["warning spec.ingressClassName without-effect"]
    assert found("Ingress", spec, annotations=annotations) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(f"path: /a, pathType: Prefix, {BACKEND}", [], id="prefix"),
        pytest.param(f"path: /a/*, pathType: ImplementationSpecific, {BACKEND}", [], id="star"),
        pytest.param(f"pathType: ImplementationSpecific, {BACKEND}", [], id="own-empty"),
        pytest.param(f"path: .*, pathType: ImplementationSpecific, {BACKEND}", [], id="own-all"),
        pytest.param(f"pathType: Exact, {BACKEND}", ["error path required"], id="exact-empty"),
        pytest.param(f"path: a, pathType: Prefix, {BACKEND}", ["error path path"], id="relative"),
        pytest.param(f"path: /{'a' * 1024}, pathType: Prefix, {BACKEND}", ["error path path"],
                     id="long"),
        pytest.param(f'path: "/a\\n", pathType: Prefix, {BACKEND}', ["error path path"],
                     id="control"),
        pytest.param(f"path: /a, pathType: Regex, {BACKEND}", ["error pathType path-type"],
                     id="type"),
        pytest.param("path: /a", ["error backend required", "error pathType required"],
                     id="nothing-else"),
    ],
)  # fmt: skip
def test_paths(text: str, expected: list[str]) -> None:
    assert paths(text) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("{controller: istio.io/ingress-controller}", [], id="good"),
        pytest.param("{controller: nothing}", ["error spec.controller controller"], id="bad"),
        pytest.param("{controller: a.com/b, parameters: {kind: A, name: a, scope: Namespace}}",
                     ["error spec.parameters.namespace required",
                      "warning spec.parameters without-effect"], id="no-namespace"),
        pytest.param("{controller: a.com/b, parameters: {kind: A, name: a, namespace: b,"
                     " scope: Namespace}}",
                     ["warning spec.parameters without-effect"], id="parameters"),
        pytest.param("{controller: a.com/b, parameters: {kind: A, name: a, namespace: b}}",
                     ["error spec.parameters.namespace not-allowed",
                      "warning spec.parameters without-effect"], id="namespace"),
        pytest.param("{controller: a.com/b, parameters: {kind: A, name: a, scope: World}}",
                     ["error spec.parameters.scope scope",
                      "warning spec.parameters without-effect"], id="scope"),
    ],
)  # fmt: skip
def test_ingress_class(spec: str, expected: list[str]) -> None:
    assert sorted(found("IngressClass", spec)) == expected
