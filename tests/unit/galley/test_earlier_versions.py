"""Documents of versions that Kubernetes gave up say what those of today do, at their places."""

from __future__ import annotations

import pytest

from mast.galley.core.documents import documents
from mast.galley.core.earlier_versions import current
from mast.galley.core.judge import judge
from mast.galley.core.objects import Defaults, Reading, read_text


def _read(text: str) -> Reading:
    return read_text(text, "f.yaml", Defaults(skip_foreign=True))


def _ingress(version: str, spec: str) -> str:
    return f"apiVersion: {version}\nkind: Ingress\nmetadata: {{name: a}}\nspec: {spec}"


@pytest.mark.parametrize(
    ("before", "today"),
    [
        pytest.param("{rules: [{http: {paths: [{path: /a, backend: {serviceName: s, servicePort:"
                     " 80}}]}}]}",
                     "{rules: [{http: {paths: [{path: /a, pathType: ImplementationSpecific,"
                     " backend: {service: {name: s, port: {number: 80}}}}]}}]}", id="number"),
        pytest.param("{rules: [{http: {paths: [{path: /a, pathType: Exact, backend: {serviceName:"
                     " s, servicePort: web}}]}}]}",
                     "{rules: [{http: {paths: [{path: /a, pathType: Exact, backend: {service:"
                     " {name: s, port: {name: web}}}}]}}]}", id="name"),
        pytest.param("{backend: {serviceName: s, servicePort: 80}}",
                     "{defaultBackend: {service: {name: s, port: {number: 80}}}}", id="default"),
        pytest.param("{tls: [{secretName: c}], rules: [{host: a.example}]}",
                     "{tls: [{secretName: c}], rules: [{host: a.example}]}", id="nothing-else"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("version", ["extensions/v1beta1", "networking.k8s.io/v1beta1"])
def test_ingress(version: str, before: str, today: str) -> None:
    (old,) = (found := _read(_ingress(version, before))).objects
    (new,) = _read(_ingress("networking.k8s.io/v1", today)).objects
    assert found.problems == ()
    assert (old.kind, old.meta, old.spec) == (new.kind, new.meta, new.spec)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param("5", ["spec wrong-type"], id="spec"),
        pytest.param("{rules: 5}", ["spec.rules wrong-type"], id="rules"),
        pytest.param("{rules: [5, {http: {paths: [5]}}]}",
                     ["spec.rules[0] wrong-type", "spec.rules[1].http.paths[0] wrong-type"],
                     id="paths"),
        pytest.param("{backend: {serviceName: s}, defaultBackend: {service: {name: s}}}",
                     ["spec.backend unknown-field", "spec.defaultBackend.service.port required"],
                     id="both"),
        pytest.param("{rules: [{http: {paths: [{path: /, backend: {}}]}}]}",
                     ["spec.rules[0].http.paths[0].backend.service required"], id="no-service"),
        pytest.param("{rules: [{http: {paths: [{path: /, backend: {servicePort: 0}}]}}]}",
                     ["spec.rules[0].http.paths[0].backend.service.name required",
                      "spec.rules[0].http.paths[0].backend.service.port required"], id="no-name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(spec: str, expected: list[str]) -> None:
    found = judge(_read(_ingress("extensions/v1beta1", spec)))
    told = sorted(f"{p.path} {p.rule}" for p in found.problems if "without-effect" not in p.rule)
    assert told == expected


def test_mistakes_stand_where_they_were_written() -> None:
    text = (
        "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}\nspec:\n  rules:\n"
        "  - http:\n      paths:\n      - path: /a\n        backend:\n"
        "          serviceName: A_b\n          servicePort: 80\n"
    )
    (problem,) = judge(_read(text)).problems
    assert (problem.position.line, problem.rule) == (10, "name")
    assert problem.path == "spec.rules[0].http.paths[0].backend.service.name"


@pytest.mark.parametrize(
    ("version", "kind", "successor"),
    [
        pytest.param("extensions/v1beta1", "Deployment", "apps/v1", id="extensions"),
        pytest.param("apps/v1beta1", "StatefulSet", "apps/v1", id="apps"),
        pytest.param("apps/v1beta2", "ReplicaSet", "apps/v1", id="apps-again"),
        pytest.param("batch/v1beta1", "CronJob", "batch/v1", id="batch"),
        pytest.param("networking.k8s.io/v1beta1", "IngressClass", "networking.k8s.io/v1",
                     id="class"),
        pytest.param("apps/v1", "Deployment", "apps/v1", id="today"),
        pytest.param("extensions/v1beta1", "Scale", "extensions/v1beta1", id="another"),
    ],
)  # fmt: skip
def test_versions(version: str, kind: str, successor: str) -> None:
    (node,), _ = documents(f"{{apiVersion: {version}, kind: {kind}, spec: {{a: b}}}}")
    assert isinstance(node.value, dict)
    made = current(node).value
    assert isinstance(made, dict)
    assert made["apiVersion"].value == successor
    assert made["spec"] == node.value["spec"]


@pytest.mark.parametrize("text", ["5", "[]", "{kind: Ingress}", "{apiVersion: [], kind: {}}"])
def test_what_is_no_object_stays(text: str) -> None:
    (node,), _ = documents(text)
    assert current(node) is node
