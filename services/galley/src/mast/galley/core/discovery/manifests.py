"""Manifests as people write them: the Pods that controllers make, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from mast.galley.core.discovery import reading
from mast.galley.core.discovery.field_names import unknown_fields
from mast.galley.core.discovery.fields import Fields
from mast.galley.core.discovery.objects import Owner, Pod, Service
from mast.galley.core.discovery.protocols import SNIFFED, protocol
from mast.galley.core.problem import Finding, Path, warning

_TEMPLATE: Final = ("spec", "template")
CONTROLLERS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("apps/v1", "DaemonSet"): _TEMPLATE,
    ("apps/v1", "Deployment"): _TEMPLATE,
    ("apps/v1", "ReplicaSet"): _TEMPLATE,
    ("apps/v1", "StatefulSet"): _TEMPLATE,
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
    ("batch/v1", "Job"): _TEMPLATE,
    ("v1", "ReplicationController"): _TEMPLATE,
}
"""What makes Pods, by apiVersion and kind, and where it says which."""

_DEPLOYMENT: Final = "Deployment"
_REPLICAS: Final = ("spec", "replicas")
_POD_NAME: Final = "statefulset.kubernetes.io/pod-name"
_POD_INDEX: Final = "apps.kubernetes.io/pod-index"
_INJECT: Final = "sidecar.istio.io/inject"
_WITHOUT_MESH: Final = frozenset(
    {"istio-system", "kube-node-lease", "kube-public", "kube-system", "local-path-storage"}
)
_LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "app": ("app", "app.kubernetes.io/name", "service.istio.io/canonical-name"),
    "version": ("version", "app.kubernetes.io/version", "service.istio.io/canonical-revision"),
}
"""What telemetry calls a workload, and the labels that it takes that from (C2)."""


class Made(NamedTuple):
    """What a controller makes: Pods like ``pod``, which it knows by the labels of ``selector``.

    ``pod`` is None if it is broken, makes none, or is itself made by another controller.
    """

    pod: Pod | None
    selector: Mapping[str, str]
    findings: tuple[Finding, ...]


def is_manifest(api_version: str, kind: str) -> bool:
    """Whether a kind is one that discovery reads, or makes Pods."""
    return (api_version, kind) in CONTROLLERS or reading.is_read(api_version, kind)


def made(content: Mapping[str, Any]) -> Made:
    """What a controller makes; KeyError for what is none."""
    path = CONTROLLERS[content["apiVersion"], content["kind"]]
    findings: list[Finding] = []
    whole = Fields(content, findings)
    metadata, template = whole.child("metadata"), whole
    for key in path:
        if key not in template:
            template.wrong(key, "required", f"{key!r} is required")
            break
        template = template.child(key)
    owner = Owner(content["apiVersion"], content["kind"], metadata.required("name"))
    matching = whole.child("spec").child("selector").texts("matchLabels")
    owned = any(each.flag("controller") for each in metadata.children("ownerReferences"))
    pod = reading.read(_pod(content, path, owner))
    findings += (replace(each, path=(*path, *each.path)) for each in pod.findings)
    told = tuple(dict.fromkeys(findings))
    if not isinstance(pod.item, Pod) or owned or _inside(content, _REPLICAS) == 0:
        return Made(None, matching, told)
    return Made(replace(pod.item, owner=owner), matching or pod.item.labels, told)


def check(content: Mapping[str, Any]) -> Iterator[Finding]:
    """Everything wrong with a manifest, and what is hardly meant so; KeyError for other kinds."""
    findings: tuple[Finding, ...]
    if (content["apiVersion"], content["kind"]) in CONTROLLERS:
        maker = made(content)
        findings = maker.findings
        if content["kind"] == _DEPLOYMENT and maker.pod is not None and not findings:
            yield from _unnamed(maker.pod)
    else:
        found = reading.read(content)
        findings = found.findings
        if isinstance(found.item, Service):
            yield from _untold(found.item)
    generated = _inside(content, ("metadata", "generateName"))
    for each in findings:
        if not (generated and each.path == ("metadata", "name") and each.rule == "required"):
            yield each
    yield from unknown_fields(content)


def _untold(service: Service) -> Iterator[Finding]:
    """Ports that do not tell their protocol, of which `istioctl validate` tells (D1)."""
    if service.id.namespace in _WITHOUT_MESH:
        return
    for index, port in enumerate(service.ports):
        if protocol(port) == SNIFFED:
            named = repr(port.name) if port.name else "without a name"
            message = (
                f"port {port.number} ({named}) does not tell its protocol, so proxies look at the"
                " first bytes; call it for example 'http' or 'tcp-db', or set 'appProtocol'"
            )
            yield warning(("spec", "ports", index, "name"), "port-name", message)


def _unnamed(pod: Pod) -> Iterator[Finding]:
    """Pods that telemetry has no name for, of which `istioctl validate` tells."""
    outside = pod.on_host_network or pod.id.namespace in _WITHOUT_MESH
    if outside or "false" in (pod.labels.get(_INJECT), pod.annotations.get(_INJECT)):
        return
    at = (*_TEMPLATE, "metadata", "labels")
    for label, those in _LABELS.items():
        if not any(each in pod.labels for each in those):
            message = f"without label {label!r} telemetry cannot tell what it measures"
            yield warning(at, "telemetry-label", message)


def _pod(content: Mapping[str, Any], path: Path, owner: Owner) -> Mapping[str, Any]:
    """The Pod that a controller makes, named after it; those of StatefulSets are counted."""
    metadata = _mapping(_inside(content, (*path, "metadata")))
    name, labels = owner.name, metadata.get("labels")
    if owner.kind == "StatefulSet":
        name = f"{owner.name}-0"
        labels = {**_mapping(labels), _POD_NAME: name, _POD_INDEX: "0"}
    own = {key: _inside(content, ("metadata", key)) for key in ("namespace", "creationTimestamp")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, **own, "name": name or "nameless", "labels": labels},
        "spec": _inside(content, (*path, "spec")),
    }


def _inside(content: Any, path: Path) -> Any:
    """What stands at a path, None if there is nothing."""
    for key in path:
        content = _mapping(content).get(key)
    return content


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}
