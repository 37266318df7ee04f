"""Policies for servers that gRPC itself guards, without a proxy (pilot.md B29; gRFC A41).

They judge by RBAC as Envoy does, but ask nobody and write no dry runs down. What they know nothing
of counts as what cannot be used: nothing is allowed by it, and more is denied.
"""

from collections.abc import Sequence
from typing import Final

from envoy.config.rbac.v3.rbac_pb2 import RBAC
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from istio.security.v1beta1.authorization_policy_pb2 import AuthorizationPolicy
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.authorization import is_dry_run
from mast.pilot.core.security.authorization.custom import Delegated, by_provider, denied
from mast.pilot.core.security.authorization.policies import authorization_policies
from mast.pilot.core.security.authorization.rbac import HTTP_RBAC, Policies, rbac
from mast.pilot.core.security.authorization.rules import Carrier

DENY_FILTER: Final = f"{HTTP_RBAC}.deny"
ALLOW_FILTER: Final = f"{HTTP_RBAC}.allow"
"""Names of the filters: gRPC takes each name once."""


def server_rules(scope: Scope, proxy: Proxy) -> Sequence[HttpFilter]:
    """The filters of a server: one for all that is denied, one for what is allowed.

    What an authorizer would be asked about is denied. Audits and dry runs are left out; that is
    reported, as is what nobody can be asked about.
    """
    found = authorization_policies(scope, proxy)
    live = [each for each in found if not is_dry_run(each)]
    for each in found:
        if is_dry_run(each) or each.spec.action == AuthorizationPolicy.AUDIT:
            scope.report(_told(each, "servers of gRPC without a proxy leave no trace of it"))
    filters = []
    if (denials := _denied(live, scope)).policies:
        filters.append(_filter(DENY_FILTER, denials))
    if allowing := _of(live, AuthorizationPolicy.ALLOW):
        allowed = rbac(allowing, RBAC.ALLOW, Carrier.GRPC, scope)
        filters.append(_filter(ALLOW_FILTER, allowed))
    return filters


def _denied(found: Policies, scope: Scope) -> RBAC:
    result = rbac(_of(found, AuthorizationPolicy.DENY), RBAC.DENY, Carrier.GRPC, scope)
    for provider, policies in by_provider(_of(found, AuthorizationPolicy.CUSTOM)).items():
        why = f"servers of gRPC without a proxy cannot ask {provider}; what it matches is denied"
        for each in policies:
            scope.report(_told(each, why))
        those = Delegated(provider=provider, policies=policies, authorizer=None)
        result.MergeFrom(denied(those, Carrier.GRPC, scope))
    return result


def _filter(name: str, rules: RBAC) -> HttpFilter:
    return HttpFilter(name=name, typed_config=packed(HttpRbac(rules=rules)))


def _of(found: Policies, action: "AuthorizationPolicy.Action.ValueType") -> Policies:
    return [each for each in found if each.spec.action == action]


def _told(config: Config[AuthorizationPolicy], why: str) -> Finding:
    return Finding(
        fault=Fault.UNENFORCEABLE,
        key=f"{config.meta.namespace}/{config.meta.name}",
        message=f"{config.meta}: {why}.",
        subject=config.meta.object_name,
    )
