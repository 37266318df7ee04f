"""Whether a pod has the shape that injection relies on; the rest is Kubernetes' matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mast.galley.core.injection.refusal import InjectionRefused, shortened
from mast.galley.core.injection.trees import TOO_DEEP, is_too_deep

_TEXTS: Final = ("name", "namespace", "generateName")
_GROUPS: Final = ("containers", "initContainers", "volumes", "imagePullSecrets")
_PROBES: Final = ("readinessProbe", "livenessProbe", "startupProbe")
_ACTIONS: Final = ("httpGet", "tcpSocket", "grpc")


def check(pod: Any) -> None:
    """Raise InjectionRefused with everything of another type than Kubernetes has."""
    if problems := list(_pod(pod)):
        raise InjectionRefused(problems)


def _pod(pod: Any) -> Iterator[str]:
    if not isinstance(pod, Mapping):
        yield "pod: want an object"
        return
    if is_too_deep(pod):
        yield f"pod: {TOO_DEEP}"
        return
    metadata, spec = pod.get("metadata") or {}, pod.get("spec")
    yield from _metadata(metadata)
    if not isinstance(spec, Mapping):
        yield "spec: want an object"
        return
    if not spec.get("containers"):
        yield "spec.containers: want at least one"
    if not isinstance(spec.get("securityContext") or {}, Mapping):
        yield "spec.securityContext: want an object"
    for group in _GROUPS:
        yield from _named(spec, group, f"spec.{group}")
    names: set[str] = set()
    for group in ("containers", "initContainers"):
        for index, each in enumerate(_objects(spec.get(group))):
            at = f"spec.{group}[{index}]"
            yield from _container(each, at)
            name = str(each.get("name"))
            if name in names:
                yield f"{at}.name: {shortened(name)} is the name of another container, too"
            names.add(name)


def _metadata(metadata: Any) -> Iterator[str]:
    if not isinstance(metadata, Mapping):
        yield "metadata: want an object"
        return
    for field in _TEXTS:
        if not isinstance(metadata.get(field) or "", str):
            yield f"metadata.{field}: want text"
    if not isinstance(metadata.get("annotations") or {}, Mapping):
        yield "metadata.annotations: want an object"
    labels = metadata.get("labels") or {}
    if not isinstance(labels, Mapping) or not all(isinstance(e, str) for e in labels.values()):
        yield "metadata.labels: want an object of texts"
    owners = metadata.get("ownerReferences") or []
    if not isinstance(owners, list) or not all(isinstance(each, Mapping) for each in owners):
        yield "metadata.ownerReferences: want a list of objects"


def _container(container: Mapping[str, Any], at: str) -> Iterator[str]:
    yield from _named(container, "env", f"{at}.env")
    ports = container.get("ports") or []
    if not isinstance(ports, list) or not all(
        isinstance(each, Mapping) and isinstance(each.get("containerPort"), int) for each in ports
    ):
        yield f"{at}.ports: want a list of objects with a containerPort each"
    hooks = container.get("lifecycle") or {}
    if not isinstance(hooks, Mapping):
        yield f"{at}.lifecycle: want an object"
        hooks = {}
    asking = {name: container.get(name) for name in _PROBES}
    asking |= {f"lifecycle.{name}": hooks.get(name) for name in ("preStop", "postStart")}
    for name, probe in asking.items():
        if not isinstance(probe or {}, Mapping):
            yield f"{at}.{name}: want an object"
        elif not all(isinstance((probe or {}).get(each) or {}, Mapping) for each in _ACTIONS):
            yield f"{at}.{name}: want objects in {', '.join(_ACTIONS)}"


def _named(parent: Mapping[str, Any], field: str, at: str) -> Iterator[str]:
    found = parent.get(field) or []
    if not isinstance(found, list):
        yield f"{at}: want a list"
        return
    if not all(isinstance(e, Mapping) and isinstance(e.get("name"), str) for e in found):
        yield f"{at}: want objects with a name each"


def _objects(found: Any) -> list[Mapping[str, Any]]:
    return [e for e in found if isinstance(e, Mapping)] if isinstance(found, list) else []
