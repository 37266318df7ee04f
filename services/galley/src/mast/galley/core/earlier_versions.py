"""Documents of API versions that Kubernetes has given up, as what took their place.

Manifests of Istio 1.0 to 1.17 are written in them, and files outlive API servers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from mast.galley.core.documents import Node
from mast.galley.core.problem import Position

_INGRESS: Final = "networking.k8s.io/v1"
_APPS: Final = "apps/v1"
_BATCH: Final = "batch/v1"
_WORKLOADS: Final = ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet")


def current(document: Node) -> Node:
    """The document in the version that took the place of its own; most are what they were.

    Positions stay those of what was written (Kubernetes, "Deprecated API Migration Guide").
    """
    content = _mapping(document)
    version, kind = _text(content.get("apiVersion")), _text(content.get("kind"))
    if (version, kind) not in _SUCCESSORS:
        return document
    successor, rewritten = _SUCCESSORS[version, kind]
    named = replace(content["apiVersion"], value=successor, text=None)
    made = replace(document, value={**content, "apiVersion": named})
    return _with(made, "spec", rewritten)


def _ingress(spec: Node) -> Node:
    """``backend`` has another name, backends another shape, and paths have types."""
    spec = _with(_renamed(spec, "backend", "defaultBackend"), "defaultBackend", _backend)
    return _with(spec, "rules", lambda rules: _each(rules, _rule))


def _rule(rule: Node) -> Node:
    return _with(rule, "http", lambda http: _with(http, "paths", lambda all_: _each(all_, _path)))


def _path(path: Node) -> Node:
    content = _mapping(path)
    if content and "pathType" not in content:
        typed = Node("ImplementationSpecific", path.position)
        path = replace(path, value={**content, "pathType": typed})
    return _with(path, "backend", _backend)


def _backend(backend: Node) -> Node:
    """``serviceName`` and ``servicePort`` as ``service``; a port is a name if it is text."""
    content = dict(_mapping(backend))
    name, port = content.pop("serviceName", None), content.pop("servicePort", None)
    if name is None and port is None:
        return backend
    service: dict[str, Node] = {}
    keys: dict[str, Position] = {}
    if name is not None:
        service["name"], keys["name"] = name, backend.keys.get("serviceName", name.position)
    if port is not None:
        key = "name" if isinstance(port.value, str) else "number"
        service["port"] = Node({key: port}, port.position)
        keys["port"] = backend.keys.get("servicePort", port.position)
    content["service"] = Node(service, backend.position, keys=keys)
    return replace(backend, value=content)


def _as_it_is(spec: Node) -> Node:
    return spec


_SUCCESSORS: Final[Mapping[tuple[str, str], tuple[str, Callable[[Node], Node]]]] = {
    ("extensions/v1beta1", "Ingress"): (_INGRESS, _ingress),
    ("networking.k8s.io/v1beta1", "Ingress"): (_INGRESS, _ingress),
    ("networking.k8s.io/v1beta1", "IngressClass"): (_INGRESS, _as_it_is),
    **{
        (version, kind): (_APPS, _as_it_is)
        for version in ("extensions/v1beta1", "apps/v1beta1", "apps/v1beta2")
        for kind in _WORKLOADS
    },
    ("batch/v1beta1", "CronJob"): (_BATCH, _as_it_is),
    ("batch/v2alpha1", "CronJob"): (_BATCH, _as_it_is),
}
"""By apiVersion and kind: the apiVersion of today, and what becomes of ``spec``."""


def _mapping(node: Node) -> Mapping[str, Node]:
    return node.value if isinstance(node.value, dict) else {}


def _text(node: Node | None) -> str:
    return node.value if node is not None and isinstance(node.value, str) else ""


def _with(node: Node, key: str, change: Callable[[Node], Node]) -> Node:
    """The mapping with one value changed, if it is a mapping and has that value."""
    content = _mapping(node)
    return replace(node, value={**content, key: change(content[key])}) if key in content else node


def _each(node: Node, change: Callable[[Node], Node]) -> Node:
    if not isinstance(node.value, list):
        return node
    return replace(node, value=[change(item) for item in node.value])


def _renamed(node: Node, old: str, new: str) -> Node:
    """The mapping with a key under another name, unless it has that one, too."""
    content = dict(_mapping(node))
    if old not in content or new in content:
        return node
    content[new] = content.pop(old)
    return replace(node, value=content, keys={**node.keys, new: node.keys.get(old, node.position)})
