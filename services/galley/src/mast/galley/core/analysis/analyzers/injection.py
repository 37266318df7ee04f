"""Sidecars: namespaces that ask for them, and pods that have them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mast.galley.core.analysis import kinds, plain, workloads
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.injectors import (
    DATAPLANE_MODE,
    INJECT,
    INJECTION,
    INJECTORS,
    REVISION,
    SETTINGS,
    USUAL,
    Injector,
    Labels,
)
from mast.galley.core.analysis.mesh import MESH, SYSTEM_NAMESPACES
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.analysis.workloads import GATEWAY_NAME, WORKLOADS, Workload

_NOT_INJECTED, _BY_DEFAULT, _BOTH_LABELS = "IST0102", "IST0148", "IST0123"
_NO_PROXY = "IST0103"
_AUTO_TEMPLATE, _AUTO_POD = "IST0146", "IST0147"
_OTHER_IMAGE = "IST0158"
_PROXY = "istio-proxy"
_PROXY_IMAGE = "sidecar.istio.io/proxyImage"
_ENDED = frozenset({"Succeeded", "Failed"})


def _namespaces(view: View) -> Iterator[Message]:
    by_default = view.fact(SETTINGS).by_default
    own = SYSTEM_NAMESPACES | {view.fact(MESH).root_namespace}
    for item in view.of(kinds.NAMESPACE):
        path = ("metadata", "labels")
        if {INJECTION, REVISION} <= item.labels.keys():
            text = f"both {INJECTION} and {REVISION} are set; {REVISION} is ignored: drop one"
            yield Message(_BOTH_LABELS, item, text, (*path, REVISION))
        elif item.name in own or {INJECTION, REVISION, DATAPLANE_MODE} & item.labels.keys():
            continue
        elif by_default:
            text = f"pods get a sidecar by default; set {INJECTION}=enabled or =disabled"
            yield Message(_BY_DEFAULT, item, text, path)
        else:
            text = (
                f"pods get no sidecar; label the namespace {INJECTION}=enabled, or =disabled if "
                "that is meant"
            )
            yield Message(_NOT_INJECTED, item, text, path)


class _Decision:
    """Which pods should have a sidecar (C1)."""

    def __init__(self, view: View) -> None:
        self._namespaces = {item.name: item.labels for item in view.of(kinds.NAMESPACE)}
        self._injectors: Sequence[Injector] = view.fact(INJECTORS) or USUAL
        self._by_default = view.fact(SETTINGS).by_default

    def injects(self, pod: Workload) -> bool:
        """Whether a sidecar is injected into a pod that is created now."""
        if plain.at(pod.pod, "hostNetwork") is True or pod.namespace in SYSTEM_NAMESPACES:
            return False
        if pod.labels.get(INJECT, pod.annotations.get(INJECT)) == "false":
            return False
        namespace = self._namespaces.get(pod.namespace, {})
        if any(each.takes(namespace, pod.labels) for each in self._injectors):
            return True
        return self._by_default and not self._speaks(namespace, pod.labels)

    @staticmethod
    def _speaks(namespace: Labels, pod: Labels) -> bool:
        return bool({INJECTION, REVISION} & namespace.keys() or {INJECT, REVISION} & pod.keys())


def _pods(view: View) -> Iterator[Message]:
    decision = _Decision(view)
    for pod in view.fact(WORKLOADS).all:
        if pod.item.kind != kinds.POD or pod.has_proxy or GATEWAY_NAME in pod.labels:
            continue
        ended = plain.text(pod.item.status, "phase") in _ENDED
        if not ended and decision.injects(pod):
            text = "the pod should have a sidecar and has none; create it anew"
            yield Message(_NO_PROXY, pod.item, text)


def _images(view: View) -> Iterator[Message]:
    """The image `auto` is a place that the injector fills in."""
    decision = _Decision(view)
    for pod in view.fact(WORKLOADS).all:
        for at, container in pod.containers():
            if plain.text(container, "image") != "auto" or decision.injects(pod):
                continue
            is_pod = pod.item.kind == kinds.POD
            name = plain.text(container, "name")
            text = f"container {name!r} has the image 'auto', but no injector takes the pod"
            yield Message(_AUTO_POD if is_pod else _AUTO_TEMPLATE, pod.item, text, (*at, "image"))


def _versions(view: View) -> Iterator[Message]:
    images = view.fact(SETTINGS).images
    namespaces = {item.name: item for item in view.of(kinds.NAMESPACE)}
    others: dict[str, list[tuple[Workload, str, str]]] = defaultdict(list)
    for pod in view.fact(WORKLOADS).all:
        if pod.item.kind != kinds.POD or _PROXY_IMAGE in pod.annotations:
            continue
        found = [
            plain.text(each, "image")
            for _, each in pod.containers()
            if plain.text(each, "name") == _PROXY
        ]
        wanted = images.get(_revision(pod, namespaces.get(pod.namespace)), "")
        if wanted and found and found[0] != wanted:
            others[pod.namespace].append((pod, found[0], wanted))
    for namespace, those in sorted(others.items()):
        shown = ", ".join(sorted(f"{pod.item.name} ({image})" for pod, image, _ in those))
        text = f"sidecars are not {those[0][2]}, which is injected now: {shown}"
        yield Message(_OTHER_IMAGE, namespaces.get(namespace, those[0][0].item), text)


def _revision(pod: Workload, namespace: Item | None) -> str:
    """Whose injector is asked, empty for the default one."""
    labels = namespace.labels if namespace else {}
    if INJECTION in labels:
        return ""
    found = pod.labels.get(REVISION) or labels.get(REVISION, "")
    return "" if found == "default" else found


_DECISION = frozenset({kinds.NAMESPACE}) | INJECTORS.inputs | SETTINGS.inputs | workloads.KINDS

ANALYZERS = (
    Analyzer(
        "injection.namespaces",
        "Namespaces say whether their pods get sidecars.",
        frozenset({_NOT_INJECTED, _BY_DEFAULT, _BOTH_LABELS}),
        frozenset({kinds.NAMESPACE, kinds.CONFIG_MAP, kinds.MESH_CONFIG}),
        _namespaces,
    ),
    Analyzer(
        "injection.pods",
        "Pods have the sidecars that they should have.",
        frozenset({_NO_PROXY}),
        _DECISION,
        _pods,
    ),
    Analyzer(
        "injection.auto",
        "Images that the injector fills in are filled in.",
        frozenset({_AUTO_TEMPLATE, _AUTO_POD}),
        _DECISION,
        _images,
    ),
    Analyzer(
        "injection.versions",
        "Sidecars are of the version that is injected.",
        frozenset({_OTHER_IMAGE}),
        frozenset({kinds.NAMESPACE}) | SETTINGS.inputs | workloads.KINDS,
        _versions,
    ),
)
