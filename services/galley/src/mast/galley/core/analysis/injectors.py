"""Who injects sidecars: selectors of webhooks (C1), and what the injector's settings say."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mast.galley.core.analysis import kinds, plain
from mast.galley.core.analysis.snapshot import Fact, Item, View
from mast.galley.core.problem import Path

INJECTION = "istio-injection"
REVISION = "istio.io/rev"
INJECT = "sidecar.istio.io/inject"
DATAPLANE_MODE = "istio.io/dataplane-mode"
_SUFFIX = "sidecar-injector.istio.io"
_SETTINGS = "istio-sidecar-injector"

Labels = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Injector:
    """One webhook that injects, by the labels of namespaces and pods."""

    item: Item | None
    name: str
    namespaces: Mapping[str, Any]
    pods: Mapping[str, Any]
    service: tuple[str, str] | None = None
    at: Path = ()

    def takes(self, namespace: Labels, pod: Labels) -> bool:
        """Whether it injects into a pod with these labels, in a namespace with those."""
        return matches(self.namespaces, namespace) and matches(self.pods, pod)


def matches(selector: Mapping[str, Any], labels: Labels) -> bool:
    """A label selector of Kubernetes; an operator that there is not matches nothing."""
    if not plain.texts(selector, "matchLabels").items() <= labels.items():
        return False
    return all(_holds(each, labels) for each in plain.listing(selector, "matchExpressions"))


def _holds(requirement: Any, labels: Labels) -> bool:
    key = plain.text(requirement, "key")
    values = plain.listing(requirement, "values")
    match plain.text(requirement, "operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _expression(key: str, operator: str, *values: str) -> Mapping[str, Any]:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def _selector(*expressions: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"matchExpressions": list(expressions)}


_NOT_REFUSED = _expression(INJECT, "NotIn", "false")
_NO_LABEL = _expression(INJECTION, "DoesNotExist")
_NO_REVISION = _expression(REVISION, "DoesNotExist")

USUAL: Sequence[Injector] = (
    Injector(
        None,
        "rev.namespace",
        _selector(_expression(REVISION, "Exists"), _NO_LABEL),
        _selector(_NOT_REFUSED),
    ),
    Injector(
        None,
        "rev.object",
        _selector(_NO_REVISION, _NO_LABEL),
        _selector(_expression(REVISION, "Exists"), _NOT_REFUSED),
    ),
    Injector(
        None,
        "namespace",
        _selector(_expression(INJECTION, "In", "enabled")),
        _selector(_NOT_REFUSED),
    ),
    Injector(
        None,
        "object",
        _selector(_NO_LABEL, _NO_REVISION),
        _selector(_expression(INJECT, "In", "true"), _NO_REVISION),
    ),
)
"""What an installation has where its webhooks are not known (C1)."""


def _injectors(view: View) -> Sequence[Injector]:
    return list(_installed(view))


def _installed(view: View) -> Iterator[Injector]:
    for item in view.of(kinds.MUTATING_WEBHOOKS):
        for index, webhook in enumerate(plain.listing(item.body, "webhooks")):
            name = plain.text(webhook, "name")
            if not name.endswith(_SUFFIX):
                continue
            service = plain.mapping(webhook, "clientConfig", "service")
            target = (plain.text(service, "namespace"), plain.text(service, "name"))
            yield Injector(
                item,
                name,
                plain.mapping(webhook, "namespaceSelector"),
                plain.mapping(webhook, "objectSelector"),
                target if any(target) else None,
                ("webhooks", index),
            )


INJECTORS = Fact(frozenset({kinds.MUTATING_WEBHOOKS}), _injectors)
"""Webhooks that inject, none if they are not known."""


@dataclass(frozen=True)
class Settings:
    """What the injectors of revisions are set to; ``images`` are those of sidecars, by revision."""

    by_default: bool = False
    images: Mapping[str, str] = field(default_factory=dict)


def _settings(view: View) -> Settings:
    by_default, images = False, {}
    for item in view.of(kinds.CONFIG_MAP):
        if item.name != _SETTINGS and not item.name.startswith(f"{_SETTINGS}-"):
            continue
        values = _values(item.body.data.get("values", ""))
        webhook = plain.mapping(values, "sidecarInjectorWebhook")
        by_default |= plain.at(webhook, "enableNamespacesByDefault") is True
        if image := _image(values):
            images[item.name.removeprefix(_SETTINGS).removeprefix("-")] = image
    return Settings(by_default, images)


def _values(text: str) -> Any:
    """The values of the chart, which the installer keeps as JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {}


def _image(values: Any) -> str:
    """``hub/image:tag``; a name with a slash is a whole one."""
    name = plain.text(values, "global", "proxy", "image")
    if "/" in name:
        return name
    hub, tag = plain.text(values, "global", "hub"), plain.at(values, "global", "tag")
    return f"{hub}/{name}:{tag}" if hub and name and tag else ""


SETTINGS = Fact(frozenset({kinds.CONFIG_MAP}), _settings)
