"""The shape of rules, and the walk that applies them to a specification.

A family of kinds is a module that holds a :class:`Family`: checks of fields and rules of messages
by full protobuf name, and rules of whole objects by kind. Field checks see one value, message
rules one message wherever it occurs, object rules everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from mast.galley.core.decode import WRAPPERS, descriptor_of, is_map
from mast.galley.core.objects import ConfigObject
from mast.galley.core.problem import Finding, Path, Severity, warning
from mast.galley.core.rules import values
from mast.galley.core.rules.values import Check

MessageRule = Callable[[Any, Path], Iterator[Finding]]
ObjectRule = Callable[[ConfigObject], Iterator[Finding]]

SPEC: Path = ("spec",)
_DURATION = "google.protobuf.Duration"
_FREE_FORM = frozenset({"google.protobuf.Struct", "google.protobuf.Value"})


@dataclass(frozen=True, kw_only=True)
class Family:
    """The rules of some kinds.

    ``fields`` and ``keys`` (of maps) are by ``package.Message.field``; a list's check is applied
    to each item, a map's to each value. ``messages`` are by ``package.Message``, ``objects`` by
    kind, or by ``group/kind`` where several groups have one of that name. ``optional`` are fields
    tagged as required on the wire that another field may replace.
    ``unsupported`` fields are refused whatever they say, ``without_effect`` ones are judged as
    others and accepted with a warning; each with the reason.
    A Duration without a check of its own must be at least a millisecond (B1).
    """

    fields: Mapping[str, tuple[str, Check]] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, Check]] = field(default_factory=dict)
    messages: Mapping[str, MessageRule] = field(default_factory=dict)
    objects: Mapping[str, ObjectRule] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    unsupported: Mapping[str, str] = field(default_factory=dict)
    without_effect: Mapping[str, str] = field(default_factory=dict)


def prefixed(prefix: str, table: Mapping[str, Any]) -> dict[str, Any]:
    """A table whose names all begin with a package."""
    return {f"{prefix}.{name}": value for name, value in table.items()}


def when(complaint: str | None, at: Path, rule: str) -> Iterator[Finding]:
    """A finding if there is a complaint."""
    if complaint is not None:
        yield Finding(at, rule, complaint)


def required(at: Path, *names: str) -> Finding:
    """At least one of some fields must be set."""
    wanted = " or ".join(repr(name) for name in names)
    return Finding(at, "required", f"{wanted} is required")


def exclusive(message: Message, at: Path, *names: str) -> Iterator[Finding]:
    """At most one of some fields may be set."""
    given = [name for name in names if is_set(message, name)]
    if len(given) > 1:
        shown = " and ".join(repr(json_name(message, name)) for name in given)
        yield Finding(
            (*at, json_name(message, given[1])), "one-of", f"only one of {shown} may be set"
        )


def forbidden(message: Message, at: Path, why: str, *names: str) -> Iterator[Finding]:
    """None of some fields may be set."""
    for name in names:
        if is_set(message, name):
            shown = json_name(message, name)
            yield Finding((*at, shown), "not-allowed", f"{shown!r} is not allowed {why}")


def without_effect(message: Message, at: Path, why: str, *names: str) -> Iterator[Finding]:
    """A warning for each of some fields that does nothing beside what else is set."""
    for name in names:
        if is_set(message, name):
            yield _idle((*at, json_name(message, name)), why)


def _idle(at: Path, why: str) -> Finding:
    return warning(at, "without-effect", f"{at[-1]!r} has no effect: {why}")


def _refused(at: Path, why: str) -> Finding:
    return Finding(at, "unsupported", f"{at[-1]!r} is not supported: {why}")


def is_set(message: Message, name: str) -> bool:
    """Whether a field has a value: present, not empty, not zero."""
    descriptor = descriptor_of(message).fields_by_name[name]
    if descriptor.is_repeated:
        return len(getattr(message, name)) > 0
    if descriptor.has_presence:
        return message.HasField(name)
    return bool(getattr(message, name))


def json_name(message: Message, name: str) -> str:
    """A field's name as users write it."""
    return descriptor_of(message).fields_by_name[name].json_name


