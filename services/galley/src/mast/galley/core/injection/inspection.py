"""Why a pod gets a proxy, or none: what every installed injector makes of its labels (C1).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mast.galley.core.injection.decision import decision
from mast.galley.core.injection.labels import selects
from mast.galley.core.injection.refusal import InjectionRefused
from mast.galley.core.injection.settings import Settings
from mast.galley.core.injection.webhooks import DEFAULT_REVISION, REVISION, SUFFIX

Labels = Mapping[str, str]

# Labels that decide, in the order in which they are told.
_TOLD: Final = ("istio-injection", REVISION, "sidecar.istio.io/inject")


@dataclass(frozen=True)
class Inspected:
    """What one webhook configuration does with a pod, and by what."""

    configuration: str
    revision: str
    injects: bool
    reason: str


def inspected(
    configurations: Iterable[Mapping[str, Any]],
    namespace: str,
    namespace_labels: Labels,
    pod: Mapping[str, Any],
    settings: Mapping[str, Settings],
) -> list[Inspected]:
    """Every configuration with an injector, by name. ``pod`` is a pod or the template of one.

    API servers go by the labels of namespace and pod; the injector then by what else the pod says,
    and by the settings of its revision, the usual ones if they are not known.
    """
    labels = (pod.get("metadata") or {}).get("labels") or {}
    found = []
    for each in sorted(configurations, key=lambda each: each["metadata"]["name"]):
        entries = [
            entry for entry in each.get("webhooks") or () if entry.get("name", "").endswith(SUFFIX)
        ]
        if not entries:
            continue
        revision = revision_of(each)
        verdict = decision(pod, namespace, settings.get(revision, Settings()))
        met = next((entry for entry in entries if _meets(entry, namespace_labels, labels)), None)
        if met is None:
            injects, reason = False, _missed(entries, namespace_labels, labels)
        elif not verdict.inject:
            injects, reason = False, verdict.reason
        else:
            injects, reason = True, _matched(met, namespace_labels, labels)
        found.append(Inspected(each["metadata"]["name"], revision, injects, reason))
    return found


def revision_of(configuration: Mapping[str, Any]) -> str:
    """The revision whose injector a webhook configuration leads to."""
    labels = configuration["metadata"].get("labels") or {}
    return str(labels.get(REVISION, DEFAULT_REVISION))


def _meets(entry: Mapping[str, Any], namespace: Labels, pod: Labels) -> bool:
    try:
        return selects(entry.get("namespaceSelector") or {}, namespace) and selects(
            entry.get("objectSelector") or {}, pod
        )
    except InjectionRefused:
        return False


def _matched(entry: Mapping[str, Any], namespace: Labels, pod: Labels) -> str:
    """The labels that the webhook asks for, and that are there."""
    of_namespace = _wanted(entry.get("namespaceSelector") or {}, namespace)
    of_pod = _wanted(entry.get("objectSelector") or {}, pod)
    told = [f"namespace label {each}" for each in of_namespace]
    told += [f"pod label {each}" for each in of_pod]
    return f"{' and '.join(told) or 'the absence of labels'} matches"


def _wanted(selector: Mapping[str, Any], labels: Labels) -> list[str]:
    wanted = [each["key"] for each in _terms(selector) if each.get("operator") in {"In", "Exists"}]
    wanted += selector.get("matchLabels") or {}
    return [f"{key}={labels[key]}" for key in wanted if key in labels]


def _missed(entries: Iterable[Mapping[str, Any]], namespace: Labels, pod: Labels) -> str:
    """Which labels would have done, and which are there instead."""
    of_namespace: dict[str, None] = {}
    of_pod: dict[str, None] = {}
    for entry in entries:
        of_namespace |= dict.fromkeys(_asked(entry.get("namespaceSelector") or {}))
        of_pod |= dict.fromkeys(_asked(entry.get("objectSelector") or {}))
    there = [f"namespace label {key}={namespace[key]}" for key in _TOLD if key in namespace]
    there += [f"pod label {key}={pod[key]}" for key in _TOLD if key in pod]
    wants = [f"namespace labels ({', '.join(of_namespace)})"] if of_namespace else []
    wants += [f"pod labels ({', '.join(of_pod)})"] if of_pod else []
    because = f"; there is {', '.join(there)}" if there else ""
    return f"no matching {' or '.join(wants)}{because}" if wants else "the webhook is switched off"


def _asked(selector: Mapping[str, Any]) -> list[str]:
    return [
        f"{each['key']}={value}"
        for each in _terms(selector)
        if each.get("operator") == "In"
        for value in each.get("values") or ()
    ]


def _terms(selector: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [each for each in selector.get("matchExpressions") or () if "key" in each]
