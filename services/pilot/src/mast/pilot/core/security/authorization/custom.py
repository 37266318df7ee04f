"""Policies with action CUSTOM: an external authorizer decides what they match (pilot.md J6)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from istio.security.v1beta1.authorization_policy_pb2 import AuthorizationPolicy
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config
from mast.pilot.core.packing import packed
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.authorizers import (
    SHADOW_PREFIX,
    Authorizer,
    authorizer,
    policy_prefix,
)
from mast.pilot.core.security.authorization.rbac import Policies, Rules, rbac
from mast.pilot.core.security.authorization.rules import Carrier
from mast.pilot.core.security.authorization.values import Unusable

HTTP_EXT_AUTHZ: Final = "envoy.filters.http.ext_authz"
NETWORK_EXT_AUTHZ: Final = "envoy.filters.network.ext_authz"

_DENIED: Final = "-deny-due-to-bad-CUSTOM-action"


@dataclass(frozen=True, kw_only=True, eq=False)
class Delegated:
    """Policies that share an authorizer; None if it cannot be asked."""

    provider: str
    policies: Policies
    authorizer: Authorizer | None


def delegated(found: Policies, scope: Scope) -> list[Delegated]:
    """The policies by provider, sorted by its name; providers that cannot be asked are reported.

    Sorted, no provider's policies are taken for those of one whose name begins with its own: the
    shadow rules of such a one have not run yet.
    """
    return [_delegated(name, those, scope) for name, those in by_provider(found).items()]


def by_provider(found: Policies) -> Mapping[str, Policies]:
    """Policies by the provider that they name, sorted by its name."""
    result: dict[str, list[Config[AuthorizationPolicy]]] = defaultdict(list)
    for each in found:
        result[each.spec.provider.name].append(each)
    return {name: result[name] for name in sorted(result)}


def http_filters(those: Delegated, scope: Scope) -> Iterator[HttpFilter]:
    """What requests meet: rules that find out whom to ask, and the asking."""
    rules = _rules(those, Carrier.HTTP, scope)
    yield rules.http()
    if those.authorizer is not None:
        yield HttpFilter(name=HTTP_EXT_AUTHZ, typed_config=packed(those.authorizer.http))


def network_filters(those: Delegated, scope: Scope) -> Iterator[Filter]:
    """What connections meet: nothing if the authorizer speaks HTTP, which has no answer to bytes.

    As in Istio such policies hold for requests only.
    """
    if those.authorizer is None:
        yield _rules(those, Carrier.TCP, scope).network()
    elif those.authorizer.network is not None:
        yield _rules(those, Carrier.TCP, scope).network()
        yield Filter(name=NETWORK_EXT_AUTHZ, typed_config=packed(those.authorizer.network))


def denied(those: Delegated, carrier: Carrier, scope: Scope) -> RBAC:
    """Rules that refuse all that an authorizer would be asked about."""
    result = RBAC(action=RBAC.DENY)
    asked = rbac(those.policies, RBAC.DENY, carrier, scope, before=policy_prefix(those.provider))
    for name, policy in asked.policies.items():
        result.policies[f"{name}{_DENIED}"].CopyFrom(policy)
    return result


def _delegated(name: str, found: Policies, scope: Scope) -> Delegated:
    try:
        asked = authorizer(scope, name)
    except Unusable as error:
        for each in found:
            scope.report(_unasked(each, name, str(error)))
        asked = None
    return Delegated(provider=name, policies=found, authorizer=asked)


def _rules(those: Delegated, carrier: Carrier, scope: Scope) -> Rules:
    if those.authorizer is None:
        return Rules(enforced=denied(those, carrier, scope))
    before = policy_prefix(those.provider)
    matched = rbac(those.policies, RBAC.DENY, carrier, scope, before=before)
    return Rules(shadow=matched, shadow_prefix=SHADOW_PREFIX)


def _unasked(config: Config[AuthorizationPolicy], provider: str, why: str) -> Finding:
    return Finding(
        fault=Fault.UNKNOWN_PROVIDER,
        key=provider,
        message=f"provider {provider}: {why}; what {config.meta} matches is refused.",
        subject=config.meta.object_name,
    )
