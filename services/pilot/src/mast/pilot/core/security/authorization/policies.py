"""Which AuthorizationPolicies hold for a workload or gateway (pilot.md J4)."""

from collections.abc import Sequence

from istio.security.v1beta1.authorization_policy_pb2 import AuthorizationPolicy
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import Config
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.attachments import attached
from mast.pilot.core.scope.scope import Scope


def authorization_policies(scope: Scope, proxy: Proxy) -> Sequence[Config[AuthorizationPolicy]]:
    """All that are for a proxy: of the root namespace, then of its own, each oldest first.

    A selector in the root namespace is for workloads of every namespace; a target is a Gateway of
    the policy's own namespace.
    """
    found = scope.policies(collection_names.AUTHORIZATION_POLICIES)
    return [each for each in found if attached(each, proxy)]
