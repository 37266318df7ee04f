"""Annotations: known ones, on the kind they are for, with values that mean something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mast.galley.core.analysis import kinds, plain
from mast.galley.core.analysis.analysis import Analyzer
from mast.galley.core.analysis.annotation_names import ANNOTATIONS, INTERNAL, Known, Standing
from mast.galley.core.analysis.snapshot import Item, Message, View
from mast.galley.core.analysis.workloads import template_path
from mast.galley.core.injection.annotations import TEMPLATES, checked
from mast.galley.core.injection.refusal import InjectionRefused
from mast.galley.core.injection.settings import Settings
from mast.galley.core.problem import Path

_MISPLACED, _UNKNOWN, _INVALID = "IST0107", "IST0108", "IST0125"
_DEPRECATED, _ALPHA = "IST0135", "IST0136"
_KINDS = kinds.STORED | kinds.KUBERNETES
_SETTINGS = Settings()
_INJECT = "sidecar.istio.io/inject"
_INJECT_VALUES = frozenset({"true", "false"})


def _annotated(view: View) -> Iterator[tuple[Item, Path, str, Mapping[str, str]]]:
    """Objects, and templates of pods as pods: item, path, kind and annotations."""
    for kind in sorted(view.inputs):
        for item in view.of(kind):
            yield item, ("metadata", "annotations"), kind, item.annotations
            if kind in kinds.TEMPLATED:
                path = (*template_path(kind), "metadata", "annotations")
                yield item, path, kinds.POD, plain.texts(item.body, *path)


def _of_the_mesh(name: str) -> bool:
    domain = name.partition("/")[0]
    return f".{domain}".endswith(".istio.io") and not name.startswith(INTERNAL)


def _names(view: View) -> Iterator[Message]:
    for item, at, kind, given in _annotated(view):
        for name in given:
            known = ANNOTATIONS.get(name)
            path = (*at, name)
            if known is None:
                if _of_the_mesh(name):
                    yield Message(_UNKNOWN, item, f"unknown annotation {name!r}", path)
            elif known.on and kind not in known.on:
                text = f"annotation {name!r} means nothing here; it belongs on {_shown(known)}"
                yield Message(_MISPLACED, item, text, path)


def _shown(known: Known) -> str:
    names = sorted({kind.rpartition("/")[2] for kind in known.on})
    return " or ".join("a Pod or its template" if name == "Pod" else name for name in names)


def _values(view: View) -> Iterator[Message]:
    for item, at, kind, given in _annotated(view):
        if kind != kinds.POD:
            continue
        for name, value in given.items():
            for complaint in _complaints(name, value):
                yield Message(_INVALID, item, complaint, (*at, name))


def _complaints(name: str, value: str) -> tuple[str, ...]:
    """Why injection would fail; which templates there are is known to the injector only."""
    if name == _INJECT and value not in _INJECT_VALUES:
        return (f"annotation {name}: {value!r} counts as not given; allowed: true, false",)
    if name not in ANNOTATIONS or name == TEMPLATES:
        return ()
    try:
        checked({name: value}, _SETTINGS)
    except InjectionRefused as refused:
        return tuple(refused.problems)
    return ()


def _standing(view: View) -> Iterator[Message]:
    for item, at, kind, given in _annotated(view):
        for name in given:
            known = ANNOTATIONS.get(name)
            if known and known.standing is Standing.DEPRECATED and kind in known.on:
                text = f"annotation {name!r} is deprecated; use {known.instead}"
                yield Message(_DEPRECATED, item, text, (*at, name))


def _experiments(view: View) -> Iterator[Message]:
    for item, at, kind, given in _annotated(view):
        for name in given:
            known = ANNOTATIONS.get(name)
            if known and known.standing is Standing.ALPHA and kind in known.on:
                text = f"annotation {name!r} is an experiment and may change"
                yield Message(_ALPHA, item, text, (*at, name))


ANALYZERS = (
    Analyzer(
        "annotation.names",
        "Annotations of the mesh are known, and on kinds they mean something on.",
        frozenset({_MISPLACED, _UNKNOWN}),
        _KINDS,
        _names,
    ),
    Analyzer(
        "annotation.values",
        "Annotations of pods have values that injection takes.",
        frozenset({_INVALID}),
        _KINDS,
        _values,
    ),
    Analyzer(
        "annotation.standing",
        "Annotations of the mesh are not deprecated.",
        frozenset({_DEPRECATED}),
        _KINDS,
        _standing,
    ),
)
VERBOSE = (
    Analyzer(
        "annotation.experiments",
        "Annotations of the mesh can be relied on.",
        frozenset({_ALPHA}),
        _KINDS,
        _experiments,
    ),
)
