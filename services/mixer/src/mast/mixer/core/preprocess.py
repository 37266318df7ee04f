"""Attribute generators fill the gaps of a request before anything else happens (A13 to A15)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mast.mixer.core.bag import merged
from mast.mixer.core.dispatch import (
    Call,
    Dispatch,
    Failure,
    Notes,
    Routes,
    Session,
    generate_call,
    made,
    matching,
)
from mast.mixer.core.lang.tree import EvaluationError
from mast.mixer.core.values import Get, Value


class PreprocessFailed(Exception):
    """A generator, its instance or a binding failed: nothing more is done with the request."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(f"preprocessing attributes failed: {', '.join(reasons)}")


def preprocess(routes: Routes, get: Get, notes: Notes) -> Session[dict[str, Value]]:
    """The attributes generated for a request; the caller fills its gaps with them (A13).

    All generators run in parallel; of several that give one attribute the first in config order
    counts. Raises PreprocessFailed (A14).
    """
    dispatches, calls = generators(routes, get, notes)
    outcomes = (yield calls) if calls else ()
    return bound(dispatches, outcomes, get)


def generators(routes: Routes, get: Get, notes: Notes) -> tuple[list[Dispatch], list[Call]]:
    """The generator calls for a request; raises PreprocessFailed."""
    dispatches = [
        dispatch for route in matching(routes, get, notes) for dispatch in route.dispatches
    ]
    try:
        return dispatches, [generate_call(each, made(each, get)) for each in dispatches]
    except EvaluationError as error:
        raise PreprocessFailed([str(error)]) from error


def bound(dispatches: Sequence[Dispatch], outcomes: Sequence[Any], get: Get) -> dict[str, Value]:
    """Outputs passed through the attribute bindings; raises PreprocessFailed."""
    failed = [each.text for each in outcomes if isinstance(each, Failure)]
    if failed:
        raise PreprocessFailed(failed)
    try:
        return merged(
            _bindings(dispatch, output, get)
            for dispatch, output in zip(dispatches, outcomes, strict=True)
        )
    except EvaluationError as error:
        raise PreprocessFailed([str(error)]) from error


def _bindings(dispatch: Dispatch, output: Mapping[str, Value], get: Get) -> dict[str, Value]:
    prefix = dispatch.instance.template.output_prefix
    named = {prefix + name: value for name, value in output.items()}

    def get_output(name: str) -> Value | None:
        return named.get(name) if name.startswith(prefix) else get(name)

    only_outputs = dispatch.instance.bindings_read_only_outputs
    return dispatch.instance.bind(named.get if only_outputs else get_output)
