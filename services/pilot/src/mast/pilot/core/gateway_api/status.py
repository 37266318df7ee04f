"""Statuses of Gateway API objects as the API has them, without times (pilot.md I8)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from google.protobuf.json_format import MessageToDict

from mast.common.kinds import GENERATION_ANNOTATION
from mast.pilot.core.gateway_api.backend_tls import PolicyStatus, TranslatedPolicies
from mast.pilot.core.gateway_api.conditions import (
    CONTROLLER,
    Condition,
    Reason,
    Type,
    condition,
)
from mast.pilot.core.gateway_api.gateways import TranslatedGateway
from mast.pilot.core.gateway_api.ingresses import TranslatedIngress
from mast.pilot.core.gateway_api.listeners import GatewayView
from mast.pilot.core.gateway_api.routes import TranslatedRoute
from mast.pilot.core.gateway_api.sight import GATEWAY_API, Name
from mast.pilot.core.model.model import ConfigMeta

Key = tuple[str, str, str]
"""Collection, namespace and name of an object."""
Attached = Mapping[tuple[Name, str], int]
"""How many routes are attached, by Gateway and listener."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Translation:
    """What has become of the objects of Gateway API and Ingress that are ours, by their names.

    `classes` are the GatewayClasses of our controller, `policies` are by the Service they are for.
    """

    classes: Sequence[ConfigMeta] = ()
    gateways: Mapping[Name, TranslatedGateway] = field(default_factory=dict)
    routes: Mapping[Key, TranslatedRoute] = field(default_factory=dict)
    policies: Mapping[Name, TranslatedPolicies] = field(default_factory=dict)
    ingresses: Mapping[Name, TranslatedIngress] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectStatus:
    """The status of one object, in the API's spelling; whoever writes it adds transition times."""

    meta: ConfigMeta
    status: Mapping[str, Any]


def statuses(translation: Translation) -> Iterator[ObjectStatus]:
    """Statuses of all objects that have one: classes, Gateways, routes, policies."""
    for meta in translation.classes:
        accepted = [condition(Type.ACCEPTED, Reason.ACCEPTED)]
        yield ObjectStatus(meta, {"conditions": _conditions(meta, accepted)})
    attached = _attached(translation.routes.values())
    for name, gateway in translation.gateways.items():
        yield ObjectStatus(gateway.view.meta, _gateway(name, gateway.view, attached))
    for route in translation.routes.values():
        if route.parents:
            yield ObjectStatus(route.meta, {"parents": [*_parents(route)]})
    yield from _policies(translation)


def _attached(routes: Iterable[TranslatedRoute]) -> Attached:
    return Counter(
        (parent.attachment.gateway, listener)
        for route in routes
        for parent in route.parents
        if parent.attachment.gateway is not None
        for listener in parent.attachment.listeners
    )


def _gateway(name: Name, view: GatewayView, attached: Attached) -> Mapping[str, Any]:
    return {
        "addresses": [{"type": _address_type(each), "value": each} for each in view.addresses],
        "conditions": _conditions(view.meta, view.conditions),
        "listeners": [
            {
                "name": each.listener.name,
                "supportedKinds": [{"group": GATEWAY_API, "kind": kind} for kind in each.kinds],
                "attachedRoutes": attached.get((name, each.listener.name), 0),
                "conditions": _conditions(view.meta, each.conditions),
            }
            for each in view.listeners
        ],
    }


def _address_type(address: str) -> str:
    try:
        ip_address(address)
    except ValueError:
        return "Hostname"
    return "IPAddress"


def _parents(route: TranslatedRoute) -> Iterator[Mapping[str, Any]]:
    for each in route.parents:
        yield {
            "parentRef": MessageToDict(each.attachment.parent),
            "controllerName": CONTROLLER,
            "conditions": _conditions(route.meta, each.conditions),
        }


def _policies(translation: Translation) -> Iterator[ObjectStatus]:
    """A policy has an ancestor for each of its targets, and for each Gateway that leads there."""
    found: dict[Name, tuple[ConfigMeta, dict[str, Mapping[str, Any]]]] = {}
    leading = _leading(translation.routes.values()) if translation.policies else {}
    for translated in translation.policies.values():
        for each in translated.statuses:
            name = (each.policy.namespace, each.policy.name)
            _, ancestors = found.setdefault(name, (each.policy, {}))
            for reference in _ancestors(each, translated.target, leading):
                entry = {
                    "ancestorRef": reference,
                    "controllerName": CONTROLLER,
                    "conditions": _conditions(each.policy, each.conditions),
                }
                ancestors.setdefault(str(reference), entry)
    for meta, ancestors in found.values():
        yield ObjectStatus(meta, {"ancestors": list(ancestors.values())})


def _ancestors(
    policy: PolicyStatus, target: Name, leading: Mapping[Name, Set[Name]]
) -> Iterator[Mapping[str, Any]]:
    own = {"group": "", "kind": "Service", "name": target[1]}
    yield {**own, "sectionName": policy.section} if policy.section else own
    for namespace, name in sorted(leading.get(target, ())):
        where = {"group": GATEWAY_API, "kind": "Gateway", "namespace": namespace}
        yield {**where, "name": name}


def _leading(routes: Iterable[TranslatedRoute]) -> Mapping[Name, Set[Name]]:
    """Gateways whose routes lead to a Service, by its name."""
    found: dict[Name, set[Name]] = defaultdict(set)
    for route in routes:
        gateways = {
            parent.attachment.gateway
            for parent in route.parents
            if parent.attachment.gateway is not None and parent.attachment.listeners
        }
        for host in _hosts(route) if gateways else ():
            name, _, rest = host.partition(".")
            namespace, _, kind = rest.partition(".")
            if kind.startswith("svc."):
                found[namespace, name] |= gateways
    return found


def _hosts(route: TranslatedRoute) -> set[str]:
    """Hosts of the backends of a route."""
    entries: list[Any] = [each.http for each in route.rules]
    entries += [each for config in route.configs for each in config.spec.tcp]
    entries += [each for config in route.configs for each in config.spec.tls]
    return {each.destination.host for entry in entries for each in entry.route}


def _conditions(meta: ConfigMeta, found: Iterable[Condition]) -> Sequence[Mapping[str, Any]]:
    return [
        {
            "type": str(each.type),
            "status": str(each.status),
            "reason": str(each.reason),
            "message": each.message,
            "observedGeneration": _generation(meta),
        }
        for each in found
    ]


def _generation(meta: ConfigMeta) -> int:
    """That of the object where it is from, else the store's."""
    return int(meta.annotations.get(GENERATION_ANNOTATION) or meta.version or 0)
