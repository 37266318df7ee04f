"""Attribute generators fill the gaps of a request before anything else happens (A13 to A15)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mast.common.expressions.tree import EvaluationError, Read
from mast.common.expressions.types import ValueType
from mast.mixer.core.bag import Record, Tracker, merged
from mast.mixer.core.dispatch import (
    SELECTORS,
    Call,
    Dispatch,
    Failure,
    Notes,
    Routes,
    Routing,
    Session,
    generate_call,
    made,
    matching,
    request_namespace,
)
from mast.mixer.core.lang.keys import compile_key
from mast.mixer.core.templates import Variety
from mast.mixer.core.values import Attributes, Get, Value


class PreprocessFailed(Exception):
    """A generator, its instance or a binding failed: nothing more is done with the request."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__(f"preprocessing attributes failed: {', '.join(reasons)}")


# How many different outcomes are remembered before all are forgotten.
MAX_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    """What generators gave, and what was read for it, of maps as a whole too."""

    generated: Mapping[str, Value]
    record: Record
    whole: frozenset[str]


class Preprocessing:
    """Preprocesses the requests of one routing table.

    What generators gave is remembered by all that they can read, until one of them has changed
    (:class:`~mast.mixer.core.adapter.AttributeGenerator`): so are the references, which are the
    same then (A7).
    """

    def __init__(
        self, routing: Routing, types: Mapping[str, ValueType], limit: int = MAX_KNOWN
    ) -> None:
        self._limit = limit
        self._routing = routing
        routes = set(routing.all_routes(Variety.ATTRIBUTE_GENERATOR))
        reads = {Read(name) for name in SELECTORS}.union(*[route.reads for route in routes])
        self._key = compile_key(reads, types)
        self._handlers = [
            dispatch.destination.handler for route in routes for dispatch in route.dispatches
        ]
        self._generation: tuple[object, ...] = ()
        self._known: dict[Hashable, _Known] = {}

    def __len__(self) -> int:
        """How many outcomes are remembered."""
        return len(self._known)

    def fill(self, tracker: Tracker, request: Attributes, notes: Notes) -> Session[None]:
        """Fill the gaps of a request that nothing was read of yet; raises PreprocessFailed (A14).

        Generators are chosen by the request's own namespace (A13).
        """
        self._forget_if_stale()
        known = self._known
        key = self._key_of(request)
        found = None if key is None else known.get(key)
        if found is not None:
            tracker.rewind(found.record)
            tracker.whole.update(found.whole)
            tracker.fill(found.generated)
            return
        namespace = request_namespace(tracker.get)
        routes = self._routing.routes(Variety.ATTRIBUTE_GENERATOR, namespace)
        own = Notes()
        generated = yield from preprocess(routes, tracker.get, own)
        notes.match_errors.update(own.match_errors)
        tracker.fill(generated)
        if key is not None and not own.match_errors:
            known[key] = _Known(generated, tracker.mark(), frozenset(tracker.whole))

    def _key_of(self, request: Attributes) -> Hashable | None:
        """None if a value is not what its attribute should be."""
        key = self._key(request.get)
        try:
            hash(key)
        except TypeError:
            return None
        return key

    def _forget_if_stale(self) -> None:
        generation = tuple(each.generation for each in self._handlers)
        keep = generation == self._generation and None not in generation
        if not keep or len(self._known) >= self._limit:
            # Who waits for generators still remembers into what was known before.
            self._known = {}
        self._generation = generation


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
