"""Which policies guard a proxy: action, policy, number of rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mast.cli.envoy.access_rules import RuleName, RuleSet, of_chain
from mast.cli.envoy.configuration import Configuration, chains
from mast.cli.inspect.tables import Table
from mast.pilot.core import names

COLUMNS: Final = ("ACTION", "AuthorizationPolicy", "RULES")
NOTHING: Final = "_anonymous_match_nothing_"
"""Stands for rules without any policy: nothing matches them."""


def policies(found: Configuration) -> Table:
    """The policies before a workload or gateway, in the order in which Envoy asks them."""
    known: dict[str, dict[str, set[str]]] = {}
    for each in _rule_sets(found):
        by_policy = known.setdefault(each.action, {})
        for rule in sorted(each.rules.policies):
            by_policy.setdefault(_policy(rule), set()).add(rule)
    table = Table(COLUMNS)
    for action, by_policy in known.items():
        for policy, rules in (by_policy or {NOTHING: set()}).items():
            table.rows.append([action, policy, str(len(rules))])
            table.data.append({"action": action, "policy": policy, "rules": len(rules)})
    return table


def _rule_sets(found: Configuration) -> Iterator[RuleSet]:
    """Of the listeners that others call; the outbound half of a sidecar guards nobody."""
    for name, listener in found.listeners.items():
        if name != names.VIRTUAL_OUTBOUND:
            for chain in chains(listener):
                yield from of_chain(chain)


def _policy(rule: str) -> str:
    """``NAME.NAMESPACE`` as istioctl writes it; other rules by their names."""
    found = RuleName.of(rule)
    return f"{found.name}.{found.namespace}" if found else rule
