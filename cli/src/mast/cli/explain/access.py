"""What the filters that guard a workload decide: tokens, rules of access, external authorisers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import ExtAuthz
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import JwtAuthentication
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.ext_authz.v3.ext_authz_pb2 import ExtAuthz as NetworkExtAuthz
from envoy.extensions.filters.network.rbac.v3.rbac_pb2 import RBAC as NetworkRbac
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from google.protobuf.any_pb2 import Any as Packed

from mast.cli.explain.causes import Causes
from mast.cli.explain.matchers import metadata_matches
from mast.cli.explain.rbac import Arrival, Ruling, Tried, ruling
from mast.cli.explain.story import Cause, Judged, Story
from mast.cli.explain.tokens import UNAUTHORIZED, checked
from mast.pilot.core.scope.matches import JWT_FILTER

FORBIDDEN = 403
HTTP_RBAC = "envoy.filters.http.rbac"
NETWORK_RBAC = "envoy.filters.network.rbac"

_RULE = re.compile(r"ns\[(?P<namespace>.*?)\]-policy\[(?P<name>.*?)\]-rule\[(?P<rule>\d+)\]")
_ACTIONS = {RBAC.ALLOW: "ALLOW", RBAC.DENY: "DENY", RBAC.LOG: "AUDIT"}
_CUSTOM_PREFIX = "istio_ext_authz_"


class Filter(Protocol):
    """A filter of requests or of connections."""

    name: str

    @property
    def typed_config(self) -> Packed: ...


@dataclass(frozen=True)
class RuleName:
    """The rule of a policy, as its name in Envoy says (pilot.md J4)."""

    namespace: str
    name: str
    rule: int

    @classmethod
    def of(cls, text: str) -> RuleName | None:
        """None for names of other rules."""
        found = _RULE.search(text)
        return cls(found["namespace"], found["name"], int(found["rule"])) if found else None


def guarded(
    filters: Iterable[Filter], arrival: Arrival, causes: Causes, story: Story
) -> Arrival | None:
    """Tell what the guards among filters do; None if one refuses.

    The arrival comes back with what the filters left for those behind them.
    """
    for each in filters:
        guard = _GUARDS.get(each.typed_config.TypeName())
        if guard is None:
            continue
        passed = guard(each.typed_config, arrival, causes, story)
        if passed is None:
            return None
        arrival = passed
    return arrival


def _tokens(config: Packed, arrival: Arrival, causes: Causes, story: Story) -> Arrival | None:
    filter_ = JwtAuthentication()
    config.Unpack(filter_)
    if arrival.request is None:
        return arrival
    found = checked(filter_, arrival.request)
    if not found.passes:
        story.status = UNAUTHORIZED
        story.tell("token", f"refused with {UNAUTHORIZED}: {found.reason}")
        return None
    story.tell("token", f"passes: {found.reason}")
    return _with(arrival, JWT_FILTER, found.left) if found.left else arrival


def _http_rules(config: Packed, arrival: Arrival, causes: Causes, story: Story) -> Arrival | None:
    filter_ = HttpRbac()
    config.Unpack(filter_)
    return _rules(filter_, HTTP_RBAC, arrival, causes, story)


def _network_rules(
    config: Packed, arrival: Arrival, causes: Causes, story: Story
) -> Arrival | None:
    filter_ = NetworkRbac()
    config.Unpack(filter_)
    return _rules(filter_, NETWORK_RBAC, arrival, causes, story)


def _rules(
    filter_: HttpRbac | NetworkRbac, name: str, arrival: Arrival, causes: Causes, story: Story
) -> Arrival | None:
    """Shadow rules first, as Envoy does: they never refuse, but later filters may ask for them."""
    if filter_.HasField("shadow_rules"):
        prefix = filter_.shadow_rules_stat_prefix
        said = ruling(filter_.shadow_rules, arrival)
        _tell_shadow(prefix, said, causes, story)
        left = {f"{prefix}shadow_engine_result": "allowed" if said.allowed else "denied"}
        if said.decided:
            left[f"{prefix}shadow_effective_policy_id"] = said.decided
        arrival = _with(arrival, name, left)
    if not filter_.HasField("rules"):
        return arrival
    said = ruling(filter_.rules, arrival)
    _tell_ruling(said, causes, story)
    if said.allowed:
        return arrival
    story.status = FORBIDDEN
    return None


def _tell_ruling(said: Ruling, causes: Causes, story: Story) -> None:
    action = _ACTIONS[said.action]
    deciding = _reference(said.decided)
    match said.action, bool(said.decided):
        case RBAC.DENY, True:
            result = f"refused with {FORBIDDEN}: {deciding} matches"
        case RBAC.ALLOW, False:
            result = f"refused with {FORBIDDEN}: no rule that allows matches"
        case _, True:
            result = f"passes: {deciding} matches"
        case _:
            result = "passes: no rule matches"
    _tell(action, result, said, causes, story, enforced=True)


def _tell_shadow(prefix: str, said: Ruling, causes: Causes, story: Story) -> None:
    """What rules would do that are only tried, or that tell whom an authoriser is asked about."""
    why = f"{_reference(said.decided)} matches" if said.decided else "no rule matches"
    if prefix == _CUSTOM_PREFIX:
        _tell("CUSTOM", why, said, causes, story, enforced=False)
        return
    outcome = "would pass" if said.allowed else f"would be refused with {FORBIDDEN}"
    action = f"{_ACTIONS[said.action]} (dry run)"
    _tell(action, f"{outcome}: {why}", said, causes, story, enforced=False)


def _tell(
    action: str, result: str, said: Ruling, causes: Causes, story: Story, *, enforced: bool
) -> None:
    """Add a step, and every rule that was tried."""
    decided = _cause(said.decided, causes)
    story.tell(
        "access",
        f"{action}: {result}",
        [f"not {_reference(each.policy)}: {each.lacking}" for each in said.tried if each.lacking],
        [decided] if decided else (),
    )
    story.access += [
        Judged(action, each.policy, each.lacking, _cause(each.policy, causes), enforced=enforced)
        for each in _tried_first(said)
    ]


def _tried_first(said: Ruling) -> Iterable[Tried]:
    """Rules that Envoy looks at: none after the one that decides."""
    for each in said.tried:
        yield each
        if each.policy == said.decided:
            return


def _reference(rule: str) -> str:
    found = RuleName.of(rule)
    return f"{found.namespace}/{found.name} rule {found.rule}" if found else rule


def _cause(rule: str, causes: Causes) -> Cause | None:
    found = RuleName.of(rule)
    if found is None:
        return None
    return causes.authorization_rule(found.namespace, found.name, found.rule)


def _http_authorizer(
    config: Packed, arrival: Arrival, causes: Causes, story: Story
) -> Arrival | None:
    filter_ = ExtAuthz()
    config.Unpack(filter_)
    _tell_authorizer(filter_, arrival, story)
    return arrival


def _network_authorizer(
    config: Packed, arrival: Arrival, causes: Causes, story: Story
) -> Arrival | None:
    filter_ = NetworkExtAuthz()
    config.Unpack(filter_)
    _tell_authorizer(filter_, arrival, story)
    return arrival


def _tell_authorizer(filter_: ExtAuthz | NetworkExtAuthz, arrival: Arrival, story: Story) -> None:
    """Whether an authoriser outside of the proxy is asked; what it says is not known."""
    if not filter_.HasField("filter_enabled_metadata"):
        return
    wanted: MetadataMatcher = filter_.filter_enabled_metadata
    # What Mixer's filters in front would have left is not foretold (mixer_proxy.md).
    if wanted.filter not in {HTTP_RBAC, NETWORK_RBAC}:
        return
    if metadata_matches(wanted, arrival.left):
        story.tell("authoriser", f"{_authorizer(filter_)} is asked, and may refuse")


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
