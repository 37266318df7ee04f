"""Kinds of Istio 1.0 to 1.4 that do not count, or not for all that they name (pilot.md J7, J8)."""

from collections.abc import Iterator

from istio.authentication.v1alpha1.policy_pb2 import Policy, TargetSelector
from istio.rbac.v1alpha1.rbac_pb2 import RbacConfig
from mast.pilot.core.model import hosts
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Config, Service, ServiceKey
from mast.pilot.core.review import token_keys
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.legacy.switch import counting


def policies(config: Config[Policy], scope: Scope) -> Iterator[Finding]:
    """Keys of tokens, services that nobody has, targets that an older policy has already."""
    yield from token_keys.findings(config, scope)
    for place, target in enumerate(config.spec.targets):
        where = f"targets[{place}]"
        if (service := _service(target, config, scope)) is None:
            yield Finding(
                fault=Fault.UNKNOWN_HOST,
                key=target.name,
                message=f"{where}: {config.meta.namespace} has no service {target.name}.",
                subject=config.meta.object_name,
            )
        elif (older := _hiding(target, service, config, scope)) is not None:
            yield Finding(
                fault=Fault.SUPERSEDED,
                key=f"{service.host} {where}",
                message=f"{where}: {older.meta} is older and has all of it as target; it counts.",
                subject=config.meta.object_name,
                winner=older.meta.object_name,
            )


def switches(config: Config[RbacConfig], scope: Scope) -> Iterator[Finding]:
    """Another object switches access control of the mesh instead."""
    first = counting(scope)
    if first is not None and first is not config:
        yield Finding(
            fault=Fault.SUPERSEDED,
            key=config.meta.namespace,
            message=f"{first.meta} counts, for the whole mesh; of such objects only one does.",
            subject=config.meta.object_name,
            winner=first.meta.object_name,
        )


def _service(target: TargetSelector, config: Config[Policy], scope: Scope) -> Service | None:
    namespace = config.meta.namespace
    for host in hosts.full_names(target.name, namespace, scope.mesh.domain):
        if (found := scope.owned_service(ServiceKey(namespace, host))) is not None:
            return found
    return None


def _hiding(
    target: TargetSelector, service: Service, config: Config[Policy], scope: Scope
) -> Config[Policy] | None:
    """An older policy for the same ports of the service, on all the workloads."""
    for older in scope.configs(config.meta.collection, config.meta.namespace):
        if older is config:
            return None
        for each in older.spec.targets:
            if _covers(each, target) and _service(each, older, scope) is service:
                return older
    return None


def _covers(one: TargetSelector, other: TargetSelector) -> bool:
    if not one.labels.items() <= other.labels.items():
        return False
    return not one.ports or (bool(other.ports) and all(each in one.ports for each in other.ports))
