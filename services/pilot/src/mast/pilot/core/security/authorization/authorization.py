"""All that AuthorizationPolicies put before one workload or gateway, as one value (pilot.md J4)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from istio.security.v1beta1.authorization_policy_pb2 import AuthorizationPolicy
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config, Port, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization import custom
from mast.pilot.core.security.authorization.custom import delegated
from mast.pilot.core.security.authorization.policies import authorization_policies
from mast.pilot.core.security.authorization.rbac import Policies, Rules, rbac
from mast.pilot.core.security.authorization.rules import Action, Carrier

DRY_RUN: Final = "istio.io/dry-run"
"""Annotation of policies that decide nothing: what they would do is counted and told (J6)."""

_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})

_ACTIONS: Final[Sequence[tuple[AuthorizationPolicy.Action.ValueType, Action, str]]] = (
    (AuthorizationPolicy.AUDIT, RBAC.LOG, ""),
    (AuthorizationPolicy.DENY, RBAC.DENY, "istio_dry_run_deny_"),
    (AuthorizationPolicy.ALLOW, RBAC.ALLOW, "istio_dry_run_allow_"),
)
"""What has a filter of its own, in the order in which it counts, and prefixes of dry runs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Filters:
    """Filters of HTTP connection managers, and those of chains that carry bytes; in order."""

    http: Sequence[HttpFilter] = ()
    network: Sequence[Filter] = ()


NO_FILTERS: Final = Filters()


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """What holds for one proxy; equal if all that it puts into listeners is.

    `custom` asks external authorizers, which are at some ports of services; `rules` are those of
    the other actions. `holds` tells that there are policies at all.
    """

    digest: str = ""
    holds: bool = False
    custom: Filters = field(default=NO_FILTERS, compare=False)
    rules: Filters = field(default=NO_FILTERS, compare=False)
    authorizers: Sequence[tuple[Service, Port]] = field(default=(), compare=False)


NO_AUTHORIZATION: Final = Authorization()


def authorization(scope: Scope, proxy: Proxy) -> Authorization:
    """What the policies of root and own namespace make of a proxy."""
    return scope.cached(("authorization", proxy), lambda inner: _build(inner, proxy))


def hidden_authorizers(scope: Scope, proxy: Proxy) -> Iterator[tuple[Service, Port]]:
    """Whom a proxy asks though its Sidecar leaves that port out."""
    for service, port in authorization(scope, proxy).authorizers:
        seen = scope.service(service.host)
        if seen is None or seen.port(port.number) is None:
            yield service, port


def is_dry_run(config: Config[AuthorizationPolicy]) -> bool:
    """Whether a policy only tells what it would do."""
    return config.meta.annotations.get(DRY_RUN, "") in _TRUE


def _build(scope: Scope, proxy: Proxy) -> Authorization:
    found = authorization_policies(scope, proxy)
    if not found:
        return NO_AUTHORIZATION
    external = delegated(_external(found, scope), scope)
    asking = Filters(
        http=[each for those in external for each in custom.http_filters(those, scope)],
        network=[each for those in external for each in custom.network_filters(those, scope)],
    )
    judging = Filters(
        http=[each.http() for each in _rules(found, Carrier.HTTP, scope)],
        network=[each.network() for each in _rules(found, Carrier.TCP, scope)],
    )
    return Authorization(
        digest=_digest(asking, judging),
        holds=not all(map(is_dry_run, found)),
        custom=asking,
        rules=judging,
        authorizers=tuple(_called(external)),
    )


def _external(found: Policies, scope: Scope) -> Policies:
    """Policies for external authorizers; these have no dry run."""
    wanted = [each for each in found if each.spec.action == AuthorizationPolicy.CUSTOM]
    for each in wanted:
        if is_dry_run(each):
            scope.report(_without_effect(each))
    return [each for each in wanted if not is_dry_run(each)]


def _rules(found: Policies, carrier: Carrier, scope: Scope) -> Iterator[Rules]:
    """The rules of each action that there are policies of."""
    for action, meaning, dry_prefix in _ACTIONS:
        own = [each for each in found if each.spec.action == action]
        dry = [each for each in own if dry_prefix and is_dry_run(each)]
        live = [each for each in own if each not in dry]
        if own:
            yield Rules(
                enforced=rbac(live, meaning, carrier, scope) if live else None,
                shadow=rbac(dry, meaning, carrier, scope) if dry else None,
                shadow_prefix=dry_prefix if dry else "",
            )


def _called(external: Sequence[custom.Delegated]) -> Iterator[tuple[Service, Port]]:
    for each in external:
        if each.authorizer is not None:
            yield each.authorizer.service, each.authorizer.port


def _digest(*filters: Filters) -> str:
    """A hash of all that goes into listeners."""
    digest = blake2b(digest_size=16)
    for group in filters:
        for kind in (group.http, group.network):
            for each in kind:
                part = each.SerializeToString(deterministic=True)
                digest.update(len(part).to_bytes(4) + part)
            digest.update(bytes(4))
    return digest.hexdigest()


def _without_effect(config: Config[AuthorizationPolicy]) -> Finding:
    return Finding(
        fault=Fault.UNENFORCEABLE,
        key=f"{config.meta.namespace}/{config.meta.name}",
        message=f"{config.meta}: there is no dry run of action CUSTOM; the policy does nothing.",
        subject=config.meta.object_name,
    )
