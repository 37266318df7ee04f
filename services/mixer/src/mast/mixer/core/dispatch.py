"""Which handlers get which instances of a request: the table and the walk over it (A16 to A23)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, TypeVar

from mast.common.expressions.tree import EvaluationError, Read
from mast.mixer.core.adapter import AdapterError, Batch, Instance, QuotaArguments
from mast.mixer.core.config.instances import CompiledInstance
from mast.mixer.core.config.rules import CompiledRule, HeaderTemplate
from mast.mixer.core.config.snapshot import Snapshot
from mast.mixer.core.engine import Reads
from mast.mixer.core.templates import Variety
from mast.mixer.core.values import Get

T = TypeVar("T")

# The attributes that decide which namespace's rules apply (A16).
REPORTER_KIND = "context.reporter.kind"
NAMESPACES: Mapping[object, str] = {
    "inbound": "destination.namespace",
    "outbound": "source.namespace",
}
SELECTORS = (REPORTER_KIND, *NAMESPACES.values())


def request_namespace(get: Get) -> str:
    """The namespace whose rules apply to a request besides the root's (A16)."""
    kind = get(REPORTER_KIND)
    source = NAMESPACES.get(kind) if isinstance(kind, str) else NAMESPACES["inbound"]
    namespace = get(source) if source else None
    return namespace if isinstance(namespace, str) else ""


@dataclass(frozen=True, slots=True, eq=False)
class Destination:
    """A built handler taking instances of one template; ``shown`` as in A25."""

    fqn: str
    shown: str
    adapter: str
    template: str
    handler: Any


@dataclass(frozen=True, slots=True, eq=False)
class Dispatch:
    """One instance for one destination; ``action`` is the name of the action (A29)."""

    destination: Destination
    instance: CompiledInstance
    action: str


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """What a rule does in one variety; ``match`` None means always (A19).

    ``outputs`` are names that its operations read and that are no attributes (A8, A29).
    """

    rule: str
    match: Callable[[Get], bool] | None
    dispatches: tuple[Dispatch, ...]
    match_reads: frozenset[Read]
    reads: frozenset[Read]
    request_operations: tuple[HeaderTemplate, ...] = ()
    response_operations: tuple[HeaderTemplate, ...] = ()
    outputs: frozenset[str] = frozenset()


Routes: TypeAlias = tuple[Route, ...]


@dataclass(slots=True)
class Notes:
    """What happened on the way that is no part of the answer: for logs and counters.

    ``match_errors`` counts by rule FQN and text, ``instances`` are those made for handlers.
    """

    match_errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)
    instances: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    """One adapter call to make; ``invoke`` answers at once or gives an awaitable."""

    destination: Destination
    invoke: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """The outcome of a call that failed (A23)."""

    text: str


# A session yields adapter calls that may run in parallel, is sent their outcomes in the same
# order, each an answer or a Failure, and returns its result.
Session: TypeAlias = Generator[Sequence[Call], Sequence[Any], T]


def panic(error: BaseException) -> str:
    """The text for a handler that raised what it should not (A23)."""
    return f"panic during handler dispatch: {error}"


def failure(error: Exception) -> Failure:
    """The outcome of a call that raised."""
    return Failure(str(error) if isinstance(error, AdapterError) else panic(error))


class Routing:
    """The dispatch table of one snapshot with its built handlers. Immutable."""

    def __init__(self, snapshot: Snapshot, handlers: Mapping[str, Any], root: str) -> None:
        """``handlers`` by FQN; actions of rules whose handler is not there are left out (D9)."""
        self.id = snapshot.id
        destinations = _destinations(snapshot.rules, handlers)
        self._tables = {
            variety: _table(snapshot.rules, varieties, destinations, root)
            for variety, varieties in _TOGETHER.items()
        }

    def routes(self, variety: Variety, namespace: str) -> Routes:
        """The rules for a request of a namespace: the root's first, then its own (A17)."""
        table = self._tables[variety]
        found = table.get(namespace)
        return table[""] if found is None else found

    def all_routes(self, variety: Variety) -> Iterable[Route]:
        """Every route of a variety, some repeatedly."""
        return (route for routes in self._tables[variety].values() for route in routes)

    def destinations(self) -> Mapping[str, int]:
        """How many pairs of handler and template each variety is dispatched to."""
        return {
            variety.name: len(
                {
                    each.destination
                    for route in self.all_routes(variety)
                    for each in route.dispatches
                }
            )
            for variety in self._tables
        }

    def reads(self, *varieties: Variety) -> Reads:
        """What requests of these varieties can read, namespace selection included."""
        names: set[str] = set(SELECTORS)
        keys: dict[str, set[str]] = {}
        for variety in varieties:
            for route in self.all_routes(variety):
                for name, key in route.reads:
                    if key is None:
                        names.add(name)
                    else:
                        keys.setdefault(name, set()).add(key)
        return Reads(frozenset(names), {name: frozenset(each) for name, each in keys.items()})


