"""Policies: the namespaces, providers and targets that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mast.galley.core.analysis import kinds, services, workloads
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.mesh import MESH
from mast.galley.core.analysis.services import SERVICES
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.analysis.workloads import WORKLOADS
from mast.galley.core.problem import Path

_NOT_FOUND = "IST0101"
_GATEWAY_API = "gateway.networking.k8s.io"
_TARGETED = (
    kinds.AUTHORIZATION_POLICY,
    kinds.REQUEST_AUTHENTICATION,
    kinds.TELEMETRY,
    kinds.WASM_PLUGIN,
    kinds.TRAFFIC_EXTENSION,
    kinds.ENVOY_FILTER,
)
_TARGETS = {
    (_GATEWAY_API, "Gateway"): f"{_GATEWAY_API}/Gateway",
    (_GATEWAY_API, "GatewayClass"): f"{_GATEWAY_API}/GatewayClass",
    ("networking.istio.io", "ServiceEntry"): kinds.SERVICE_ENTRY,
    ("", "Service"): kinds.SERVICE,
    ("core", "Service"): kinds.SERVICE,
}
_BUILT_IN = frozenset({"prometheus", "envoy", "stackdriver"})
"""Providers that there are without a word in the mesh's settings."""


def _namespaces(view: View) -> Iterator[Message]:
    known = {item.name for item in view.of(kinds.NAMESPACE)}
    known |= {workload.namespace for workload in view.fact(WORKLOADS).all}
    known |= {service.namespace for service in view.fact(SERVICES).all}
    for item in view.of(kinds.AUTHORIZATION_POLICY):
        for path, name in _named(item.body):
            if "*" not in name and name not in known:
                yield Message(_NOT_FOUND, item, f"namespace not found: {name!r}", path)


def _named(spec: Any) -> Iterator[tuple[Path, str]]:
    """Namespaces of callers."""
    for index, rule in enumerate(spec.rules):
        for number, each in enumerate(getattr(rule, "from")):
            at = ("spec", "rules", index, "from", number, "source")
            for place, name in enumerate(each.source.namespaces):
                yield (*at, "namespaces", place), name
            for place, name in enumerate(each.source.not_namespaces):
                yield (*at, "notNamespaces", place), name


def _providers(view: View) -> Iterator[Message]:
    """Where the settings of the mesh are not known, nobody knows its providers."""
    mesh = view.fact(MESH)
    if mesh.item is None:
        return
    known = _BUILT_IN | {each.name for each in mesh.settings.extension_providers}
    for item, path, name in _used(view):
        if name and name not in known:
            shown = ", ".join(sorted(known))
            text = f"MeshConfig has no extension provider {name!r}; it has: {shown}"
            yield Message(_NOT_FOUND, item, text, path)


def _used(view: View) -> Iterator[tuple[Item, Path, str]]:
    for item in view.of(kinds.AUTHORIZATION_POLICY):
        yield item, ("spec", "provider", "name"), item.body.provider.name
    for item in view.of(kinds.TELEMETRY):
        parts: dict[str, Iterable[Any]] = {
            "tracing": item.body.tracing,
            "metrics": item.body.metrics,
            "accessLogging": item.body.access_logging,
        }
        for field, entries in parts.items():
            for index, entry in enumerate(entries):
                for number, provider in enumerate(entry.providers):
                    path = ("spec", field, index, "providers", number, "name")
                    yield item, path, provider.name


def _targets(view: View) -> Iterator[Message]:
    for kind in _TARGETED:
        for item in view.of(kind):
            for path, reference in _references(item.body):
                of = _TARGETS.get((reference.group, reference.kind))
                if of is None or _exists(view, of, reference.name, item.namespace):
                    continue
                text = f"{reference.kind} not found: {item.namespace}/{reference.name}"
                yield Message(_NOT_FOUND, item, text, (*path, "name"))


def _exists(view: View, kind: str, name: str, namespace: str) -> bool:
    """Whether a target is there; a class of gateways may be a built-in one."""
    if kind.endswith("GatewayClass"):
        return name in {"istio", "mast"} or any(each.name == name for each in view.of(kind))
    return any((each.namespace, each.name) == (namespace, name) for each in view.of(kind))


def _references(spec: Any) -> Iterator[tuple[Path, Any]]:
    fields = spec.DESCRIPTOR.fields_by_name
    if "targetRef" in fields and spec.HasField("targetRef"):
        yield ("spec", "targetRef"), spec.targetRef
    for index, each in enumerate(spec.targetRefs):
        yield ("spec", "targetRefs", index), each


ANALYZERS = (
    Analyzer(
        "policy.namespaces",
        "Namespaces of callers exist.",
        frozenset({_NOT_FOUND}),
        frozenset({kinds.AUTHORIZATION_POLICY, kinds.NAMESPACE}) | workloads.KINDS | services.KINDS,
        _namespaces,
    ),
    Analyzer(
        "policy.providers",
        "Extension providers are in the settings of the mesh.",
        frozenset({_NOT_FOUND}),
        frozenset({kinds.AUTHORIZATION_POLICY, kinds.TELEMETRY, kinds.MESH_CONFIG}),
        _providers,
    ),
    Analyzer(
        "policy.targets",
        "Targets of policies exist.",
        frozenset({_NOT_FOUND}),
        frozenset({*_TARGETED, *_TARGETS.values()}),
        _targets,
    ),
)
