"""Where routes attach: listeners of Gateways, and services of the mesh (pilot.md I8)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mast.pilot.core.gateway_api.conditions import Problem, Reason
from mast.pilot.core.gateway_api.gateways import is_ours
from mast.pilot.core.gateway_api.listeners import (
    EVERY_HOST,
    GatewayView,
    ListenerView,
    common_host,
)
from mast.pilot.core.gateway_api.sight import GATEWAY_API, Name, Sight
from mast.pilot.core.model import collection_names, hosts
from mast.pilot.core.model.model import Config, ConfigMeta
from mast.pilot.core.scope.matches import MESH_GATEWAY
from mastapi.kubernetes.v1.routes_pb2 import ParentReference

_ISTIO: Final = "networking.istio.io"


class Place(NamedTuple):
    """A host of a gateway, "NAMESPACE/NAME" or "mesh", that a route has rules for.

    `namespace` is the only one whose proxies follow the rules, "" for all; `port` the only port
    that they hold for, 0 for all.
    """

    gateway: str
    host: str
    namespace: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class Attachment:
    """What came of one parent reference of a route.

    `listeners` are the names of the Gateway's listeners that the route is attached to, `gateway`
    the Gateway, None for a service of the mesh.
    """

    parent: ParentReference
    places: tuple[Place, ...] = ()
    problems: tuple[Problem, ...] = ()
    gateway: Name | None = None
    listeners: tuple[str, ...] = ()


def attachments(sight: Sight, config: Config[Any]) -> Iterator[Attachment]:
    """The parents of a route that are ours, with the hosts that the route gets there."""
    meta = config.meta
    hostnames = list(getattr(config.spec, "hostnames", ()))
    for parent in config.spec.parent_refs:
        own = "" if parent.kind == "Service" else GATEWAY_API
        group = parent.group if parent.HasField("group") else own
        name = (parent.namespace or meta.namespace, parent.name)
        match (group, parent.kind or "Gateway"):
            case (str(each), "Gateway") if each == GATEWAY_API:
                view = sight.gateway(name)
                if view is not None:
                    yield _at_gateway(sight, meta, hostnames, parent, view)
                elif _may_be_ours(sight, name):
                    message = f"there is no Gateway {name[0]}/{name[1]}"
                    problem = Problem(Reason.NO_MATCHING_PARENT, message)
                    yield Attachment(parent, problems=(problem,), gateway=name)
            case ("", "Service"):
                yield _at_hosts(sight, meta, parent, [sight.host(name)])
            case (each, "ServiceEntry") if each == _ISTIO:
                found = sight.object(collection_names.SERVICE_ENTRIES, name)
                yield _at_hosts(sight, meta, parent, found.spec.hosts if found else [])


def _may_be_ours(sight: Sight, name: Name) -> bool:
    """A Gateway that exists and is of somebody else's class is not for us to judge."""
    found = sight.object(collection_names.API_GATEWAYS, name)
    return found is None or is_ours(sight, found.spec.gateway_class_name)


def _at_gateway(
    sight: Sight,
    route: ConfigMeta,
    hostnames: Sequence[str],
    parent: ParentReference,
    view: GatewayView,
) -> Attachment:
    """Every listener that is meant, takes such routes, and has a host in common with the route."""
    gateway = (view.meta.namespace, view.meta.name)
    meant = [each for each in view.listeners if _means(parent, each)]
    if not meant:
        message = f"Gateway {gateway[0]}/{gateway[1]} has no such listener"
        problem = Problem(Reason.NO_MATCHING_PARENT, message)
        return Attachment(parent, problems=(problem,), gateway=gateway)
    labels = sight.namespace_labels(route.namespace)
    own = view.meta.namespace
    taking = [
        each
        for each in meant
        if route.kind in each.kinds and each.admits(route.namespace, own, labels)
    ]
    if not taking:
        message = f"no listener takes a {route.kind} of namespace {route.namespace!r}"
        problem = Problem(Reason.NOT_ALLOWED_BY_LISTENERS, message)
        return Attachment(parent, problems=(problem,), gateway=gateway)
    common = {each.listener.name: _common(each.host, hostnames) for each in taking}
    fitting = [each for each in taking if common[each.listener.name]]
    if not fitting:
        message = f"no listener has a host in common with {', '.join(hostnames)}"
        problem = Problem(Reason.NO_MATCHING_LISTENER_HOSTNAME, message)
        return Attachment(parent, problems=(problem,), gateway=gateway)
    places = [
        Place(each.gateway, host)
        for each in fitting
        if each.gateway
        for host in common[each.listener.name]
        if not any(
            each.yields_to(other) and hosts.matches(other.host, host) for other in view.listeners
        )
    ]
    listeners = tuple(each.listener.name for each in fitting)
    return Attachment(parent, tuple(places), (), gateway, listeners)


def _means(parent: ParentReference, view: ListenerView) -> bool:
    section = not parent.section_name or parent.section_name == view.listener.name
    return section and parent.port in (0, view.listener.port)


def _common(listener: str, hostnames: Sequence[str]) -> Sequence[str]:
    """Hosts that a listener and a route have in common, each once, in the route's order."""
    found = (common_host(listener, each) for each in hostnames or [EVERY_HOST])
    return list(dict.fromkeys(each for each in found if each))


def _at_hosts(
    sight: Sight, route: ConfigMeta, parent: ParentReference, names: Sequence[str]
) -> Attachment:
    """A service of the mesh: for all clients if the route is the service's own, else for its own.

    (Gateway API for service mesh, "producer" and "consumer" routes.)
    """
    if not names or any(sight.service(each) is None for each in names):
        message = f"there is no {parent.kind} {parent.namespace or route.namespace}/{parent.name}"
        return Attachment(parent, problems=(Problem(Reason.NO_MATCHING_PARENT, message),))
    producer = (parent.namespace or route.namespace) == route.namespace
    namespace = "" if producer else route.namespace
    places = (Place(MESH_GATEWAY, host, namespace, parent.port) for host in names)
    return Attachment(parent, tuple(places))
