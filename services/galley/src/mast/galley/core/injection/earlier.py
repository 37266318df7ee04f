"""Takes an earlier injection back, so that another starts from what the author wrote.

That makes injection idempotent: a webhook may be called again after others changed the pod, and
manifests may be injected for another revision.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from mast.galley.core.injection import metrics, probes
from mast.galley.core.injection.annotations import OVERRIDES, STATUS
from mast.galley.core.injection.merging import CONTAINERS
from mast.galley.core.injection.site import INJECTED, PROXY
from mast.galley.core.injection.trees import loaded

Object = dict[str, Any]

GROUPS: Final = ("initContainers", "containers", "volumes", "imagePullSecrets")


def as_written(pod: Object) -> Object:
    """The pod without what its status annotation says was added; its annotations are checked.

    Containers that were kept count only beside a status: without one, nobody has kept any.
    """
    metadata = pod.get("metadata") or {}
    annotations: dict[str, str] = metadata.get("annotations") or {}
    if not {STATUS, OVERRIDES} & set(annotations):
        return pod
    if STATUS not in annotations:
        left = {name: text for name, text in annotations.items() if name != OVERRIDES}
        return {**pod, "metadata": {**metadata, "annotations": left}}
    status = loaded(annotations[STATUS])
    variables = _variables(pod)
    spec = dict(pod.get("spec") or {})
    originals = probes.kept(variables.get(probes.VARIABLE, ""))
    for group in GROUPS:
        added = frozenset(status.get(group) or ())
        kept = [each for each in spec.get(group) or () if each.get("name") not in added]
        if group in CONTAINERS:
            kept = [probes.restored(each, originals) for each in kept]
        spec[group] = kept
    for group, containers in loaded(annotations.get(OVERRIDES) or "{}").items():
        if group in CONTAINERS:
            spec[group] = [*containers, *spec[group]]
    own = metrics.own_annotations(variables.get(metrics.VARIABLE, ""))
    names = {*(status.get("annotations") or ()), STATUS, OVERRIDES}
    told = {
        "annotations": {k: own.get(k, v) for k, v in annotations.items() if k not in names},
        "labels": _left(metadata.get("labels") or {}, status.get("labels") or ()),
    }
    return {
        **pod,
        "metadata": {key: told.get(key, value) for key, value in metadata.items()},
        "spec": {key: value for key, value in spec.items() if key not in GROUPS or value != []},
    }


def _left(labels: Mapping[str, str], added: Iterable[str]) -> Mapping[str, str]:
    return {name: value for name, value in labels.items() if name not in added}


def overridden(pod: Mapping[str, Any]) -> Object:
    """The author's own containers of the injected names, by where they stand."""
    spec = pod.get("spec") or {}
    found = {
        group: [each for each in spec.get(group) or () if each.get("name") in INJECTED]
        for group in CONTAINERS
    }
    return {group: each for group, each in found.items() if each}


def _variables(pod: Mapping[str, Any]) -> Mapping[str, str]:
    """Variables of the proxy that was injected."""
    spec = pod.get("spec") or {}
    for group in CONTAINERS:
        for each in spec.get(group) or ():
            if each.get("name") == PROXY:
                return {e["name"]: str(e.get("value") or "") for e in each.get("env") or ()}
    return {}
