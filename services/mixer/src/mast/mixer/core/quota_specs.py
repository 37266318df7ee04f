"""Which quotas a request is charged: QuotaSpecs and their bindings (mixer_proxy.md C17)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from istio.mixer.v1.config.client.quota_pb2 import (
    QuotaRule,
    QuotaSpec,
    QuotaSpecBinding,
    StringMatch,
)
from mast.common.expressions.tree import EvaluationError
from mast.mixer.core.bound_services import names_service
from mast.mixer.core.engine import Condition, Reference
from mast.mixer.core.lang.functions import regex
from mast.mixer.core.values import Attributes, Value

SPECS = "istio/mixer/v1/config/client/quotaspecs"
BINDINGS = "istio/mixer/v1/config/client/quotaspecbindings"

# Namespace and name of an object.
Name: TypeAlias = tuple[str, str]


class Reads:
    """Attributes of a request, with a record of what was looked up."""

    def __init__(self, attributes: Attributes) -> None:
        self._attributes = attributes
        self._record: dict[str, Condition] = {}

    def get(self, name: str) -> Value | None:
        """The value of an attribute, None if it is absent."""
        value = self._attributes.get(name)
        self._record[name] = Condition.ABSENCE if value is None else Condition.EXACT
        return value

    @property
    def references(self) -> tuple[Reference, ...]:
        """What was looked up, in the order of the first time."""
        return tuple(Reference(name, None, how) for name, how in self._record.items())


@dataclass(frozen=True)
class QuotaSpecs:
    """The specs and bindings of one moment, arranged by service."""

    specs: Mapping[Name, QuotaSpec] = field(default_factory=dict)
    bindings: Mapping[Name, QuotaSpecBinding] = field(default_factory=dict)

    def with_object(self, collection: str, name: Name, message: Any) -> QuotaSpecs:
        """The same with one object put in place, or taken out if it is None."""
        specs, bindings = dict(self.specs), dict(self.bindings)
        table: dict[Name, Any] = specs if collection == SPECS else bindings
        table.pop(name, None)
        if message is not None:
            table[name] = message
        return QuotaSpecs(specs, bindings)

    def charges(self, attributes: Attributes) -> tuple[dict[str, int], tuple[Reference, ...]]:
        """Charge by quota for a request, and what in it decides that.

        The service is that of the route. Charges of one quota add up; those that are not above 0
        or name no quota, which no valid spec has, count for nothing.
        """
        if not self.bindings:
            return {}, ()
        reads = Reads(attributes)
        found: dict[str, int] = {}
        for spec in self._bound(reads):
            for rule in spec.rules:
                if _applies(rule, reads):
                    for quota in rule.quotas:
                        if quota.quota and quota.charge > 0:
                            found[quota.quota] = found.get(quota.quota, 0) + quota.charge
        return found, reads.references

    def _bound(self, reads: Reads) -> Iterable[QuotaSpec]:
        """Specs bound to the service of a request, each once, in the order of names."""
        host = reads.get("destination.service.host")
        chosen: dict[Name, None] = {}
        for name in sorted(self.bindings):
            binding = self.bindings[name]
            if names_service(binding.services, name[0], host):
                for reference in binding.quota_specs:
                    chosen[reference.namespace or name[0], reference.name] = None
        return [self.specs[name] for name in chosen if name in self.specs]


def _applies(rule: QuotaRule, reads: Reads) -> bool:
    """Any of the alternatives; all conditions of one must hold (C17)."""
    return not rule.match or any(
        all(_matches(reads.get(name), each.clause[name]) for name in sorted(each.clause))
        for each in rule.match
    )


def _matches(value: Value | None, condition: StringMatch) -> bool:
    if not isinstance(value, str):
        return False
    kind = condition.WhichOneof("match_type")
    if kind == "exact":
        return value == condition.exact
    if kind == "prefix":
        return value.startswith(condition.prefix)
    if kind == "regex":
        try:
            return regex(condition.regex).fullmatch(value) is not None
        except EvaluationError:
            return False
    return False
