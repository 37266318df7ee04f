"""Rules of several routes for one host of a gateway: one VirtualService (pilot.md I8).

Which match comes first is decided over all routes of a host, whichever of them it stands in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from istio.networking.v1alpha3.virtual_service_pb2 import VirtualService
from mast.pilot.core.gateway_api import generated
from mast.pilot.core.gateway_api.parents import Place
from mast.pilot.core.gateway_api.routes import TranslatedRoute, age, visibility
from mast.pilot.core.gateway_api.rules import Rule, ordered
from mast.pilot.core.model.model import Config


@dataclass(frozen=True, slots=True)
class Group:
    """What is merged: rules for one host of a gateway that the same proxies follow."""

    gateway: str
    host: str
    namespace: str

    @classmethod
    def of(cls, place: Place) -> "Group":
        """The group that rules of a place belong to."""
        return cls(place.gateway, place.host, place.namespace)


def merged(group: Group, routes: Sequence[TranslatedRoute]) -> Config[VirtualService] | None:
    """The VirtualService of a group, named after its oldest route; None without rules."""
    oldest = min(routes, key=_seniority)
    http = ordered((each.meta, _rules(group, each)) for each in routes)
    if not http:
        return None
    spec = VirtualService(hosts=[group.host], gateways=[group.gateway], http=http)
    groups = list(dict.fromkeys(Group.of(each) for each in oldest.places))
    name = generated.http_name(oldest.meta, groups.index(group))
    place = next(each for each in oldest.places if Group.of(each) == group)
    return generated.virtual_service(
        oldest.meta, name, spec, visible_to=visibility(place), created=age(oldest.meta, place)
    )


def _rules(group: Group, route: TranslatedRoute) -> Sequence[Rule]:
    """The rules of a route in a group, once for each port that they are limited to there."""
    ports = [each.port for each in route.places if Group.of(each) == group]
    if 0 in ports:
        return route.rules
    return [_on_port(each, port) for port in dict.fromkeys(ports) for each in route.rules]


def _on_port(rule: Rule, port: int) -> Rule:
    limited = type(rule.http)()
    limited.CopyFrom(rule.http)
    for match in limited.match:
        match.port = port
    return Rule(rule.precedence, limited)


def _seniority(route: TranslatedRoute) -> tuple[int, str, str, str]:
    meta = route.meta
    return meta.created, meta.namespace, meta.name, meta.kind
