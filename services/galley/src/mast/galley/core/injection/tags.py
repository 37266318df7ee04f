"""Tags: names of revisions that namespaces are labelled with, as webhook configurations (C1).

Section numbers are those of galley-and-kubernetes.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mast.galley.core.injection.webhooks import (
    DEFAULT_REVISION,
    ENABLED,
    REVISION,
    SUFFIX,
    webhooks,
)

Object = dict[str, Any]

TAG: Final = "istio.io/tag"
SYSTEM: Final = "istio-system"
# Labels that no namespace and no pod has: the webhook of a former default.
DEACTIVATED: Final = {"istio.io/deactivated": "never-match"}

_NAME: Final = "istio-revision-tag-"
# What a tag's webhooks have as those of its revision.
_INHERITED: Final = (
    "clientConfig",
    "rules",
    "failurePolicy",
    "reinvocationPolicy",
    "sideEffects",
    "admissionReviewVersions",
    "timeoutSeconds",
)
_OF_DEFAULT: Final = (f"namespace.{SUFFIX}", f"object.{SUFFIX}")


class TagRefused(Exception):
    """A tag that cannot be what it is to be; says why."""


@dataclass(frozen=True)
class Tag:
    """A tag, the revision that it stands for, and the namespaces that are labelled with it."""

    name: str
    revision: str
    namespaces: tuple[str, ...] = ()


def configuration_name(tag: str, namespace: str = SYSTEM) -> str:
    """What the configuration of a tag is called in the control plane of a namespace (C1)."""
    return f"{_NAME}{tag}" if namespace == SYSTEM else f"{_NAME}{tag}-{namespace}"


def injector_of(revision: str, configurations: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The configuration that a revision was installed with; TagRefused unless it is one."""
    found = [
        each
        for each in configurations
        if _labels(each).get(REVISION) == revision and TAG not in _labels(each) and _own(each)
    ]
    if len(found) != 1:
        names = ", ".join(sorted(each["metadata"]["name"] for each in found))
        what = f"{len(found)} have it: {names}" if found else "there is none"
        raise TagRefused(f"revision {revision!r}: want one MutatingWebhookConfiguration; {what}")
    return found[0]


def configuration(
    tag: str,
    revision: str,
    configurations: Sequence[Mapping[str, Any]],
    *,
    namespace: str = SYSTEM,
    name: str = "",
    by_default: bool = False,
) -> Object:
    """The MutatingWebhookConfiguration of a tag.

    Its webhooks call whom those of the revision call, and trust the same roots: from the moment it
    is stored pods are injected by the revision. ``by_default`` is for the tag ``default``: pods of
    namespaces that say nothing are injected, too. Raises TagRefused if the revision is not
    installed, or the tag is the name of one that is.
    """
    entries = _own(injector_of(revision, configurations))
    taken = [each for each in configurations if _labels(each).get(REVISION) == tag]
    if tag != revision and any(TAG not in _labels(each) for each in taken if _own(each)):
        if tag != DEFAULT_REVISION:
            raise TagRefused(f"tag {tag!r}: a revision has this name")
    elif tag == revision and tag != DEFAULT_REVISION:
        raise TagRefused(f"tag {tag!r}: it is the name of the revision itself")
    inherited = {key: entries[0][key] for key in _INHERITED if key in entries[0]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {
            "name": name or configuration_name(tag, namespace),
            "labels": {"app": "sidecar-injector", REVISION: revision, TAG: tag},
        },
        "webhooks": [
            {
                "name": each.name,
                **inherited,
                "namespaceSelector": dict(each.namespaces),
                "objectSelector": dict(each.pods),
            }
            for each in webhooks(tag, by_default=by_default)
        ],
    }


def deactivation(configurations: Iterable[Mapping[str, Any]]) -> tuple[str, Object] | None:
    """What ends the part of the revision ``default`` that the tag ``default`` takes over.

    The name of its configuration and a strategic merge patch; None if there is nothing to end.
    Without it two webhooks would inject into the same pods (IST0139).
    """
    never = {"matchLabels": DEACTIVATED, "matchExpressions": None}
    return _of_default(configurations, dict.fromkeys(_OF_DEFAULT, (never, never)), was=False)


def reactivation(configurations: Iterable[Mapping[str, Any]]) -> tuple[str, Object] | None:
    """What gives that part back when the tag is removed; as ``deactivation``."""
    own = {
        each.name: (
            {**each.namespaces, "matchLabels": None},
            {**each.pods, "matchLabels": None},
        )
        for each in webhooks(DEFAULT_REVISION)
        if each.name in _OF_DEFAULT
    }
    return _of_default(configurations, own, was=True)


def _of_default(
    configurations: Iterable[Mapping[str, Any]],
    selectors: Mapping[str, tuple[Object, Object]],
    *,
    was: bool,
) -> tuple[str, Object] | None:
    """A patch of the selectors of webhooks that were deactivated, or were not."""
    try:
        found = injector_of(DEFAULT_REVISION, configurations)
    except TagRefused:
        return None
    changes = [
        {"name": name, "namespaceSelector": namespaces, "objectSelector": pods}
        for each in _own(found)
        for name in [each["name"]]
        if name in selectors and _is_deactivated(each) is was
        for namespaces, pods in [selectors[name]]
    ]
    return (found["metadata"]["name"], {"webhooks": changes}) if changes else None


def _is_deactivated(webhook: Mapping[str, Any]) -> bool:
    return (webhook.get("namespaceSelector") or {}).get("matchLabels") == DEACTIVATED


def tags(
    configurations: Iterable[Mapping[str, Any]], namespaces: Iterable[Mapping[str, Any]]
) -> list[Tag]:
    """The tags of a cluster by name, each with its namespaces."""
    labelled = [(each["metadata"]["name"], _labels(each)) for each in namespaces]
    found = []
    for each in configurations:
        labels = _labels(each)
        if tag := labels.get(TAG):
            own = sorted(name for name, has in labelled if _is_for(has, tag))
            found.append(Tag(tag, labels.get(REVISION, ""), tuple(own)))
    return sorted(found, key=lambda each: each.name)


def _is_for(labels: Mapping[str, str], tag: str) -> bool:
    """Whether pods of a namespace with these labels go to the revision of a tag."""
    if ENABLED in labels:
        return tag == DEFAULT_REVISION and labels[ENABLED] == "enabled"
    return labels.get(REVISION) == tag


def _own(configuration: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The webhooks that inject."""
    entries = configuration.get("webhooks") or ()
    return [each for each in entries if each.get("name", "").endswith(SUFFIX)]


def _labels(found: Mapping[str, Any]) -> Mapping[str, str]:
    return found.get("metadata", {}).get("labels") or {}
