"""Old policies for servers that gRPC itself guards, without a proxy (pilot.md B29, J7, J8).

They judge roles by RBAC as Envoy does, but check no tokens: where a Policy demands one all calls
are denied. Roles that are only tried leave no trace.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Policy
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Target
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization import principals
from mast.pilot.core.security.authorization.rbac import HTTP_RBAC
from mast.pilot.core.security.authorization.rules import Carrier
from mast.pilot.core.security.legacy.access_control import access_rules
from mast.pilot.core.security.legacy.destinations import destination
from mast.pilot.core.security.legacy.policies import Held, authentication_policies
from mast.pilot.core.security.legacy.precedence import is_silent, roles_are_off, tokens_level
from mast.pilot.core.security.legacy.triggers import concerned

ORIGINS_FILTER: Final = f"{HTTP_RBAC}.origins"
ROLES_FILTER: Final = f"{HTTP_RBAC}.roles"
"""Names of the filters: gRPC takes each name once."""

_ORIGINS: Final = "origins"


def old_server_rules(scope: Scope, proxy: Proxy, target: Target | None) -> Sequence[HttpFilter]:
    """The filters of a server of a service port: what needs a token is denied, roles allow.

    That tokens cannot be checked is reported.
    """
    return list(_filters(scope, proxy, target)) if target is not None else ()


def _filters(scope: Scope, proxy: Proxy, target: Target) -> Iterator[HttpFilter]:
    policies = authentication_policies(scope, target.service.namespace)
    held = policies.of(target.service, target.port, proxy.labels)
    if held is not None and _needs_tokens(held) and not is_silent(held, tokens_level(scope, proxy)):
        scope.report(_told(held))
        yield _filter(ORIGINS_FILTER, _denied(held))
    if not roles_are_off(scope, proxy):
        rules = access_rules(scope, destination(target.service, proxy), Carrier.GRPC)
        if rules is not None and rules.enforced is not None:
            yield _filter(ROLES_FILTER, rules.enforced)


def _needs_tokens(held: Held) -> bool:
    return bool(held.policy.origins) and not held.policy.origin_is_optional


def _denied(held: Held) -> RBAC:
    concerning = Policy(
        permissions=[concerned(each.jwt) for each in held.policy.origins],
        principals=[principals.anything()],
    )
    return RBAC(action=RBAC.DENY, policies={_ORIGINS: concerning})


def _filter(name: str, rules: RBAC) -> HttpFilter:
    return HttpFilter(name=name, typed_config=packed(HttpRbac(rules=rules)))


def _told(held: Held) -> Finding:
    meta = held.config.meta
    why = "servers of gRPC without a proxy check no tokens; calls that need one are denied"
    return Finding(
        fault=Fault.UNENFORCEABLE,
        key=f"{meta.namespace}/{meta.name}",
        message=f"{meta}: {why}.",
        subject=meta.object_name,
    )
