"""Quotas of a check: which instances are asked, and what remains granted (A32 to A35)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from mast.common.expressions.tree import EvaluationError
from mast.mixer.core.adapter import QuotaArguments, QuotaResult
from mast.mixer.core.bag import Record, Tracker
from mast.mixer.core.config.names import short_name
from mast.mixer.core.dispatch import (
    Call,
    Dispatch,
    Failure,
    Notes,
    Routing,
    Session,
    made,
    matching,
    quota_call,
    request_namespace,
)
from mast.mixer.core.engine import QuotaAsk, QuotaGrant
from mast.mixer.core.templates import Variety

# Validity of a grant that no adapter made (A33).
DEFAULT_DURATION = timedelta(minutes=1)


def allocate(
    routing: Routing,
    tracker: Tracker,
    preprocessed: tuple[Record, frozenset[str]],
    quotas: Mapping[str, QuotaAsk],
    deduplication_id: str,
    notes: Notes,
) -> Session[dict[str, QuotaGrant]]:
    """A grant for every quota asked for; one that fails grants nothing and stops none (A34).

    What each grant depends on is what preprocessing read and what its own dispatch reads (A12). If
    that is a map as a whole the grant is for this request alone, as no reference says that there
    is no other key (Differs from Istio: A10).
    """
    record, whole = preprocessed
    grants: dict[str, QuotaGrant] = {}
    for name, ask in quotas.items():
        tracker.rewind(record)
        tracker.whole.clear()
        tracker.whole.update(whole)
        result = yield from _allocate_one(routing, tracker, name, ask, deduplication_id, notes)
        valid = timedelta() if tracker.whole else result.valid_duration
        grants[name] = QuotaGrant(result.amount, valid, tracker.referenced, result.status)
    return grants


def _allocate_one(
    routing: Routing,
    tracker: Tracker,
    name: str,
    ask: QuotaAsk,
    deduplication_id: str,
    notes: Notes,
) -> Session[QuotaResult]:
    get = tracker.get
    routes = routing.routes(Variety.QUOTA, request_namespace(get))
    named = tuple(route for route in routes if any(_is(name, each) for each in route.dispatches))
    if not named:
        notes.warnings.append(f"Requested quota '{name}' is not configured")
        return QuotaResult(ask.amount + ask.stock, DEFAULT_DURATION)
    dispatches = [
        dispatch
        for route in matching(named, get, notes)
        for dispatch in route.dispatches
        if _is(name, dispatch)
    ]
    if not dispatches:
        return QuotaResult(ask.amount + ask.stock, DEFAULT_DURATION)
    # Differs from Istio: who gives no id is not taken for everybody else who gives none (A32).
    id = deduplication_id and deduplication_id + name
    arguments = QuotaArguments(ask.amount, ask.best_effort, id, ask.stock)
    calls: list[Call] = []
    for dispatch in dispatches:
        try:
            calls.append(quota_call(dispatch, made(dispatch, get), arguments))
        except EvaluationError as error:
            notes.warnings.append(str(error))
    notes.instances += len(calls)
    outcomes: Sequence[Any] = (yield calls) if calls else ()
    return _first(name, outcomes, notes)


def _is(name: str, dispatch: Dispatch) -> bool:
    return short_name(dispatch.instance.fqn).casefold() == name.casefold()


def _first(name: str, outcomes: Sequence[Any], notes: Notes) -> QuotaResult:
    """The first result that says something; the others are only noted (A34)."""
    for each in outcomes:
        if isinstance(each, Failure):
            notes.warnings.append(f"quota '{name}': {each.text}")
    telling = [each for each in outcomes if isinstance(each, QuotaResult) and each != QuotaResult()]
    if len(telling) > 1:
        notes.warnings.append(f"quota '{name}' is granted {len(telling)} times; the first counts")
    return telling[0] if telling else QuotaResult()
