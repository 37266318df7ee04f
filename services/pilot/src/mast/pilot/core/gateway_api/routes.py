"""Routes of every kind: their rules, where these hold, and what their status says (I8)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from istio.networking.v1alpha3.virtual_service_pb2 import (
    L4MatchAttributes,
    RouteDestination,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualService,
)
from mast.pilot.core.gateway_api import generated
from mast.pilot.core.gateway_api.conditions import (
    Condition,
    Problem,
    Reason,
    Type,
    condition,
)
from mast.pilot.core.gateway_api.grpc_routes import grpc_rules
from mast.pilot.core.gateway_api.http_routes import http_rules
from mast.pilot.core.gateway_api.listeners import EVERY_HOST
from mast.pilot.core.gateway_api.parents import Attachment, Place, attachments
from mast.pilot.core.gateway_api.references import UNRESOLVED, backend, problems
from mast.pilot.core.gateway_api.rules import Rule, Rules
from mast.pilot.core.gateway_api.sight import Sight
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.model import PUBLIC, Config, ConfigMeta, Visibility
from mast.pilot.core.scope.matches import MESH_GATEWAY

_HTTP_RULES: Final[Mapping[str, Callable[[Sight, Config[Any]], Rules]]] = {
    collection_names.HTTP_ROUTES: http_rules,
    collection_names.GRPC_ROUTES: grpc_rules,
}

ROUTES: Final = (
    collection_names.HTTP_ROUTES,
    collection_names.GRPC_ROUTES,
    collection_names.TLS_ROUTES,
    collection_names.TCP_ROUTES,
)
"""Collections of routes."""


@dataclass(frozen=True, slots=True)
class ParentStatus:
    """What a route's status says about one parent; `attachment` is what came of it."""

    attachment: Attachment
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class TranslatedRoute:
    """What a route contributes.

    `rules` hold in each of the `places` and are merged with those of other routes there;
    `configs` are VirtualServices of its own.
    """

    meta: ConfigMeta
    parents: tuple[ParentStatus, ...]
    rules: tuple[Rule, ...] = ()
    places: tuple[Place, ...] = ()
    configs: tuple[Config[VirtualService], ...] = ()


def translated_route(sight: Sight, config: Config[Any]) -> TranslatedRoute:
    """A route in Istio's terms (pilot.md I8)."""
    found = list(attachments(sight, config))
    places = tuple(dict.fromkeys(place for each in found for place in each.places))
    make = _HTTP_RULES.get(config.meta.collection)
    if make is not None:
        rules = make(sight, config) if found else Rules()
        return TranslatedRoute(config.meta, _parents(found, rules), rules.rules, places)
    destinations, wrong = _destinations(sight, config)
    configs = tuple(_streams(config, places, destinations))
    return TranslatedRoute(
        config.meta, _parents(found, Rules(references=tuple(wrong))), configs=configs
    )


def _parents(found: Sequence[Attachment], rules: Rules) -> tuple[ParentStatus, ...]:
    """A route without a rule that can be followed is not accepted (Gateway API, "Accepted")."""
    useless = rules.invalid if not rules.rules else ()
    return tuple(
        ParentStatus(each, tuple(_conditions([*each.problems, *useless], rules))) for each in found
    )


def _conditions(problems: Sequence[Problem], rules: Rules) -> Iterator[Condition]:
    yield condition(Type.ACCEPTED, Reason.ACCEPTED, problems)
    yield condition(Type.RESOLVED_REFS, Reason.RESOLVED_REFS, rules.references)
    if rules.invalid and rules.rules:
        messages = "; ".join(each.message for each in rules.invalid)
        yield Condition(Type.PARTIALLY_INVALID, True, Reason.UNSUPPORTED_VALUE, messages)


def _destinations(
    sight: Sight, config: Config[Any]
) -> tuple[list[RouteDestination], Sequence[Problem]]:
    """Where connections go, by weight; those without a backend find none and are closed."""
    found = []
    backends = []
    for rule in config.spec.rules[:1]:
        for each in rule.backend_refs:
            made = backend(sight, config.meta, each)
            backends.append(made)
            weight = each.weight if each.HasField("weight") else 1
            if weight:
                found.append(RouteDestination(destination=made.destination, weight=weight))
    reachable = any(each.destination.host != UNRESOLVED for each in found)
    return found if reachable else found[:1], problems(backends)


def _streams(
    config: Config[Any], places: Sequence[Place], destinations: Sequence[RouteDestination]
) -> Iterator[Config[VirtualService]]:
    """A VirtualService for each place of a TCP or TLS route."""
    tls = config.meta.collection == collection_names.TLS_ROUTES
    for index, place in enumerate(places if destinations else ()):
        spec = VirtualService(hosts=[place.host], gateways=[place.gateway])
        if tls:
            spec.tls.append(_tls_route(place, config, destinations))
        else:
            match = [L4MatchAttributes(port=place.port)] if place.port else []
            spec.tcp.append(TCPRoute(match=match, route=destinations))
        name = generated.stream_name(config.meta.name, "tls" if tls else "tcp", index)
        yield generated.virtual_service(
            config.meta, name, spec, visible_to=visibility(place), created=age(config.meta, place)
        )


def _tls_route(
    place: Place, config: Config[Any], destinations: Sequence[RouteDestination]
) -> TLSRoute:
    """In the mesh the server names are those of the route, at a gateway those in common with it."""
    names = [place.host]
    if place.gateway == MESH_GATEWAY:
        names = list(config.spec.hostnames) or [place.host]
    match = TLSMatchAttributes(sni_hosts=names or [EVERY_HOST], port=place.port)
    return TLSRoute(match=[match], route=destinations)


def visibility(place: Place) -> Visibility:
    """Whose proxies follow the rules of a place."""
    return Visibility(False, frozenset({place.namespace})) if place.namespace else PUBLIC


def age(meta: ConfigMeta, place: Place) -> int:
    """Rules that a client's namespace has for itself come before those of the service.

    Of VirtualServices for one host the oldest governs (pilot.md F1), so they count as older than
    everything else (Gateway API for service mesh, "consumer routes").
    """
    return meta.created - _AGES if place.namespace else meta.created


_AGES: Final = 1 << 63
"""More nanoseconds than any object is old."""
