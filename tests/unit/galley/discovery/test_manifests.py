"""Manifests: what controllers make, and what is wrong or hardly meant so."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from mast.galley.core.discovery.manifests import CONTROLLERS, check, is_manifest, made
from mast.galley.core.problem import path_text


def told(text: str) -> list[str]:
    found = check(yaml.safe_load(text))
    return [f"{each.severity.value} {path_text(each.path)} {each.rule}" for each in found]


def service(ports: str, namespace: str = "shop") -> str:
    return (
        f"{{apiVersion: v1, kind: Service, metadata: {{name: a, namespace: {namespace}}},"
        f" spec: {{ports: [{ports}]}}}}"
    )


def deployment(template: str, metadata: str = "name: a, namespace: shop") -> str:
    return (
        f"{{apiVersion: apps/v1, kind: Deployment, metadata: {{{metadata}}},"
        f" spec: {{template: {template}}}}}"
    )


def template(labels: str, **parts: str) -> str:
    more = parts.get("metadata", "")
    return f"{{metadata: {{labels: {{{labels}}}{more}}}, spec: {{{parts.get('spec', '')}}}}}"


APP, VERSION = (
    f"warning spec.template.metadata.labels telemetry-label for {label}"
    for label in ("app", "version")
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(service("{name: http, port: 80}"), [], id="named"),
        pytest.param(service("{name: http-web, port: 80}, {name: GRPC, port: 81}"), [], id="more"),
        pytest.param(service("{port: 80, appProtocol: http}"), [], id="app-protocol"),
        pytest.param(service("{name: dns, port: 53, protocol: UDP}"), [], id="udp"),
        pytest.param(service("{name: db, port: 3306}"), [], id="server-first"),
        pytest.param(service("{port: 80}"), ["warning spec.ports[0].name port-name"],
                     id="without-a-name"),
        pytest.param(service("{name: http, port: 80}, {name: web, port: 81}"),
                     ["warning spec.ports[1].name port-name"], id="untold"),
        pytest.param(service("{name: web, port: 80}", "kube-system"), [], id="not-of-the-mesh"),
        pytest.param(service("{name: web, port: http}"), ["error spec.ports[0].port wrong-type"],
                     id="wrong-type"),
        pytest.param(service("{name: web, prot: 80}"),
                     ["error spec.ports[0].port required",
                      "warning spec.ports[0].prot unknown-field"], id="misspelt"),
        pytest.param("{apiVersion: v1, kind: Pod, metadata: {generateName: a-}}", [],
                     id="generated-name"),
        pytest.param("{apiVersion: v1, kind: Pod, metadata: {}}", ["error metadata.name required"],
                     id="no-name"),
    ],
)  # fmt: skip
def test_check(text: str, expected: list[str]) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        pytest.param(template("app: a, version: v1"), [], id="both"),
        pytest.param(template("app.kubernetes.io/name: a, app.kubernetes.io/version: v1"), [],
                     id="kubernetes"),
        pytest.param(template("app: a"), ["version"], id="no-version"),
        pytest.param(template("k: v"), ["app", "version"], id="neither"),
        pytest.param(template("k: v, sidecar.istio.io/inject: 'false'"), [], id="not-injected"),
        pytest.param(template("k: v", metadata=", annotations: {sidecar.istio.io/inject: 'false'}"),
                     [], id="not-injected-by-annotation"),
        pytest.param(template("k: v", spec="hostNetwork: true"), [], id="host-network"),
    ],
)  # fmt: skip
def test_labels_of_deployments(text: str, missing: list[str]) -> None:
    found = list(check(yaml.safe_load(deployment(text))))
    assert [each.message.split("'")[1] for each in found] == missing
    assert {each.rule for each in found} <= {"telemetry-label"}
    assert told(deployment(text, "name: a, namespace: kube-system")) == []


def test_what_is_wrong_with_a_template() -> None:
    text = template("app: 5, version: v1", spec="containers: [{ports: [{containerPort: x}]}]")
    assert told(deployment(text)) == [
        "error spec.template.spec.containers[0].ports[0].containerPort wrong-type",
        "error spec.template.metadata.labels.app wrong-type",
    ]
    assert told("{apiVersion: apps/v1, kind: Deployment, metadata: {}, spec: 5}") == [
        "error spec wrong-type",
        "error spec.template required",
        "error metadata.name required",
    ]


def _maker(kind: str, **spec: Any) -> dict[str, Any]:
    version = next(version for version, known in CONTROLLERS if known == kind)
    inner: dict[str, Any] = {"template": {"metadata": {"labels": {"app": "a"}}, "spec": {}}}
    whole = {"jobTemplate": {"spec": inner}} if kind == "CronJob" else {**inner, **spec}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "a"}, "spec": whole}


@pytest.mark.parametrize("kind", sorted(kind for _, kind in CONTROLLERS))
def test_a_controller_makes_pods(kind: str) -> None:
    found = made(_maker(kind))
    assert found.pod is not None
    assert found.pod.owner is not None
    assert (found.pod.owner.kind, found.pod.id.name) == (
        kind,
        "a-0" if kind == "StatefulSet" else "a",
    )
    assert found.selector["app"] == "a"
    assert found.findings == ()


def test_some_make_none() -> None:
    assert made(_maker("Deployment", replicas=0)).pod is None
    owned = _maker("ReplicaSet")
    owned["metadata"]["ownerReferences"] = [{"controller": True, "kind": "Deployment"}]
    assert made(owned).pod is None
    assert made(_maker("Deployment", selector={"matchLabels": {"x": "y"}})).selector == {"x": "y"}


def test_kinds() -> None:
    assert is_manifest("v1", "Service")
    assert is_manifest("apps/v1", "Deployment")
    assert not is_manifest("v1", "ServiceAccount")
