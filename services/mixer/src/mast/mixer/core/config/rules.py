"""Rules compiled: match, actions, header operations; their good parts serve (D3, D7, D8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from istio.policy.v1beta1.cfg_pb2 import Action, Rule
from mast.common.expressions.tree import ExpressionError
from mast.common.expressions.types import ValueType
from mast.mixer.core.config.entry import Entry, Problem
from mast.mixer.core.config.handlers import ResolvedHandler
from mast.mixer.core.config.instances import CompiledInstance, mismatch
from mast.mixer.core.config.manifests import Expressions
from mast.mixer.core.config.names import candidates
from mast.mixer.core.engine import Operation
from mast.mixer.core.lang.expression import Expression
from mast.mixer.core.templates import Variety

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class CompiledAction:
    """One handler and the instances that it gets; ``name`` prefixes its check outputs (A29)."""

    handler: ResolvedHandler
    instances: tuple[CompiledInstance, ...]
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class HeaderTemplate:
    """A header operation whose values are expressions; REMOVE has none."""

    name: str
    values: tuple[Expression, ...]
    operation: Operation


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRule:
    """A rule; ``match`` None means that it always applies (A19).

    ``outputs`` are the names by which its header operations read check outputs (A29).
    """

    fqn: str
    namespace: str
    match: Expression | None
    actions: tuple[CompiledAction, ...]
    request_operations: tuple[HeaderTemplate, ...] = ()
    response_operations: tuple[HeaderTemplate, ...] = ()
    outputs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Parts:
    """What rules can refer to, by FQN."""

    handlers: Mapping[str, ResolvedHandler]
    instances: Mapping[str, CompiledInstance]
    expressions: Expressions


def compile_rule(entry: Entry, parts: Parts) -> tuple[CompiledRule | None, list[Problem]]:
    """A rule and all that is wrong with it; None if it can never be active (D8)."""
    spec = entry.spec
    assert isinstance(spec, Rule)  # noqa: S101  the store decodes by kind
    compiler = _Compiler(entry, parts)
    match, active = compiler.match(spec.match)
    actions = tuple(compiler.actions(spec.actions))
    outputs = _outputs(actions)
    request, response = compiler.operations(spec, outputs)
    if not (actions or spec.request_header_operations or spec.response_header_operations):
        compiler.wrong("", "No valid actions found in rule")
        return None, compiler.problems
    if not active:
        return None, compiler.problems
    names = frozenset(outputs)
    rule = CompiledRule(entry.fqn, entry.namespace, match, actions, request, response, names)
    return rule, compiler.problems


def _outputs(actions: Sequence[CompiledAction]) -> dict[str, ValueType]:
    """Names that header expressions may use besides attributes: check outputs (A29)."""
    return {
        f"{action.name}.output.{name}": kind
        for action in actions
        if action.name
        for instance in action.instances
        if instance.template.variety is Variety.CHECK_WITH_OUTPUT
        for name, kind in instance.template.outputs.items()
    }


class _Compiler:
    """Compiles the parts of one rule; collects problems."""

    def __init__(self, entry: Entry, parts: Parts) -> None:
        self.problems: list[Problem] = []
        self._entry = entry
        self._parts = parts
        self._dialect = parts.expressions.dialect(entry)

    def wrong(self, field: str, text: str) -> None:
        self.problems.append(Problem(self._entry.fqn, field, text))

    def match(self, text: str) -> tuple[Expression | None, bool]:
        """The condition and whether the rule can ever apply."""
        if not text.strip():
            return None, True
        try:
            compiled = self._parts.expressions.compile(text, self._dialect)
        except ExpressionError as error:
            self.wrong("match", str(error))
            return None, False
        if compiled.type is not ValueType.BOOL:
            expected = f"evaluated to type {compiled.type}, expected type BOOL"
            self.wrong("match", f"expression '{text}' {expected}")
            return None, False
        return (None if compiled.constant is True else compiled), True

    def actions(self, given: Sequence[Action]) -> Iterator[CompiledAction]:
        """The actions that have a handler and at least one instance that it takes."""
        for index, action in enumerate(given):
            field = f"actions[{index}]"
            handler = self._handler(action.handler)
            if handler is None:
                text = f"Handler not found: handler='{action.handler}'"
                self.wrong(f"{field}.handler", text)
                continue
            instances = tuple(self._instances(field, action.instances, handler))
            if instances:
                yield CompiledAction(handler, instances, action.name)
            else:
                self.wrong(field, "No valid instances found")

    def _instances(
        self, field: str, names: Sequence[str], handler: ResolvedHandler
    ) -> Iterator[CompiledInstance]:
        seen: set[str] = set()
        for index, name in enumerate(names):
            where = f"{field}.instances[{index}]"
            instance = self._find(name, "instance", self._parts.instances)
            if instance is None:
                self.wrong(where, f"Instance not found: instance='{name}'")
            elif instance.fqn in seen:
                same = f"action specified the same instance multiple times: instance='{name}',"
                self.wrong(where, same)
            elif instance.template.name not in handler.adapter.templates:
                self.wrong(where, _unsupported(instance, handler))
            else:
                seen.add(instance.fqn)
                yield instance

    def _handler(self, reference: str) -> ResolvedHandler | None:
        """Of all that a reference may mean compiled handlers are looked at before dynamic ones."""
        names = candidates(reference, "handler", self._entry.namespace)
        found = [self._parts.handlers[name] for name in names if name in self._parts.handlers]
        return min(found, key=lambda each: bool(each.remote), default=None)

    def _find(self, reference: str, kind: str, known: Mapping[str, T]) -> T | None:
        names = candidates(reference, kind, self._entry.namespace)
        return next((known[name] for name in names if name in known), None)

    def operations(
        self, spec: Rule, outputs: Mapping[str, ValueType]
    ) -> tuple[tuple[HeaderTemplate, ...], tuple[HeaderTemplate, ...]]:
        """Request and response operations; none at all if one value does not compile (A29)."""
        before = len(self.problems)
        request = self._operations(
            "requestHeaderOperations", spec.request_header_operations, outputs
        )
        response = self._operations(
            "responseHeaderOperations", spec.response_header_operations, outputs
        )
        return (request, response) if len(self.problems) == before else ((), ())

    def _operations(
        self,
        field: str,
        given: Sequence[Rule.HeaderOperationTemplate],
        outputs: Mapping[str, ValueType],
    ) -> tuple[HeaderTemplate, ...]:
        return tuple(
            HeaderTemplate(
                each.name,
                tuple(self._values(f"{field}[{index}]", each.values, outputs)),
                Operation(each.operation),
            )
            for index, each in enumerate(given)
        )

    def _values(
        self, field: str, texts: Sequence[str], outputs: Mapping[str, ValueType]
    ) -> Iterator[Expression]:
        for index, text in enumerate(texts):
            where = f"{field}.values[{index}]"
            try:
                compiled = self._parts.expressions.compile(text, self._dialect, outputs)
            except ExpressionError as error:
                self.wrong(where, f"failed to evaluate expression for field '{where}'; {error}")
                continue
            if compiled.type is not ValueType.STRING:
                self.wrong(where, mismatch(where, compiled.type, ValueType.STRING))
            else:
                yield compiled


def _unsupported(instance: CompiledInstance, handler: ResolvedHandler) -> str:
    return (
        f"instance '{instance.fqn}' is of template '{instance.template.name}' "
        f"which is not supported by handler '{handler.fqn}'"
    )
