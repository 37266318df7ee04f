"""What the filters that guard a workload decide: tokens, rules of access, external authorizers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2 import ExtAuthz as NetworkExtAuthz
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from google.protobuf.any_pb2 import Any as Packed

from mast.cli.envoy.access_rules import TRIGGERS, RuleName, RuleSet, rule_sets, shown
from mast.cli.explain.causes import Causes
from mast.cli.explain.matchers import metadata_matches
from mast.cli.explain.rbac import Arrival, Ruling, Tried, ruling
from mast.cli.explain.story import Cause, Judged, Story
from mast.cli.explain.tokens import FORBIDDEN, checked
from mast.pilot.core.scope.matches import JWT_FILTER
from mast.pilot.core.security.ambiguity import OWN_RULES
from mast.pilot.core.security.legacy.triggers import STATE

HTTP_RBAC = "envoy.filters.http.rbac"
NETWORK_RBAC = "envoy.filters.network.rbac"

_CUSTOM, _TRIGGERS = "CUSTOM", "TRIGGERS"
_DECIDED, _RESULT = "shadow_effective_policy_id", "shadow_engine_result"


class Filter(Protocol):
    """A filter of requests or of connections."""

    name: str

    @property
    def typed_config(self) -> Packed: ...


@dataclass(frozen=True)
class Author:
    """Where the rules before a workload come from: the mesh, and the workload's namespace."""

    causes: Causes
    namespace: str

    def of(self, rule: str) -> Cause | None:
        """The object of a rule by its name in Envoy; None for rules of the proxy's own."""
        found = RuleName.of(rule)
        if found is not None:
            return self.causes.authorization_rule(found.namespace, found.name, found.rule)
        return self.causes.role(rule, self.namespace)


def guarded(
    filters: Iterable[Filter], arrival: Arrival, author: Author, story: Story
) -> Arrival | None:
    """Tell what the guards among filters do; None if one refuses.

    The arrival comes back with what the filters left for those behind them.
    """
    for each in filters:
        guard = _GUARDS.get(each.typed_config.TypeName())
        if guard is None:
            continue
        passed = guard(each.typed_config, arrival, author, story)
        if passed is None:
            return None
        arrival = passed
    return arrival


def _tokens(config: Packed, arrival: Arrival, author: Author, story: Story) -> Arrival | None:
    filter_ = JwtAuthentication()
    config.Unpack(filter_)
    if arrival.request is None:
        return arrival
    triggered = arrival.left.get(HTTP_RBAC, {}).get(f"{TRIGGERS}{_DECIDED}", "")
    found = checked(filter_, arrival.request, {STATE: triggered})
    if not found.passes:
        story.status = found.status
        story.tell("token", f"refused with {found.status}: {found.reason}")
        return None
    story.tell("token", f"passes: {found.reason}")
    return _with(arrival, JWT_FILTER, found.left) if found.left else arrival


def _http_rules(config: Packed, arrival: Arrival, author: Author, story: Story) -> Arrival | None:
    filter_ = HttpRbac()
    config.Unpack(filter_)
    return _rules(filter_, HTTP_RBAC, arrival, author, story)


def _network_rules(
    config: Packed, arrival: Arrival, author: Author, story: Story
) -> Arrival | None:
    filter_ = NetworkRbac()
    config.Unpack(filter_)
    return _rules(filter_, NETWORK_RBAC, arrival, author, story)


def _rules(
    filter_: HttpRbac | NetworkRbac, name: str, arrival: Arrival, author: Author, story: Story
) -> Arrival | None:
    """What rules that only tell say is left for filters behind; the others may refuse."""
    for each in rule_sets(filter_):
        said = ruling(each.rules, arrival)
        if each.action != _TRIGGERS:
            _tell(each, said, author, story)
        if not each.enforced:
            left = {_RESULT: "allowed" if said.allowed else "denied"}
            left |= {_DECIDED: said.decided} if said.decided else {}
            prefix = filter_.shadow_rules_stat_prefix
            arrival = _with(arrival, name, {f"{prefix}{key}": left[key] for key in left})
        elif not said.allowed:
            story.status = FORBIDDEN
            return None
    return arrival


def _tell(rules: RuleSet, said: Ruling, author: Author, story: Story) -> None:
    """Add a step, and every rule that was tried; rules of Mast's own only if they match."""
    if not said.decided and not OWN_RULES.isdisjoint(each.policy for each in said.tried):
        return
    decided = author.of(said.decided)
    tried = list(_until_decided(said))
    story.tell(
        "access",
        f"{rules.action}: {_outcome(rules, said)}",
        [f"not {shown(each.policy)}: {each.lacking}" for each in tried if each.lacking],
        [decided] if decided else (),
    )
    story.access += [
        Judged(
            rules.action,
            each.policy,
            each.lacking,
            author.of(each.policy),
            enforced=rules.enforced,
        )
        for each in tried
    ]


def _outcome(rules: RuleSet, said: Ruling) -> str:
    matching = f"{shown(said.decided)} matches" if said.decided else "no rule matches"
    if rules.action == _CUSTOM:
        return matching
    if rules.enforced:
        outcome = "passes" if said.allowed else f"refused with {FORBIDDEN}"
    else:
        outcome = "would pass" if said.allowed else f"would be refused with {FORBIDDEN}"
    return f"{outcome}: {matching}"


def _until_decided(said: Ruling) -> Iterable[Tried]:
    """Rules that Envoy looks at: none after the one that decides."""
    for each in said.tried:
        yield each
        if each.policy == said.decided:
            return


def _http_authorizer(
    config: Packed, arrival: Arrival, author: Author, story: Story
) -> Arrival | None:
    filter_ = ExtAuthz()
    config.Unpack(filter_)
    _tell_authorizer(filter_, arrival, story)
    return arrival


def _network_authorizer(
    config: Packed, arrival: Arrival, author: Author, story: Story
) -> Arrival | None:
    filter_ = NetworkExtAuthz()
    config.Unpack(filter_)
    _tell_authorizer(filter_, arrival, story)
    return arrival


def _tell_authorizer(filter_: ExtAuthz | NetworkExtAuthz, arrival: Arrival, story: Story) -> None:
    """Whether an authorizer outside of the proxy is asked; what it says is not known."""
    if not filter_.HasField("filter_enabled_metadata"):
        return
    wanted: MetadataMatcher = filter_.filter_enabled_metadata
    # What Mixer's filters in front would have left is not foretold (mixer_proxy.md).
    if wanted.filter not in {HTTP_RBAC, NETWORK_RBAC}:
        return
    if metadata_matches(wanted, arrival.left):
        asked = _authorizer(filter_)
        story.tell("authorizer", f"{asked} is asked, and may refuse")
        story.authorizers.append(asked)


def _authorizer(filter_: ExtAuthz | NetworkExtAuthz) -> str:
    if isinstance(filter_, ExtAuthz) and filter_.HasField("http_service"):
        return filter_.http_service.server_uri.cluster
    return filter_.grpc_service.envoy_grpc.cluster_name


def _with(arrival: Arrival, filter_name: str, found: Mapping[str, Any]) -> Arrival:
    """The arrival with what a filter left, beside what it had left before."""
    before = arrival.left.get(filter_name, {})
    return replace(arrival, left={**arrival.left, filter_name: {**before, **found}})


_GUARDS = {
    message.DESCRIPTOR.full_name: guard
    for message, guard in (
        (JwtAuthentication, _tokens),
        (HttpRbac, _http_rules),
        (NetworkRbac, _network_rules),
        (ExtAuthz, _http_authorizer),
        (NetworkExtAuthz, _network_authorizer),
    )
}
