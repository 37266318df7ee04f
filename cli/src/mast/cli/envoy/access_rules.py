"""Rules of access in a proxy's configuration: where they stand, and what their names mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import FilterChain
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac

from mast.cli.envoy.configuration import connection_manager

ACTIONS: Final = {RBAC.ALLOW: "ALLOW", RBAC.DENY: "DENY", RBAC.LOG: "AUDIT"}
AUTHORIZERS: Final = "istio_ext_authz_"
TRIGGERS: Final = "mast_triggers_"
"""Prefixes of shadow rules that other filters ask for: whether an authorizer is concerned, and
which origins a path concerns (pilot.md J6, J8)."""

_RULE = re.compile(r"ns\[(?P<namespace>.*?)\]-policy\[(?P<name>.*?)\]-rule\[(?P<rule>\d+)\]")


@dataclass(frozen=True)
class RuleName:
    """The rule of an AuthorizationPolicy, as its name in Envoy says (pilot.md J4)."""

    namespace: str
    name: str
    rule: int

    @classmethod
    def of(cls, text: str) -> RuleName | None:
        """None for names of other rules."""
        found = _RULE.search(text)
        return cls(found["namespace"], found["name"], int(found["rule"])) if found else None

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name} rule {self.rule}"


def shown(rule: str) -> str:
    """The name of a rule for people."""
    found = RuleName.of(rule)
    return str(found) if found else rule


@dataclass(frozen=True)
class RuleSet:
    """The rules of one filter: what they do, and whether they do or only tell."""

    action: str
    rules: RBAC
    enforced: bool


def rule_sets(filter_: HttpRbac | NetworkRbac) -> Iterator[RuleSet]:
    """Those of a filter, in the order in which Envoy looks at them."""
    if filter_.HasField("shadow_rules"):
        rules, prefix = filter_.shadow_rules, filter_.shadow_rules_stat_prefix
        tried = f"{ACTIONS[rules.action]} (dry run)"
        action = {AUTHORIZERS: "CUSTOM", TRIGGERS: "TRIGGERS"}.get(prefix, tried)
        yield RuleSet(action, rules, enforced=False)
    if filter_.HasField("rules"):
        yield RuleSet(ACTIONS[filter_.rules.action], filter_.rules, enforced=True)


def of_chain(chain: FilterChain) -> Iterator[RuleSet]:
    """All rules that a connection on a chain meets, and requests on it."""
    for each in chain.filters:
        network = NetworkRbac()
        if each.typed_config.Unpack(network):
            yield from rule_sets(network)
    manager = connection_manager(chain)
    for inner in manager.http_filters if manager else ():
        http = HttpRbac()
        if inner.typed_config.Unpack(http):
            yield from rule_sets(http)
