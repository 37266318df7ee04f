"""A pod with its proxy (C2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mast.galley.core.injection import earlier, metrics, probes, shape, templates
from mast.galley.core.injection.annotations import (
    OVERRIDES,
    SIDECAR,
    STATUS,
    Annotations,
    checked,
)
from mast.galley.core.injection.decision import Decision, decision
from mast.galley.core.injection.json_patch import Operation, difference
from mast.galley.core.injection.merging import CONTAINERS, merged, placed
from mast.galley.core.injection.settings import Settings
from mast.galley.core.injection.site import INIT, PROXY, VALIDATION, Site
from mast.galley.core.injection.workload import Workload, workload

Object = dict[str, Any]

REVISION: Final = "istio.io/rev"
AUTO: Final = "auto"
"""The image of a container that says: the injector knows it."""


@dataclass(frozen=True)
class Patch:
    """What a webhook answers: why, and a JSON patch, empty for a pod that stays as it is."""

    decision: Decision
    operations: tuple[Operation, ...] = ()


def patch(
    pod: Mapping[str, Any], settings: Settings, *, namespace: str, kubelet: str = ""
) -> Patch:
    """The patch that gives a pod its proxy, if it gets one (C1, C2).

    ``namespace`` is that of the admission request: the pod may not name its own. Raises
    InjectionRefused with everything that is wrong.
    """
    shape.check(pod)
    decided = decision(pod, namespace, settings)
    if not decided.inject:
        return Patch(decided)
    made = injected(pod, settings, namespace=namespace, kubelet=kubelet)
    return Patch(decided, tuple(difference(pod, made)))


def injected(
    pod: Mapping[str, Any],
    settings: Settings,
    *,
    namespace: str,
    of: Workload | None = None,
    kubelet: str = "",
) -> Object:
    """The pod, or template of one, with its proxy; what was injected before is taken back first.

    ``of`` is the workload of a template; a pod's is known by its owner. ``kubelet`` is the version
    of the pod's node, if it has one. Raises InjectionRefused with everything that is wrong.
    """
    shape.check(pod)
    annotations = _annotations(pod, settings)
    original = earlier.as_written({**pod})
    if original != pod:
        shape.check(original)
        annotations = _annotations(original, settings)
    site = Site(
        pod=original,
        workload=of or workload(original, namespace),
        annotations=annotations,
        settings=settings,
        kubelet=kubelet,
    )
    names = site.annotations.templates(settings)
    own = earlier.overridden(original)
    bare = _without(original, own)
    result = merged(bare, templates.overlay(site, names))
    result["spec"] = _with_own(result["spec"], own)
    page, about_page = metrics.merged_page(site) if _has_agent(names) else ({}, "")
    variables = {metrics.VARIABLE: about_page}
    if _has_agent(names) and _rewrites(site):
        result, originals = probes.rewritten(result, site.status_port)
        variables[probes.VARIABLE] = _json(originals) if originals else ""
    result["spec"] = _told(result["spec"], variables)
    result["spec"] = _ordered(result["spec"], first=site.hold or "grpc-agent" in names)
    unset = {k: v for k, v in settings.annotations.items() if k not in site.annotations.given}
    result = _noted(result, {**unset, **page, REVISION: settings.revision})
    status = {STATUS: _status(bare, result, settings.revision)}
    return _noted(result, {**({OVERRIDES: _json(own)} if own else {}), **status})


def _annotations(pod: Mapping[str, Any], settings: Settings) -> Annotations:
    return checked((pod.get("metadata") or {}).get("annotations") or {}, settings)


def _has_agent(names: Iterable[str]) -> bool:
    return bool({"sidecar", "gateway", "grpc-agent"} & set(names))


def _rewrites(site: Site) -> bool:
    """Whether probes go to the agent: nothing else can ask where there is a status port."""
    default = site.settings.values.rewrite_probes
    asked = site.annotations.flag(f"{SIDECAR}rewriteAppHTTPProbers", default)
    return asked and bool(site.status_port)


def _without(pod: Object, own: Mapping[str, list[Object]]) -> Object:
    """The pod without its author's own containers of the injected names."""
    spec = {
        group: [each for each in found if each not in own[group]] if group in own else found
        for group, found in pod["spec"].items()
    }
    return {**pod, "spec": spec}


def _with_own(spec: Object, own: Mapping[str, list[Object]]) -> Object:
    """What the author says of the mesh's containers wins; what was not injected stays as it is."""
    said = {
        group: [{k: v for k, v in each.items() if (k, v) != ("image", AUTO)} for each in found]
        for group, found in own.items()
    }
    return merged(spec, placed(said, spec))


def _told(spec: Object, variables: Mapping[str, str]) -> Object:
    """The proxy with what its agent has to know of the pod's programs."""
    env = [{"name": name, "value": value} for name, value in variables.items() if value]
    more = {"name": PROXY, "env": env}
    for group in CONTAINERS:
        if env and any(each["name"] == PROXY for each in spec.get(group) or ()):
            return merged(spec, {group: [more]})
    return spec


def _ordered(spec: Object, *, first: bool) -> Object:
    """Proxy last, or first where programs wait for it; before a native one what it builds on.

    ``istio-validation`` is the first init container, ``istio-init`` the last one: init containers
    of users run before anything is captured, unless the proxy is there already.
    """
    result = dict(spec)
    containers: list[Object] = spec.get("containers") or []
    proxies = [each for each in containers if each["name"] == PROXY]
    others = [each for each in containers if each["name"] != PROXY]
    result["containers"] = [*proxies, *others] if first else [*others, *proxies]
    inits = {each["name"]: each for each in spec.get("initContainers") or ()}
    early = [inits.pop(VALIDATION)] if VALIDATION in inits else []
    late = [inits.pop(INIT)] if INIT in inits else []
    native = [inits.pop(PROXY)] if PROXY in inits else []
    rest = [*inits.values()]
    ordered = [*early, *late, *native, *rest] if native else [*early, *rest, *late]
    result["initContainers"] = ordered
    return {k: v for k, v in result.items() if k not in earlier.GROUPS or v}


def _noted(pod: Object, more: Mapping[str, str]) -> Object:
    return merged(pod, {"metadata": {"annotations": more}})


def _status(before: Object, after: Object, revision: str) -> str:
    """What was added, for the next injection, for analysis and for people."""
    added = {}
    for group in earlier.GROUPS:
        known = {each["name"] for each in before["spec"].get(group) or ()}
        names = [each["name"] for each in after["spec"].get(group) or ()]
        added[group] = [name for name in names if name not in known]
    for field in ("labels", "annotations"):
        given = (before.get("metadata") or {}).get(field) or {}
        made = (after.get("metadata") or {}).get(field) or {}
        added[field] = [name for name in made if name not in given]
    return _json({**added, "revision": revision})


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
