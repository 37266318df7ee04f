"""Which fields of Kubernetes' objects are read (`reading`): the rest need not be decoded.

A Pod has some hundred fields, of which a dozen matter to the mesh. What a field holds is judged
when it is read; here it is anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict


class _Metadata(TypedDict, total=False):
    name: Any
    namespace: Any
    resourceVersion: Any
    labels: Any
    annotations: Any
    creationTimestamp: Any
    deletionTimestamp: Any
    ownerReferences: Any


class _Labelled(TypedDict, total=False):
    name: Any
    namespace: Any
    resourceVersion: Any
    labels: Any


class _NamespaceShape(TypedDict, total=False):
    metadata: _Labelled | None


class _NodeStatus(TypedDict, total=False):
    addresses: Any


class _NodeShape(TypedDict, total=False):
    metadata: _Labelled | None
    status: _NodeStatus | None


class _ServiceStatus(TypedDict, total=False):
    loadBalancer: Any


class _ServiceShape(TypedDict, total=False):
    metadata: _Metadata | None
    spec: Any
    status: _ServiceStatus | None


class _EndpointSliceShape(TypedDict, total=False):
    metadata: _Labelled | None
    addressType: Any
    ports: Any
    endpoints: Any


class _Container(TypedDict, total=False):
    name: Any
    ports: Any
    restartPolicy: Any


class _PodSpec(TypedDict, total=False):
    nodeName: Any
    hostNetwork: Any
    serviceAccountName: Any
    serviceAccount: Any
    containers: list[_Container] | None
    initContainers: list[_Container] | None


class _Condition(TypedDict, total=False):
    type: Any
    status: Any


class _PodStatus(TypedDict, total=False):
    phase: Any
    podIP: Any
    podIPs: Any
    conditions: list[_Condition] | None


class _PodShape(TypedDict, total=False):
    metadata: _Metadata | None
    spec: _PodSpec | None
    status: _PodStatus | None


SHAPES: Final[Mapping[str, Any]] = {
    "Namespace": _NamespaceShape,
    "Node": _NodeShape,
    "Service": _ServiceShape,
    "EndpointSlice": _EndpointSliceShape,
    "Pod": _PodShape,
}
"""By the kind that is followed. An object that has another shape is decoded whole."""
