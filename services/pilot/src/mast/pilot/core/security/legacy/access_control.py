"""Roles of Istio 1.0 to 1.4 as RBAC filters before one service port (pilot.md J7)."""

from collections.abc import Sequence

from envoy.config.rbac.v3.rbac_pb2 import RBAC, Policy

from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.rbac import Rules
from mast.pilot.core.security.authorization.rules import Carrier
from mast.pilot.core.security.legacy.destinations import Destination
from mast.pilot.core.security.legacy.grants import Grant, grants
from mast.pilot.core.security.legacy.permissions import permission
from mast.pilot.core.security.legacy.principals import Callers, principal
from mast.pilot.core.security.legacy.switch import Enforcement, enforcement


def access_rules(
    scope: Scope, destination: Destination, carrier: Carrier, *, bound_to_peer: bool = False
) -> Rules | None:
    """What decides about access to a destination, None where roles do not.

    Rules refuse what no role allows; shadow rules tell which role that is only tried would allow
    something, under the names that Mixer's `rbac.permissive.*` come from. `bound_to_peer` is as in
    `Callers`; what is about requests allows nothing on TCP.
    """
    switch = enforcement(scope, destination)
    if switch is None:
        return None
    callers = Callers(
        carrier=carrier, trust_domains=scope.mesh.trust_domains, bound_to_peer=bound_to_peer
    )
    every = grants(scope, destination.namespace)
    if switch is Enforcement.PERMISSIVE:
        return Rules(shadow=_rbac(scope, every, destination, callers))
    tried = _rbac(scope, [each for each in every if not each.enforced], destination, callers)
    return Rules(
        enforced=_rbac(scope, [each for each in every if each.enforced], destination, callers),
        shadow=tried if tried.policies else None,
    )


def _rbac(scope: Scope, every: Sequence[Grant], destination: Destination, callers: Callers) -> RBAC:
    """Policies by the names of their roles; without any, nothing is allowed."""
    result = RBAC(action=RBAC.ALLOW)
    for each in every:
        if (policy := _policy(scope, each, destination, callers)) is not None:
            known = result.policies[each.name]
            known.principals.extend(policy.principals)
            if not known.permissions:
                known.permissions.extend(policy.permissions)
    return result


def _policy(
    scope: Scope, grant: Grant, destination: Destination, callers: Callers
) -> Policy | None:
    """The policy of a grant; none if it allows nothing or is for nobody here."""
    asked = [
        permission(each, grant.namespace, destination, scope.mesh.domain, callers.carrier)
        for each in grant.rules
    ]
    asking = [principal(each, callers) for each in grant.subjects]
    found = Policy(
        permissions=[each for each in asked if each is not None],
        principals=[each for each in asking if each is not None],
    )
    return found if found.permissions and found.principals else None
