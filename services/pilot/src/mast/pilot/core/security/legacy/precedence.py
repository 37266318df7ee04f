"""Where newer kinds hold instead of those of Istio 1.0 to 1.4 (pilot.md J7, J8)."""

from typing import Any

from istio.security.v1beta1.authorization_policy_pb2 import AuthorizationPolicy
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.attachments import attached, is_general
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.authorization.authorization import is_dry_run
from mast.pilot.core.security.authorization.policies import authorization_policies
from mast.pilot.core.security.legacy.policies import Held, Level


def roles_are_off(scope: Scope, proxy: Proxy) -> bool:
    """Whether an AuthorizationPolicy decides about the proxy; others only watch or are tried."""
    return any(
        each.spec.action != AuthorizationPolicy.AUDIT and not is_dry_run(each)
        for each in authorization_policies(scope, proxy)
    )


def tokens_level(scope: Scope, proxy: Proxy) -> Level | None:
    """How special the most special RequestAuthentication for the proxy is."""
    root = scope.mesh.root_namespace
    found = scope.policies(collection_names.REQUEST_AUTHENTICATIONS)
    levels = (_level(each, root) for each in found if attached(each, proxy))
    return max(levels, default=None)


def is_silent(held: Held, level: Level | None) -> bool:
    """Whether RequestAuthentications of that `tokens_level` say what tokens count, not the Policy.

    It is as they say, too, whom a request speaks for.
    """
    if level is None:
        return False
    return level >= held.level or not held.policy.origins


def _level(config: Config[Any], root: str) -> Level:
    if not is_general(config):
        return Level.WORKLOAD
    return Level.MESH if config.meta.namespace == root else Level.NAMESPACE
