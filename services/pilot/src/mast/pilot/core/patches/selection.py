"""Which patches are in force for a proxy, and in which order (pilot.md K1, K2, B23)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]

from istio.networking.v1alpha3.envoy_filter_pb2 import EnvoyFilter
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config, selects
from mast.pilot.core.model.proxy import Proxy, ProxyType
from mast.pilot.core.patches.old_filters import changes
from mast.pilot.core.patches.patch import Compiled, Patch, PatchName, PatchSet, compiled
from mast.pilot.core.scope.audience import registered
from mast.pilot.core.scope.scope import Scope

_GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
"""Label of proxies that a Gateway of the Gateway API was deployed as."""

_GATEWAY: Final = ("gateway.networking.k8s.io", "Gateway")

_SIDECAR: Final = frozenset(
    {EnvoyFilter.ANY, EnvoyFilter.SIDECAR_INBOUND, EnvoyFilter.SIDECAR_OUTBOUND}
)
_CONTEXTS: Final = {
    ProxyType.SIDECAR: _SIDECAR,
    ProxyType.ROUTER: frozenset({EnvoyFilter.ANY, EnvoyFilter.GATEWAY}),
}
"""Contexts whose patches a type of proxy takes; none for proxies without Envoy configuration."""


def selected(proxy: Proxy, scope: Scope) -> tuple[PatchName, ...]:
    """Names of the patches for a proxy, first applied first.

    Lower priority first, then the root namespace before the own one, then the oldest. Nothing for
    gRPC libraries: they understand too little of Envoy's configuration.
    """
    contexts = _CONTEXTS.get(proxy.type)
    if contexts is None or proxy.proxyless:
        return ()
    return tuple(
        PatchName(each.meta.namespace, each.meta.name, place)
        for each in filters_for(proxy, scope)
        for place, patch in enumerate(changes(each.spec))
        if patch.match.context in contexts and _fits(patch.match.proxy, proxy)
    )


def filters_for(proxy: Proxy, scope: Scope) -> Sequence[Config[EnvoyFilter]]:
    """EnvoyFilters that select the proxy, in the order in which they are applied."""
    found = scope.policies(collection_names.ENVOY_FILTERS)
    if not found:
        return ()
    root = scope.mesh.root_namespace
    known = registered(proxy, scope)
    if known is not None:
        proxy = proxy.with_registry_labels(known.labels)

    def order(each: Config[EnvoyFilter]) -> Any:
        meta = each.meta
        name = f"{meta.name}.{meta.namespace}"
        return each.spec.priority, meta.namespace != root, meta.created, name

    return sorted((each for each in found if _selects(each, proxy)), key=order)


def patch_set(names: tuple[PatchName, ...], scope: Scope) -> PatchSet:
    """The patches of those names; one that cannot be read is left out and reported."""
    return scope.shared(("patch set", names), lambda inner: _patch_set(names, inner))


def _patch_set(names: tuple[PatchName, ...], scope: Scope) -> PatchSet:
    known: dict[PatchName, Patch] = {}
    for namespace, name in dict.fromkeys((each.namespace, each.filter) for each in names):
        found = _compiled(namespace, name, scope)
        known.update((each.name, each) for each in found.patches)
        for skipped in found.unreadable:
            if skipped.patch in names:
                scope.report(skipped.finding())
    return PatchSet(tuple(known[each] for each in names if each in known))


def _compiled(namespace: str, name: str, scope: Scope) -> Compiled:
    def made(inner: Scope) -> Compiled:
        config = inner.config(collection_names.ENVOY_FILTERS, namespace, name)
        return Compiled(()) if config is None else compiled(config)

    return scope.shared(("envoy filter", namespace, name), made)


def _selects(config: Config[EnvoyFilter], proxy: Proxy) -> bool:
    """By labels, or by the Gateway in its own namespace that the proxy stands for."""
    spec = config.spec
    labels = spec.workload_selector.labels or spec.workload_labels
    if labels:
        return selects(labels, proxy.labels)
    if not spec.targetRefs:
        return True
    return config.meta.namespace == proxy.namespace and any(
        (each.group, each.kind) == _GATEWAY and each.name == proxy.labels.get(_GATEWAY_NAME)
        for each in spec.targetRefs
    )


def _fits(match: EnvoyFilter.ProxyMatch, proxy: Proxy) -> bool:
    """By the version that the proxy tells, which must be there, and values of its metadata."""
    version = proxy.text("ISTIO_VERSION")
    if match.proxy_version and not (version and _found(match.proxy_version, version)):
        return False
    return all(proxy.metadata.get(key) == value for key, value in match.metadata.items())


@lru_cache(maxsize=1024)
def _found(pattern: str, version: str) -> bool:
    """Whether an RE2 expression occurs in a version; one that does not compile nowhere does."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options).search(version) is not None
    except re2.error:
        return False
