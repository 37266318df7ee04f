"""Objects that hold a pod: what users write instead of one (C2, kinds of `kube-inject`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mast.galley.core.injection import shape
from mast.galley.core.injection.decision import Decision, decision
from mast.galley.core.injection.pod import injected
from mast.galley.core.injection.refusal import InjectionRefused
from mast.galley.core.injection.settings import Settings
from mast.galley.core.injection.workload import Workload

Object = dict[str, Any]

_TEMPLATE: Final = ("spec", "template")
_PODS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("extensions", "Deployment"): _TEMPLATE,
    ("extensions", "DaemonSet"): _TEMPLATE,
    ("extensions", "ReplicaSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
"""Where the pod stands, by group and kind."""


@dataclass(frozen=True)
class Outcome:
    """What became of an object; ``reason`` says why a pod was left alone or refused.

    ``problems`` are not empty for an object that should have a proxy and cannot.
    """

    kind: str
    namespace: str
    name: str
    decision: Decision
    problems: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """``Deployment shop/web``."""
        return f"{self.kind} {self.namespace}/{self.name}"


def with_proxies(
    item: Object, settings: Settings, namespace: str = "default"
) -> tuple[Object, tuple[Outcome, ...]]:
    """The object with a proxy in its pod, or in those of a List; the same if it has none.

    ``namespace`` is that of objects that name none.
    """
    group, _, _ = str(item.get("apiVersion", "")).rpartition("/")
    kind = item.get("kind")
    if (group, kind) == ("", "List") and isinstance(item.get("items"), list):
        made = [
            with_proxies(each, settings, namespace) if isinstance(each, dict) else (each, ())
            for each in item["items"]
        ]
        outcomes = tuple(outcome for _, found in made for outcome in found)
        return {**item, "items": [each for each, _ in made]}, outcomes
    if not isinstance(kind, str) or (group, kind) not in _PODS:
        return item, ()
    return _with_proxy(item, kind, _PODS[group, kind], settings, namespace)


def pod_of(item: Mapping[str, Any]) -> Object | None:
    """The pod in an object, or the template of its pods; None if its kind has none."""
    group, _, _ = str(item.get("apiVersion", "")).rpartition("/")
    path = _PODS.get((group, str(item.get("kind"))))
    return None if path is None else _at(dict(item), path)


def _with_proxy(
    item: Object, kind: str, path: tuple[str, ...], settings: Settings, default: str
) -> tuple[Object, tuple[Outcome, ...]]:
    found = item.get("metadata")
    metadata: Mapping[str, Any] = found if isinstance(found, dict) else {}
    namespace = str(metadata.get("namespace") or default)
    name = str(metadata.get("name") or metadata.get("generateName") or "")
    pod = _at(item, path)
    where = ".".join(path)
    if pod is None:
        problem = f"{where or 'spec'}: want an object"
        return item, (Outcome(kind, namespace, name, Decision(True, ""), (problem,)),)
    try:
        shape.check(pod)
        decided = decision(pod, namespace, settings)
        outcome = Outcome(kind, namespace, name, decided)
        if not decided.inject:
            return item, (outcome,)
        of = Workload(
            namespace=namespace, name=name, kind=kind, api_version=str(item["apiVersion"])
        )
        made = injected(pod, settings, namespace=namespace, of=of if path else None)
    except InjectionRefused as error:
        problems = tuple(f"{where}: {each}" if where else each for each in error.problems)
        return item, (Outcome(kind, namespace, name, Decision(True, ""), problems),)
    return _put(item, path, made), (outcome,)


def _at(item: Object, path: tuple[str, ...]) -> Object | None:
    found: Any = item
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _put(item: Object, path: tuple[str, ...], pod: Object) -> Object:
    if not path:
        return pod
    return {**item, path[0]: _put(item[path[0]], path[1:], pod)}
