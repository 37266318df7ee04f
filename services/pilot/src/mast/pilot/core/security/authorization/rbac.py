"""RBAC filters of the policies of one action (pilot.md J4 to J6)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Policy
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac

from istio.security.v1beta1.authorization_policy_pb2 import AuthorizationPolicy
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config
from mast.pilot.core.packing import packed
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.rules import (
    Action,
    Carrier,
    Place,
    never,
    translated,
)

HTTP_RBAC: Final = "envoy.filters.http.rbac"
NETWORK_RBAC: Final = "envoy.filters.network.rbac"
STAT_PREFIX: Final = "tcp."
"""Of the statistics of network filters."""

Policies = Sequence[Config[AuthorizationPolicy]]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What an RBAC filter goes by: what counts, and what is only found out, under a prefix.

    Without policies each is None; policies that match nothing are there as well: of those that
    allow, they allow nothing.
    """

    enforced: RBAC | None = None
    shadow: RBAC | None = None
    shadow_prefix: str = ""

    def http(self) -> HttpFilter:
        """The filter of connection managers."""
        made = HttpRbac(
            rules=self.enforced,
            shadow_rules=self.shadow,
            shadow_rules_stat_prefix=self.shadow_prefix,
        )
        return HttpFilter(name=HTTP_RBAC, typed_config=packed(made))

    def network(self) -> Filter:
        """The filter of chains that carry bytes; it judges when the first ones arrive."""
        made = NetworkRbac(
            stat_prefix=STAT_PREFIX,
            rules=self.enforced,
            shadow_rules=self.shadow,
            shadow_rules_stat_prefix=self.shadow_prefix,
        )
        return Filter(name=NETWORK_RBAC, typed_config=packed(made))


def rbac(found: Policies, action: Action, carrier: Carrier, scope: Scope, before: str = "") -> RBAC:
    """The rules of policies by their names, with a text `before` them.

    What of a rule cannot be used is reported (see `rules`).
    """
    result = RBAC(action=action)
    for config in found:
        for name, policy in _policies(config, action, carrier, scope).items():
            result.policies[before + name].CopyFrom(policy)
    return result


def _policies(
    config: Config[AuthorizationPolicy], action: Action, carrier: Carrier, scope: Scope
) -> Mapping[str, Policy]:
    """RBAC policies by name (pilot.md J4), made once for all proxies: what is in the key does."""
    key = ("access rules", config, action, carrier)
    return scope.shared(key, lambda inner: dict(_made(config, action, carrier, inner)))


def _made(
    config: Config[AuthorizationPolicy], action: Action, carrier: Carrier, scope: Scope
) -> Iterator[tuple[str, Policy]]:
    meta = config.meta
    place = Place(carrier=carrier, namespace=meta.namespace, trust_domains=scope.mesh.trust_domains)
    whole = f"ns[{meta.namespace}]-policy[{meta.name}]"
    if not config.spec.rules:
        yield f"{whole}-rule[0]", never()
    for index, rule in enumerate(config.spec.rules):
        made = translated(rule, action, place)
        for each in made.unusable:
            scope.report(_unusable(config, index, each, allows=action == RBAC.ALLOW))
        if made.policy is not None:
            yield f"{whole}-rule[{index}]", made.policy


def _unusable(
    config: Config[AuthorizationPolicy], index: int, why: str, *, allows: bool
) -> Finding:
    """Part of a rule that does not count; in either case less is allowed than was written."""
    instead = "the rule allows nobody" if allows else "the rule does without, and concerns more"
    return Finding(
        fault=Fault.UNENFORCEABLE,
        key=f"{config.meta.namespace}/{config.meta.name}",
        message=f"{config.meta}, rules[{index}]: {why}; {instead}.",
        subject=config.meta.object_name,
    )
