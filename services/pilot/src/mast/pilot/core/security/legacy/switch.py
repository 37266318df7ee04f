"""Whether role-based access control of Istio 1.0 to 1.4 is on for a service (pilot.md J7)."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from istio.rbac.v1alpha1.rbac_pb2 import PERMISSIVE, RbacConfig
from mast.pilot.core.model import collection_names, hosts
from mast.pilot.core.model.model import Config
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.legacy.destinations import Destination

DEFAULT: Final = "default"
"""Name of the one object that counts, of whichever kind."""


class Enforcement(StrEnum):
    """What becomes of a request that no role allows: it is refused, or only told of."""

    ENFORCED = "ENFORCED"
    PERMISSIVE = "PERMISSIVE"


def enforcement(scope: Scope, destination: Destination) -> Enforcement | None:
    """How access to a destination is controlled by roles, None if it is not (pilot.md J7)."""
    config = counting(scope)
    if config is None or not _includes(config.spec, destination, scope.mesh.domain):
        return None
    permissive = config.spec.enforcement_mode == PERMISSIVE
    return Enforcement.PERMISSIVE if permissive else Enforcement.ENFORCED


def counting(scope: Scope) -> Config[RbacConfig] | None:
    """The ClusterRbacConfig, else the RbacConfig, of which that in the root namespace comes first.

    Either is for the whole mesh.
    """
    return scope.shared("rbac config", _config)


def _config(scope: Scope) -> Config[RbacConfig] | None:
    whole = scope.config(collection_names.CLUSTER_RBAC_CONFIGS, "", DEFAULT)
    if whole is not None:
        found: Sequence[Config[RbacConfig]] = [whole]
    else:
        every = scope.visible(collection_names.RBAC_CONFIGS)
        found = [each for each in every if each.meta.name == DEFAULT]
    root = scope.mesh.root_namespace
    return min(found, key=lambda each: (each.meta.namespace != root, each.age), default=None)


def _includes(config: RbacConfig, destination: Destination, domain: str) -> bool:
    if config.mode == RbacConfig.ON_WITH_INCLUSION:
        return _is_target(config.inclusion, destination, domain)
    if config.mode == RbacConfig.ON_WITH_EXCLUSION:
        return not _is_target(config.exclusion, destination, domain)
    return config.mode == RbacConfig.ON


def _is_target(target: RbacConfig.Target, destination: Destination, domain: str) -> bool:
    if destination.namespace in target.namespaces:
        return True
    return any(
        destination.host in hosts.full_names(each, destination.namespace, domain)
        for each in target.services
        if "." in each
    )
