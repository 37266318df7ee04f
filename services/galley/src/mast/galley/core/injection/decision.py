"""Whether a pod gets a proxy (C1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from mast.galley.core.injection.labels import selects
from mast.galley.core.injection.settings import Settings

INJECT: Final = "sidecar.istio.io/inject"
IGNORED_NAMESPACES: Final = frozenset(
    {"kube-system", "kube-public", "kube-node-lease", "local-path-storage"}
)
_SAID: Final = {"true": True, "false": False}


class Decision(NamedTuple):
    """What happens to a pod, and by which rule."""

    inject: bool
    reason: str


def decision(pod: Mapping[str, Any], namespace: str, settings: Settings) -> Decision:
    """The first rule that says something decides (C1).

    ``pod`` is a pod or the template of one; of ``sidecar.istio.io/inject`` values but ``true`` and
    ``false`` count as none, and an annotation only if there is no label.
    """
    metadata = pod.get("metadata") or {}
    labels = metadata.get("labels") or {}
    annotations = metadata.get("annotations") or {}
    if (pod.get("spec") or {}).get("hostNetwork") is True:
        return Decision(False, "the pod uses the network of its node (hostNetwork)")
    if namespace in IGNORED_NAMESPACES:
        return Decision(False, f"nothing is injected in namespace {namespace}")
    source, given = ("label", labels) if INJECT in labels else ("annotation", annotations)
    said = _SAID.get(str(given.get(INJECT, "")))
    if said is not None:
        return Decision(said, f"{source} {INJECT} is {str(said).lower()}")
    for selector in settings.never:
        if selects(selector, labels):
            return Decision(False, "neverInjectSelector selects the pod")
    for selector in settings.always:
        if selects(selector, labels):
            return Decision(True, "alwaysInjectSelector selects the pod")
    return Decision(settings.enabled, f"the policy is {'en' if settings.enabled else 'dis'}abled")
