"""What selectors select: something, by one object of a kind, and in a way that has an effect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mast.galley.core.analysis import kinds, workloads
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.mesh import MESH
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.analysis.workloads import GATEWAY_NAME, WORKLOADS, Workload
from mast.galley.core.problem import Path

_NOT_FOUND = "IST0101"
_NO_WORKLOADS = "IST0127"
_INEFFECTIVE = "IST0166"


@dataclass(frozen=True)
class _Selecting:
    """How objects of a kind select workloads.

    ``code`` is told if a selector selects nothing. Objects in the root namespace select everywhere
    if ``mesh_wide``. Of kinds with ``conflict`` one object may select a workload, and of those with
    ``several`` one object of a namespace may be for all its workloads; these are the codes.
    """

    labels: Callable[[Any], Mapping[str, str]]
    path: Path
    code: str = _NO_WORKLOADS
    mesh_wide: bool = True
    conflict: str = ""
    several: str = ""


def _workload_selector(spec: Any) -> Mapping[str, str]:
    labels: Mapping[str, str] = spec.workload_selector.labels
    return labels


def _selector(spec: Any) -> Mapping[str, str]:
    labels: Mapping[str, str] = spec.selector.match_labels
    return labels


def _rule_selector(spec: Any) -> Mapping[str, str]:
    labels: Mapping[str, str] = spec.workload_selector.match_labels
    return labels


_OLD_PATH: Path = ("spec", "workloadSelector", "labels")
_PATH: Path = ("spec", "selector", "matchLabels")
_POLICY = _Selecting(_selector, _PATH)
_SELECTING: Mapping[str, _Selecting] = {
    kinds.SIDECAR: _Selecting(
        _workload_selector, _OLD_PATH, _NOT_FOUND, False, "IST0110", "IST0111"
    ),
    kinds.TELEMETRY: _Selecting(_selector, _PATH, _NOT_FOUND, True, "IST0159", "IST0160"),
    kinds.AUTHORIZATION_POLICY: _POLICY,
    kinds.PEER_AUTHENTICATION: _POLICY,
    kinds.REQUEST_AUTHENTICATION: _POLICY,
    kinds.WASM_PLUGIN: _POLICY,
    kinds.TRAFFIC_EXTENSION: _POLICY,
    kinds.PROXY_CONFIG: _POLICY,
    kinds.ENVOY_FILTER: _Selecting(_workload_selector, _OLD_PATH),
    kinds.DESTINATION_RULE: _Selecting(
        _rule_selector, ("spec", "workloadSelector", "matchLabels"), mesh_wide=False
    ),
}
_TARGETED = (
    kinds.AUTHORIZATION_POLICY,
    kinds.REQUEST_AUTHENTICATION,
    kinds.TELEMETRY,
    kinds.WASM_PLUGIN,
)
"""Kinds that can name a gateway by targetRefs instead."""


def _shown(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _scope(view: View, item: Item, how: _Selecting) -> str | None:
    """The namespace whose workloads an object is for, None for all of them."""
    whole = how.mesh_wide and item.namespace == view.fact(MESH).root_namespace
    return None if whole else item.namespace


def _empty(view: View) -> Iterator[Message]:
    running = view.fact(WORKLOADS)
    for kind, how in _SELECTING.items():
        for item in view.of(kind):
            labels, scope = how.labels(item.body), _scope(view, item, how)
            where = f"in namespace {scope}" if scope else "in the mesh"
            if labels and not running.has(labels, scope):
                text = f"no workload {where} has the labels {_shown(labels)}"
                yield Message(how.code, item, text, how.path)
            elif (
                kind == kinds.AUTHORIZATION_POLICY
                and not labels
                and not _is_targeted(item.body)
                and scope is not None
                and not running.has({}, scope)
            ):
                yield Message(how.code, item, f"there are no workloads {where}")


def _is_targeted(spec: Any) -> bool:
    """Whether it is for targets instead of selected workloads."""
    fields = spec.DESCRIPTOR.fields_by_name
    return bool("targetRefs" in fields and (spec.targetRefs or spec.HasField("targetRef")))


def _conflicts(view: View) -> Iterator[Message]:
    running = view.fact(WORKLOADS)
    for kind, how in _SELECTING.items():
        if not how.conflict:
            continue
        takers: dict[Workload, list[Item]] = defaultdict(list)
        for item in view.of(kind):
            labels = how.labels(item.body)
            for workload in running.selected(labels, item.namespace) if labels else ():
                takers[workload].append(item)
        told: set[tuple[int, tuple[str, ...]]] = set()
        for workload, items in takers.items():
            for item in items:
                others = tuple(sorted(other.name for other in items if other is not item))
                if others and (id(item), others) not in told:
                    told.add((id(item), others))
                    text = f"{workload.item.origin} is selected by {', '.join(others)} as well"
                    yield Message(how.conflict, item, text, how.path)


def _several(view: View) -> Iterator[Message]:
    for kind, how in _SELECTING.items():
        if not how.several:
            continue
        general: dict[str, list[Item]] = defaultdict(list)
        for item in view.of(kind):
            if not how.labels(item.body) and not _is_targeted(item.body):
                general[item.namespace].append(item)
        for namespace, items in general.items():
            for item in items if len(items) > 1 else ():
                others = ", ".join(sorted(each.name for each in items if each is not item))
                text = f"{others} is for all workloads of namespace {namespace} as well"
                yield Message(how.several, item, text)


def _gateways(view: View) -> Iterator[Message]:
    """Workloads of Gateway API's gateways are named by their Gateway."""
    running = view.fact(WORKLOADS)
    for kind in _TARGETED:
        how = _SELECTING[kind]
        for item in view.of(kind):
            labels = how.labels(item.body)
            found = running.selected(labels, _scope(view, item, how)) if labels else ()
            pods = (w.labels for w in found if w.pod is not None)
            named = sorted({each[GATEWAY_NAME] for each in pods if GATEWAY_NAME in each})
            if named:
                text = (
                    f"the selector selects workloads of Gateway {', '.join(named)}; "
                    "name that in targetRefs instead"
                )
                yield Message(_INEFFECTIVE, item, text, how.path)


_SELECTORS = frozenset(_SELECTING)
_CONFLICTING = frozenset(kind for kind, how in _SELECTING.items() if how.conflict)
_MESH = frozenset({kinds.MESH_CONFIG})

ANALYZERS = (
    Analyzer(
        "selector.workloads",
        "Selectors select something.",
        frozenset({_NOT_FOUND, _NO_WORKLOADS}),
        _SELECTORS | workloads.KINDS | _MESH,
        _empty,
    ),
    Analyzer(
        "selector.conflicts",
        "One Sidecar and one Telemetry object selects a workload.",
        frozenset({"IST0110", "IST0159"}),
        _CONFLICTING | workloads.KINDS,
        _conflicts,
    ),
    Analyzer(
        "selector.defaults",
        "One Sidecar and one Telemetry object is for all workloads of a namespace.",
        frozenset({"IST0111", "IST0160"}),
        _CONFLICTING,
        _several,
    ),
    Analyzer(
        "selector.gateways",
        "Gateways of Gateway API are named, not selected.",
        frozenset({_INEFFECTIVE}),
        frozenset(_TARGETED) | workloads.KINDS | _MESH,
        _gateways,
    ),
)
