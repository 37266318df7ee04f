"""References between objects: which may cross namespaces, and what backends they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from istio.networking.v1alpha3.virtual_service_pb2 import Destination, PortSelector
from mast.pilot.core.gateway_api.conditions import Problem, Reason
from mast.pilot.core.gateway_api.sight import GATEWAY_API, Sight
from mast.pilot.core.model.model import ConfigMeta

UNRESOLVED: Final = "unresolved.invalid"
"""Host of destinations that must not be reached: there is never a cluster of that name, so that
requests are answered with 500 (pilot.md I8; RFC 2606 reserves the domain)."""

HOSTNAME: Final = ("networking.istio.io", "Hostname")
SERVICE: Final = ("", "Service")


class Reference(Protocol):
    """A reference to a backend, whatever the kind of route."""

    group: str
    kind: str
    name: str
    namespace: str
    port: int


@dataclass(frozen=True, slots=True)
class Backend:
    """Where a reference leads; `problem` is why it does not."""

    destination: Destination
    problem: Problem | None = None


def permitted(
    sight: Sight,
    source: tuple[str, str, str],
    target: tuple[str, str, str, str],
) -> bool:
    """Whether an object may refer to another one (Gateway API ReferenceGrant).

    `source` is group, kind and namespace, `target` group, kind, namespace and name. Within a
    namespace always, else if a grant of the target's namespace says so.
    """
    group, kind, namespace, name = target
    if source[2] == namespace:
        return True
    for grant in sight.grants(namespace):
        froms = {(each.group, each.kind, each.namespace) for each in getattr(grant, "from")}
        names = [each.name for each in grant.to if (each.group, each.kind) == (group, kind)]
        if source in froms and any(each in ("", name) for each in names):
            return True
    return False


def backend(sight: Sight, route: ConfigMeta, reference: Reference) -> Backend:
    """The destination of a reference in a route, an unreachable one with the problem if none."""
    kind = (reference.group, reference.kind or "Service")
    if kind == HOSTNAME:
        return _reachable(sight, reference.name, reference)
    shown = "/".join(part for part in kind if part)
    if kind != SERVICE:
        return _unreachable(reference, Reason.INVALID_KIND, f"{shown} cannot be a backend")
    namespace = reference.namespace or route.namespace
    target = (*SERVICE, namespace, reference.name)
    if not permitted(sight, (GATEWAY_API, route.kind, route.namespace), target):
        message = (
            f"Service {namespace}/{reference.name}: no ReferenceGrant of namespace {namespace!r} "
            f"lets a {route.kind} of namespace {route.namespace!r} refer to it"
        )
        return _unreachable(reference, Reason.REF_NOT_PERMITTED, message)
    return _reachable(sight, sight.host((namespace, reference.name)), reference)


def problems(backends: Sequence[Backend]) -> Sequence[Problem]:
    """What is wrong with backends."""
    return [each.problem for each in backends if each.problem is not None]


def _reachable(sight: Sight, host: str, reference: Reference) -> Backend:
    service = sight.service(host)
    port = reference.port
    if service is None:
        return _unreachable(reference, Reason.BACKEND_NOT_FOUND, f"there is no service {host!r}")
    if not port and len(service.ports) == 1:
        port = service.ports[0].number
    if service.port(port) is None:
        ports = ", ".join(str(each.number) for each in service.ports)
        message = f"service {host!r} has no port {port}; it has: {ports or 'none'}"
        return _unreachable(reference, Reason.BACKEND_NOT_FOUND, message)
    return Backend(Destination(host=host, port=PortSelector(number=port)))


def _unreachable(reference: Reference, reason: Reason, message: str) -> Backend:
    port = PortSelector(number=reference.port)
    return Backend(Destination(host=UNRESOLVED, port=port), Problem(reason, message))