# CHECK_WITH_OUTPUT is dispatched together with CHECK (A19).
_TOGETHER: Mapping[Variety, frozenset[Variety]] = {
    Variety.CHECK: frozenset({Variety.CHECK, Variety.CHECK_WITH_OUTPUT}),
    Variety.QUOTA: frozenset({Variety.QUOTA}),
    Variety.REPORT: frozenset({Variety.REPORT}),
    Variety.ATTRIBUTE_GENERATOR: frozenset({Variety.ATTRIBUTE_GENERATOR}),
}


_Destinations: TypeAlias = Mapping[tuple[str, str], Destination]


def _destinations(rules: Iterable[CompiledRule], handlers: Mapping[str, Any]) -> _Destinations:
    """One destination for each built handler and template directed to it."""
    return {
        (fqn, instance.template.name): Destination(
            fqn,
            action.handler.shown,
            action.handler.adapter.name,
            instance.template.name,
            handlers[fqn],
        )
        for rule in rules
        for action in rule.actions
        if (fqn := action.handler.fqn) in handlers
        for instance in action.instances
    }


def _table(
    rules: Iterable[CompiledRule],
    varieties: frozenset[Variety],
    destinations: _Destinations,
    root: str,
) -> dict[str, Routes]:
    """Routes by namespace; "" for namespaces without rules of their own."""
    own: dict[str, list[Route]] = {root: []}
    for rule in rules:
        route = _route(rule, varieties, destinations)
        operations = Variety.CHECK in varieties and (
            rule.request_operations or rule.response_operations
        )
        if route.dispatches or operations:
            own.setdefault(rule.namespace, []).append(route)
    common = tuple(own.pop(root))
    table = {namespace: common + tuple(routes) for namespace, routes in own.items()}
    return {**table, root: common, "": common}


def _route(rule: CompiledRule, varieties: frozenset[Variety], destinations: _Destinations) -> Route:
    dispatches = tuple(
        Dispatch(destination, instance, action.name)
        for action in rule.actions
        for instance in action.instances
        if instance.template.variety in varieties
        and (destination := destinations.get((action.handler.fqn, instance.template.name)))
    )
    checks = Variety.CHECK in varieties
    request = rule.request_operations if checks else ()
    response = rule.response_operations if checks else ()
    parts = [each.instance.reads for each in dispatches]
    parts += [
        frozenset(read for read in value.reads if read.name not in rule.outputs)
        for each in (*request, *response)
        for value in each.values
    ]
    match_reads = frozenset[Read]() if rule.match is None else rule.match.reads
    return Route(
        rule.fqn,
        None if rule.match is None else rule.match.evaluate,
        dispatches,
        match_reads,
        match_reads.union(*parts),
        request,
        response,
        rule.outputs,
    )


def matching(routes: Routes, get: Get, notes: Notes) -> Iterator[Route]:
    """The routes whose rule applies; a match that fails to evaluate does not apply (A20)."""
    for route in routes:
        if route.match is None:
            yield route
            continue
        try:
            if route.match(get):
                yield route
        except EvaluationError as error:
            notes.match_errors[route.rule, str(error)] += 1


def made(dispatch: Dispatch, get: Get) -> Instance:
    """The instance that a dispatch's handler gets; raises EvaluationError."""
    instance = dispatch.instance
    return Instance(instance.fqn, instance.template.name, instance.evaluate(get))


def check_call(dispatch: Dispatch, instance: Instance) -> Call:
    """A call of a CHECK handler."""
    destination = dispatch.destination
    return Call(destination, partial(destination.handler.check, instance))


def quota_call(dispatch: Dispatch, instance: Instance, arguments: QuotaArguments) -> Call:
    """A call of a QUOTA handler."""
    destination = dispatch.destination
    return Call(destination, partial(destination.handler.quota, instance, arguments))


def generate_call(dispatch: Dispatch, instance: Instance) -> Call:
    """A call of an attribute generator."""
    destination = dispatch.destination
    return Call(destination, partial(destination.handler.generate, instance))


def report_call(destination: Destination, batches: Sequence[Batch]) -> Call:
    """A call of a REPORT handler."""
    return Call(destination, partial(destination.handler.report, batches))