class Rulebook:
    """All families together."""

    def __init__(self, *families: Family) -> None:
        self._fields: dict[str, tuple[str, Check]] = {}
        self._keys: dict[str, tuple[str, Check]] = {}
        self._messages: dict[str, MessageRule] = {}
        self._objects: dict[str, ObjectRule] = {}
        self._optional: set[str] = set()
        self.unsupported: dict[str, str] = {}
        """Why a field is refused, by full name."""
        self.without_effect: dict[str, str] = {}
        """Why a field does nothing, by full name."""
        self._plans: dict[str, tuple[_FieldPlan, ...]] = {}
        for family in families:
            self._fields |= family.fields
            self._keys |= family.keys
            self._messages |= family.messages
            self._objects |= family.objects
            self._optional |= family.optional
            self.unsupported |= family.unsupported
            self.without_effect |= family.without_effect

    def names(self) -> Iterator[str]:
        """Full names of every message and field that a rule is about."""
        yield from self._fields
        yield from self._keys
        yield from self._messages
        yield from self._optional
        yield from self.unsupported
        yield from self.without_effect

    def kinds(self) -> Iterator[str]:
        """Names of the kinds with a rule about whole objects, as the families give them."""
        yield from self._objects

    def check(self, obj: ConfigObject) -> Iterator[Finding]:
        """Everything wrong with a decoded object."""
        yield from self._walk(obj.spec, obj.kind.root)
        rule = self._objects.get(str(obj.kind), self._objects.get(obj.kind.name))
        if rule is not None:
            yield from rule(obj)

    def _walk(self, message: Message, at: Path) -> Iterator[Finding]:
        descriptor = descriptor_of(message)
        name = descriptor.full_name
        if name in _FREE_FORM:
            return
        given = {field.name: value for field, value in message.ListFields()}
        for plan in self._plan(descriptor):
            value = given.get(plan.name)
            if value is None:
                if plan.required:
                    yield required((*at, plan.json_name), plan.json_name)
                continue
            here = (*at, plan.json_name)
            if plan.verdict is not None:
                finding = plan.verdict(here)
                yield finding
                if finding.severity is Severity.ERROR:
                    continue
            if plan.is_map:
                yield from self._map(plan, value, here)
            elif plan.is_list:
                for index, item in enumerate(value):
                    yield from self._value(plan, item, (*here, index))
            else:
                yield from self._value(plan, value.value if plan.unwrap else value, here)
        rule = self._messages.get(name)
        if rule is not None:
            yield from rule(message, at)

    def _map(self, plan: _FieldPlan, content: Mapping[Any, Any], at: Path) -> Iterator[Finding]:
        for key, item in content.items():
            here = (*at, str(key))
            if plan.key_check is not None:
                rule, check = plan.key_check
                yield from when(check(key), here, rule)
            yield from self._value(plan, item, here)

    def _value(self, plan: _FieldPlan, value: Any, at: Path) -> Iterator[Finding]:
        if plan.check is not None:
            rule, check = plan.check
            yield from when(check(value), at, rule)
        if plan.walk:
            yield from self._walk(value, at)

    def _plan(self, descriptor: Descriptor) -> tuple[_FieldPlan, ...]:
        """The fields that there may be something to say of, in their order."""
        plans = self._plans.get(descriptor.full_name)
        if plans is None:
            plans = tuple(p for p in map(self._planned, descriptor.fields) if p.is_judged)
            self._plans[descriptor.full_name] = plans
        return plans

    def _planned(self, descriptor: FieldDescriptor) -> _FieldPlan:
        """How a field is walked; an unset scalar without presence is not checked at all."""
        name = descriptor.full_name
        of = descriptor.message_type
        if is_map(descriptor) and of is not None:
            of = of.fields_by_name["value"].message_type
        check = self._fields.get(name)
        if of is not None and of.full_name == _DURATION and check is None:
            check = ("duration", values.duration)
        behaviour = descriptor.GetOptions().Extensions[field_behavior_pb2.field_behavior]
        return _FieldPlan(
            descriptor.name,
            descriptor.json_name,
            check,
            self._keys.get(name),
            walk=of is not None and not of.full_name.startswith("google.protobuf."),
            unwrap=of is not None and of.full_name in WRAPPERS,
            is_map=is_map(descriptor),
            is_list=descriptor.is_repeated and not is_map(descriptor),
            required=field_behavior_pb2.REQUIRED in behaviour and name not in self._optional,
            verdict=self._verdict(descriptor),
        )

    def _verdict(self, descriptor: FieldDescriptor) -> Callable[[Path], Finding] | None:
        """What there is to say of a field whatever its value is."""
        name = descriptor.full_name
        if why := self.unsupported.get(name):
            return partial(_refused, why=why)
        if why := self.without_effect.get(name):
            return partial(_idle, why=why)
        return None


@dataclass(frozen=True, slots=True)
class _FieldPlan:
    name: str
    json_name: str
    check: tuple[str, Check] | None
    key_check: tuple[str, Check] | None
    walk: bool
    unwrap: bool
    is_map: bool
    is_list: bool
    required: bool
    verdict: Callable[[Path], Finding] | None

    @property
    def is_judged(self) -> bool:
        return bool(self.check or self.key_check or self.walk or self.required or self.verdict)
