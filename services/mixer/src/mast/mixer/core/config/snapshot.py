"""The whole configuration compiled into one immutable snapshot (mixer.md D7, D9, D10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mast.common.kinds import LEGACY_ADAPTERS, LEGACY_TEMPLATES
from mast.mixer.core.adapter import Adapter
from mast.mixer.core.config.entry import Entry, Problem
from mast.mixer.core.config.handlers import (
    Known,
    Remote,
    ResolvedHandler,
    UsedHandler,
    resolve_handler,
    used_handlers,
)
from mast.mixer.core.config.instances import CompiledInstance, compile_instance
from mast.mixer.core.config.manifests import Expressions, united
from mast.mixer.core.config.resources import (
    ADAPTER,
    TEMPLATE,
    dynamic_adapters,
    dynamic_templates,
)
from mast.mixer.core.config.rules import CompiledRule, Parts, compile_rule
from mast.mixer.core.templates import Template

MANIFEST, RULE, HANDLER, INSTANCE = "attributemanifest", "rule", "handler", "instance"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many objects of each sort a snapshot was made from, and how many have problems (I)."""

    attributes: int = 0
    handlers: int = 0
    instances: int = 0
    instance_errors: int = 0
    rules: int = 0
    rule_errors: int = 0
    match_errors: int = 0
    unsatisfied_actions: int = 0
    adapters: int = 0
    adapter_errors: int = 0
    templates: int = 0
    template_errors: int = 0
    handler_validation_errors: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """A version of the configuration: what serves, and all that was wrong with the rest.

    ``rules`` are sorted by FQN (A24). ``expressions`` is carried over to the next snapshot.
    ``generations`` are those of all objects, by FQN; ``revision`` is that of the last change.
    """

    id: int
    rules: tuple[CompiledRule, ...]
    handlers: Mapping[str, UsedHandler]
    problems: tuple[Problem, ...]
    counts: Counts
    expressions: Expressions
    generations: Mapping[str, str] = field(default_factory=dict)
    revision: int = 0


EMPTY = Snapshot(0, (), {}, (), Counts(), Expressions({}))


@dataclass(slots=True)
class _Work:
    problems: list[Problem] = field(default_factory=list)
    handlers: dict[str, ResolvedHandler] = field(default_factory=dict)
    instances: dict[str, CompiledInstance] = field(default_factory=dict)
    rules: list[CompiledRule] = field(default_factory=list)


def compile_snapshot(
    entries: Iterable[Entry],
    templates: Mapping[str, Template],
    adapters: Mapping[str, Adapter],
    before: Snapshot = EMPTY,
    remote: Remote | None = None,
) -> Snapshot:
    """Compile everything; a bad object is reported and hurts only what needs it (D7).

    Objects of kinds that Mixer does not know are ignored. Expressions that ``before`` has
    compiled over the same attributes are taken from it. ``remote`` builds handlers of adapters
    that objects describe; without it there are none.
    """
    known = sorted(entries, key=lambda entry: entry.fqn)
    of_kind: dict[str, list[Entry]] = {}
    for entry in known:
        of_kind.setdefault(entry.kind, []).append(entry)
    expressions = before.expressions.over(united(of_kind.get(MANIFEST, ())))
    work = _Work()
    dynamic, problems = dynamic_templates(of_kind.get(TEMPLATE, ()))
    described, more = dynamic_adapters(of_kind.get(ADAPTER, ()), dynamic)
    work.problems += [*problems, *more]
    templates = {**templates, **{fqn: each.template for fqn, each in dynamic.items()}}
    known_adapters = Known(adapters, described, remote)
    handler_entries = [e for e in known if e.kind == HANDLER or e.kind in LEGACY_ADAPTERS]
    handler_problems = 0
    instance_entries = [e for e in known if e.kind == INSTANCE or e.kind in LEGACY_TEMPLATES]
    for entry in handler_entries:
        handler, problems = resolve_handler(entry, known_adapters)
        work.problems += problems
        handler_problems += len(problems)
        if handler is not None:
            work.handlers[entry.fqn] = handler
    for entry in instance_entries:
        instance, problems = compile_instance(entry, templates, expressions)
        work.problems += problems
        if instance is not None:
            work.instances[entry.fqn] = instance
    parts = Parts(work.handlers, work.instances, expressions)
    for entry in of_kind.get(RULE, ()):
        rule, problems = compile_rule(entry, parts)
        work.problems += problems
        if rule is not None:
            work.rules.append(rule)
    handlers, problems = used_handlers(_uses(work.rules))
    work.problems += problems
    counts = Counts(
        attributes=len(expressions.types),
        handlers=len(handler_entries),
        instances=len(instance_entries),
        instance_errors=len(instance_entries) - len(work.instances),
        rules=len(of_kind.get(RULE, ())),
        rule_errors=len({p.resource for p in work.problems if f".{RULE}." in p.resource}),
        match_errors=sum(p.field == "match" for p in work.problems),
        unsatisfied_actions=sum(p.text.startswith("Handler not found") for p in work.problems),
        handler_validation_errors=handler_problems + len(problems),
        adapters=len(of_kind.get(ADAPTER, ())),
        adapter_errors=len(of_kind.get(ADAPTER, ())) - len(described),
        templates=len(of_kind.get(TEMPLATE, ())),
        template_errors=len(of_kind.get(TEMPLATE, ())) - len(dynamic),
    )
    return Snapshot(
        before.id + 1,
        tuple(work.rules),
        handlers,
        tuple(work.problems),
        counts,
        expressions,
        {entry.fqn: entry.generation for entry in known},
    )


def _uses(
    rules: Iterable[CompiledRule],
) -> dict[str, tuple[ResolvedHandler, list[CompiledInstance]]]:
    uses: dict[str, tuple[ResolvedHandler, list[CompiledInstance]]] = {}
    for rule in rules:
        for action in rule.actions:
            _, instances = uses.setdefault(action.handler.fqn, (action.handler, []))
            instances += action.instances
    return uses
