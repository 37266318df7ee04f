"""A check from request to verdict, as a session of adapter calls (mixer.md A7 to A31)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

from mast.common.expressions.tree import EvaluationError
from mast.mixer.core.adapter import CheckResult, DirectResponse
from mast.mixer.core.bag import Tracker
from mast.mixer.core.config.rules import HeaderTemplate
from mast.mixer.core.dispatch import (
    Call,
    Dispatch,
    Failure,
    Notes,
    Route,
    Routing,
    Session,
    check_call,
    made,
    matching,
    request_namespace,
)
from mast.mixer.core.engine import (
    CheckFailed,
    CheckVerdict,
    HeaderOperation,
    Operation,
    QuotaAsk,
    RouteDirective,
    Status,
)
from mast.mixer.core.preprocess import PreprocessFailed, Preprocessing
from mast.mixer.core.quota import allocate
from mast.mixer.core.templates import Variety
from mast.mixer.core.values import Attributes, Get, Value

# Validity of a verdict that no adapter limited (A26).
DEFAULT_DURATION = timedelta(minutes=1)
DEFAULT_USE_COUNT = 10_000

# HTTP code of a direct response that names none, by gRPC code (A28).
HTTP_CODES: Mapping[int, int] = {
    1: 408,
    2: 500,
    3: 400,
    4: 504,
    5: 404,
    6: 409,
    7: 403,
    8: 429,
    9: 412,
    10: 409,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    15: 500,
    16: 401,
}


def check(
    routing: Routing,
    preprocessing: Preprocessing,
    attributes: Attributes,
    quotas: Mapping[str, QuotaAsk],
    deduplication_id: str,
    notes: Notes,
) -> Session[CheckVerdict]:
    """Preprocess, check and, if the answer is OK, allocate quotas; raises CheckFailed."""
    tracker = Tracker(attributes)
    try:
        yield from preprocessing.fill(tracker, attributes, notes)
    except PreprocessFailed as error:
        raise CheckFailed(str(error)) from error
    preprocessed, whole = tracker.mark(), frozenset(tracker.whole)
    # All but generators are chosen by the namespace of the enriched request (A15).
    routes = routing.routes(Variety.CHECK, request_namespace(tracker.get))
    applied = list(matching(routes, tracker.get, notes))
    dispatches, calls, errors = _calls(applied, tracker.get)
    notes.instances += len(calls)
    outcomes: Sequence[Any] = (yield calls) if calls else ()
    errors += [each.text for each in outcomes if isinstance(each, Failure)]
    if errors:
        raise CheckFailed(f"performing check operation failed: {', '.join(errors)}")
    results = list(zip(dispatches, outcomes, strict=True))
    status, duration, uses = combined(results)
    directive = _denied(outcomes) if status.code else _allowed(applied, outcomes, tracker.get)
    referenced = tracker.referenced
    if tracker.whole:
        # Another key would not be noticed (Differs from Istio: A10).
        uses = 0
    grants = {}
    if not status.code and quotas:
        grants = yield from allocate(
            routing, tracker, (preprocessed, whole), quotas, deduplication_id, notes
        )
    return CheckVerdict(status, duration, uses, referenced, directive or None, grants)


def _calls(applied: Iterable[Route], get: Get) -> tuple[list[Dispatch], list[Call], list[str]]:
    """The calls for the rules that apply, and errors of instances that have no value (A21)."""
    dispatches: list[Dispatch] = []
    calls: list[Call] = []
    errors: list[str] = []
    for route in applied:
        for dispatch in route.dispatches:
            try:
                calls.append(check_call(dispatch, made(dispatch, get)))
            except EvaluationError as error:
                errors.append(str(error))
            else:
                dispatches.append(dispatch)
    return dispatches, calls, errors


def combined(
    results: Sequence[tuple[Dispatch, CheckResult]],
) -> tuple[Status, timedelta, int]:
    """Status, validity and use count of several results (A24 to A26).

    Validities are minima; results that say nothing have no part in them (Differs from Istio: A26).
    The code is the first failing one, the message names all that fail, in config order
    (Differs from Istio: A24).
    """
    telling = [(dispatch, result) for dispatch, result in results if not result.default]
    if not telling:
        return Status(), DEFAULT_DURATION, DEFAULT_USE_COUNT
    failing = [(dispatch, result.status) for dispatch, result in telling if result.status.code]
    status = Status()
    if failing:
        shown = [f"{dispatch.destination.shown}:{each.message}" for dispatch, each in failing]
        status = Status(failing[0][1].code, ", ".join(shown))
    return (
        status,
        min(result.valid_duration for _, result in telling),
        min(result.valid_use_count for _, result in telling),
    )


def _denied(results: Sequence[CheckResult]) -> RouteDirective:
    """The direct response of the first failing result, if that has one (A27)."""
    first = next(result for result in results if result.status.code)
    if first.direct_response is None:
        return RouteDirective()
    return direct(first.direct_response, first.status.code)


def direct(response: DirectResponse, code: int) -> RouteDirective:
    """A direct response as directive, headers by name; ``Set-Cookie`` is split and appended."""
    operations: list[HeaderOperation] = []
    for name, value in sorted(response.headers.items()):
        if name.lower() == "set-cookie":
            operations += [
                HeaderOperation(name, cookie.strip(), Operation.APPEND)
                for cookie in value.split(",")
            ]
        else:
            operations.append(HeaderOperation(name, value))
    return RouteDirective(
        response_operations=tuple(operations),
        direct_response_code=response.code or HTTP_CODES.get(code, 500),
        direct_response_body=response.body,
    )


def _allowed(applied: Iterable[Route], outcomes: Sequence[CheckResult], get: Get) -> RouteDirective:
    """The header operations of all rules that apply, in rule and list order (A18, A29)."""
    request: list[HeaderOperation] = []
    response: list[HeaderOperation] = []
    answered = iter(outcomes)
    for route in applied:
        results = list(islice(answered, len(route.dispatches)))
        if route.request_operations or route.response_operations:
            read = _with_outputs(route, results, get) if route.outputs else get
            request += _operations(route.request_operations, read)
            response += _operations(route.response_operations, read)
    return RouteDirective(tuple(request), tuple(response))


def _with_outputs(route: Route, results: Iterable[CheckResult], get: Get) -> Get:
    """Reads attributes, and the check outputs of a rule, which are none (A8, A29)."""
    outputs: dict[str, Value] = {}
    for dispatch, result in zip(route.dispatches, results, strict=True):
        for name, value in result.output.items():
            outputs.setdefault(f"{dispatch.action}.output.{name}", value)

    def read(name: str) -> Value | None:
        return outputs.get(name) if name in route.outputs else get(name)

    return read


def _operations(templates: Iterable[HeaderTemplate], get: Get) -> Iterator[HeaderOperation]:
    for template in templates:
        if template.operation is Operation.REMOVE:
            yield HeaderOperation(template.name, "", Operation.REMOVE)
            continue
        for expression in template.values:
            try:
                value = expression.evaluate(get)
            except EvaluationError:
                continue
            if value:
                yield HeaderOperation(template.name, value, template.operation)
