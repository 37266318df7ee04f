"""Reports: records that agree in all that labels are made of are worked on together (B2 to B4).

A record takes two steps. *Enrichment* depends on what attribute generators and the choice of the
namespace can read; its outcome is kept by exactly those values. *Grouping* depends on what the
rules and instances of that namespace can read besides: records of one group match the same rules
and make equal instances, but for the varying field (the value of a metric), which is computed for
each. Both outcomes are kept between reports, so in the steady state a record costs two keys, two
look-ups and its values. A record that brings its kind costs one look-up and its values, unless
something is read besides in which records of a kind may differ: that is part of the key then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mast.common.expressions.tree import EvaluationError, Read
from mast.common.expressions.types import ValueType
from mast.mixer.core import metric_overrides
from mast.mixer.core.adapter import Batch, Instance
from mast.mixer.core.dispatch import (
    SELECTORS,
    Call,
    Destination,
    Dispatch,
    Failure,
    Notes,
    Route,
    Routes,
    Routing,
    Session,
    made,
    matching,
    report_call,
    request_namespace,
)
from mast.mixer.core.lang.keys import compile_key, hashable
from mast.mixer.core.preprocess import PreprocessFailed, bound, generators
from mast.mixer.core.records import VARYING, Record
from mast.mixer.core.templates import Variety
from mast.mixer.core.values import Attributes, Get, Value

# Instances of these templates are made once per group of records; of the others once per record.
GROUPED = frozenset({"metric", "reportnothing"})

# How many groups are kept between reports before all are forgotten; one counts once more for each
# so many characters in its key.
MAX_GROUPS = 20_000
CHARACTERS = 2048

Key = Callable[[Get], tuple[Hashable, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """An instance that is the same for all records of a group, but for its value."""

    dispatch: Dispatch
    instance: Instance
    # Whether the value can read a generated attribute.
    overlaid: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """What records with equal keys have in common."""

    generated: Mapping[str, Value]
    shared: tuple[_Shared, ...]
    single: tuple[Dispatch, ...]
    errors: tuple[str, ...]
    match_errors: tuple[tuple[str, str], ...]


@dataclass(slots=True, eq=False)
class _Enriched:
    """What enrichment found: generated attributes and the plan of the namespace."""

    plan: _Plan
    generated: Mapping[str, Value]
    match_errors: tuple[tuple[str, str], ...]
    groups: dict[Hashable, _Group] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """The report rules for the requests of one namespace, and the key that decides their work."""

    routes: Routes
    key: Key


class Reporter:
    """Reports against one routing table; holds the groups found so far."""

    def __init__(self, routing: Routing, types: Mapping[str, ValueType]) -> None:
        self._routing = routing
        self._types = types
        self._plans: dict[Routes, _Plan] = {}
        self._known: dict[Hashable, _Enriched] = {}
        self._kinds: dict[Hashable, _Group] = {}
        self._groups = 0
        self._generation: tuple[object, ...] = ()
        routes = set(routing.all_routes(Variety.ATTRIBUTE_GENERATOR))
        reads = {Read(name) for name in SELECTORS}.union(*[route.reads for route in routes])
        self._key = compile_key(reads, types)
        reads = reads.union(*[_shared_reads(route) for route in routing.all_routes(Variety.REPORT)])
        varying = {read for read in reads if read.name in VARYING}
        self._varying = compile_key(varying, types) if varying else None
        self._generators = [
            dispatch.destination.handler for route in routes for dispatch in route.dispatches
        ]

    def report(self, records: Sequence[Attributes], notes: Notes) -> Session[Sequence[str]]:
        """Dispatch records and flush once; the texts of all errors, each once.

        Differs from Istio: the same error of many records is told once (B4).
        """
        self._forget_if_stale()
        groups: dict[_Group, list[Attributes]] = defaultdict(list)
        errors: dict[str, None] = {}
        unknown = self._of_known_kinds(records, groups)
        if unknown:
            yield from self._sort(unknown, groups, errors, notes)
        buffers: dict[Destination, list[Batch]] = defaultdict(list)
        for group, members in groups.items():
            errors.update(dict.fromkeys(group.errors))
            for each in group.match_errors:
                notes.match_errors[each] += len(members)
            _fill(buffers, group, members, errors)
        notes.instances += sum(each.count for batches in buffers.values() for each in batches)
        calls = [report_call(destination, batches) for destination, batches in buffers.items()]
        outcomes = (yield calls) if calls else ()
        for outcome in outcomes:
            told = [outcome.text] if isinstance(outcome, Failure) else outcome
            errors.update(dict.fromkeys(told))
        return tuple(errors)

    def _of_known_kinds(
        self, records: Sequence[Attributes], groups: Mapping[_Group, list[Attributes]]
    ) -> Sequence[Attributes]:
        """Put records whose kind has been seen into their groups; gives the others."""
        kinds = self._kinds
        unknown: list[Attributes] = []
        for record in records:
            group = kinds.get(self._kind(record)) if isinstance(record, Record) else None
            if group is None:
                unknown.append(record)
            else:
                groups[group].append(record)
        return unknown

    def _kind(self, record: Record) -> Hashable:
        """The kind, and that in which records of it may differ if it is read."""
        if self._varying is None:
            return record.kind
        return record.kind, self._key_of(self._varying, record)

    def _sort(
        self,
        records: Sequence[Attributes],
        groups: Mapping[_Group, list[Attributes]],
        errors: dict[str, None],
        notes: Notes,
    ) -> Session[None]:
        """Put records into their groups by all that decides about it, and remember their kinds."""
        # Another report may replace the fields while this one waits for generators.
        kinds = self._kinds
        keyed = [(record, self._key_of(self._key, record)) for record in records]
        known, failed = yield from self._enrich(keyed, notes)
        for record, key in keyed:
            found = known.get(key)
            if found is None:
                errors[failed[key]] = None
                continue
            group = self._group(found, record)
            groups[group].append(record)
            if isinstance(record, Record):
                kinds[self._kind(record)] = group

    def _forget_if_stale(self) -> None:
        generation = tuple(each.generation for each in self._generators)
        keep = generation == self._generation and None not in generation
        if not keep or max(self._groups, len(self._kinds)) > MAX_GROUPS:
            self._known = {}
            self._kinds = {}
            self._groups = 0
        self._generation = generation

    def _key_of(self, key: Key, record: Attributes) -> Hashable:
        found = key(record.get)
        try:
            hash(found)
        except TypeError:
            return tuple(hashable(part) for part in found)
        return found

    def _enrich(
        self, keyed: Iterable[tuple[Attributes, Hashable]], notes: Notes
    ) -> Session[tuple[Mapping[Hashable, _Enriched], Mapping[Hashable, str]]]:
        """Enrichment, or the error of it, by key; generators are called for keys not known."""
        # Another report may replace the field while this one waits for generators.
        known = self._known
        failed: dict[Hashable, str] = {}
        pending: list[tuple[Hashable, Attributes, list[Dispatch], Notes]] = []
        calls: list[Call] = []
        for key, record in {key: each for each, key in keyed if key not in known}.items():
            own = Notes()
            routes = self._routing.routes(
                Variety.ATTRIBUTE_GENERATOR, request_namespace(record.get)
            )
            try:
                dispatches, wanted = generators(routes, record.get, own)
            except PreprocessFailed as error:
                failed[key] = str(error)
            else:
                pending.append((key, record, dispatches, own))
                calls += wanted
        outcomes = iter((yield calls) if calls else ())
        notes.instances += len(calls)
        for key, record, dispatches, own in pending:
            answers = [next(outcomes) for _ in dispatches]
            try:
                generated = bound(dispatches, answers, record.get)
            except PreprocessFailed as error:
                failed[key] = str(error)
            else:
                known[key] = self._enriched(record, generated, own)
        self._groups += sum(_room(key) for key, *_ in pending)
        return known, failed

    def _enriched(
        self, record: Attributes, generated: Mapping[str, Value], notes: Notes
    ) -> _Enriched:
        namespace = request_namespace(_overlaid(record, generated))
        routes = self._routing.routes(Variety.REPORT, namespace)
        return _Enriched(self._plan(routes), generated, tuple(notes.match_errors))

    def _plan(self, routes: Routes) -> _Plan:
        plan = self._plans.get(routes)
        if plan is None:
            reads = frozenset[Read]().union(*[_shared_reads(route) for route in routes])
            plan = self._plans[routes] = _Plan(routes, compile_key(reads, self._types))
        return plan

    def _group(self, enriched: _Enriched, record: Attributes) -> _Group:
        key = (self._key_of(enriched.plan.key, record), record.get(metric_overrides.ATTRIBUTE))
        group = enriched.groups.get(key)
        if group is None:
            group = enriched.groups[key] = _new_group(enriched, record)
            self._groups += _room(key)
        return group


def _new_group(enriched: _Enriched, record: Attributes) -> _Group:
    """Match the rules and make the shared instances for the first record of a group."""
    notes = Notes()
    get = _overlaid(record, enriched.generated)
    overrides = metric_overrides.overrides_of(record.get)
    shared: list[_Shared] = []
    single: list[Dispatch] = []
    errors: list[str] = []
    for route in matching(enriched.plan.routes, get, notes):
        for dispatch in route.dispatches:
            if dispatch.destination.template not in GROUPED:
                single.append(dispatch)
                continue
            value = dispatch.instance.value
            reads = value.reads if value else ()
            overlaid = any(read.name in enriched.generated for read in reads)
            try:
                instance = made(dispatch, get)
            except EvaluationError as error:
                errors.append(str(error))
            else:
                instance.overrides = overrides
                shared.append(_Shared(dispatch, instance, overlaid))
    return _Group(
        enriched.generated,
        tuple(shared),
        tuple(single),
        tuple(errors),
        (*enriched.match_errors, *notes.match_errors),
    )


def _fill(
    buffers: Mapping[Destination, list[Batch]],
    group: _Group,
    members: Sequence[Attributes],
    errors: dict[str, None],
) -> None:
    """Add the records of one group to what their destinations get."""
    for shared in group.shared:
        batches = buffers[shared.dispatch.destination]
        if shared.dispatch.destination.template == "metric":
            values = _values(shared, group.generated, members, errors)
            batches.append(Batch(shared.instance, values, len(values)))
        else:
            batches.append(Batch(shared.instance, count=len(members)))
    for dispatch in group.single:
        batches = buffers[dispatch.destination]
        for record in members:
            try:
                instance = made(dispatch, _overlaid(record, group.generated))
            except EvaluationError as error:
                errors[str(error)] = None
            else:
                batches.append(Batch(instance))


def _values(
    shared: _Shared,
    generated: Mapping[str, Value],
    members: Sequence[Attributes],
    errors: dict[str, None],
) -> Sequence[Value | None]:
    """The metric's value for each record; records without one are told and left out."""
    instance = shared.dispatch.instance
    if instance.value is None or instance.value.constant is not None:
        return [instance.value.constant if instance.value else None] * len(members)
    evaluate = instance.value.evaluate
    overlay = generated if shared.overlaid else {}
    if not overlay:
        try:
            return [evaluate(record.get) for record in members]
        except EvaluationError:
            pass  # Some record has no value: find out which.
    values: list[Value | None] = []
    for record in members:
        try:
            values.append(evaluate(_overlaid(record, overlay)))
        except EvaluationError as error:
            errors[str(instance.failure("value", error))] = None
    return values


def _shared_reads(route: Route) -> frozenset[Read]:
    """What a rule's match and shared instances can read: the key of its groups."""
    parts = [
        dispatch.instance.shared_reads
        for dispatch in route.dispatches
        if dispatch.destination.template in GROUPED
    ]
    return frozenset[Read](route.match_reads).union(*parts)


def _room(key: Hashable) -> int:
    """What a key takes: callers choose texts in it, such as the host of a request."""
    return 1 + _length(key) // CHARACTERS


def _length(key: Hashable) -> int:
    if isinstance(key, str | bytes):
        return len(key)
    return sum(map(_length, key)) if isinstance(key, tuple) else 0


def _overlaid(record: Attributes, generated: Mapping[str, Value]) -> Get:
    """Reads a record, and generated attributes where it has a gap (A13)."""
    if not generated:
        return record.get

    def get(name: str) -> Value | None:
        value = record.get(name)
        return generated.get(name) if value is None else value

    return get
