"""A request in an HTTP connection manager: which route takes it, and where that leads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from envoy.config.route.v3.route_components_pb2 import Route
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from mast.cli.explain import routing
from mast.cli.explain.access import Author, guarded
from mast.cli.explain.actions import described
from mast.cli.explain.addresses import remote_address
from mast.cli.explain.paths import Refused, normalised
from mast.cli.explain.rbac import Arrival
from mast.cli.explain.site import Side, Surroundings
from mast.cli.explain.story import Story
from mast.cli.explain.traffic import Connection, Request

_MIXER = ("mixer", "ext_authz")


def through_manager(
    manager: HttpConnectionManager,
    request: Request,
    connection: Connection,
    side: Side,
    around: Surroundings,
    story: Story,
) -> tuple[Sequence[routing.Share], Request]:
    """Tell what a connection manager does; the clusters it may choose, none if it answers itself.

    The request is as the chosen cluster gets it.
    """
    try:
        request = normalised(manager, request)
    except Refused as refused:
        story.status = refused.status
        details = [f"to {refused.location}"] if refused.location else []
        story.tell("path", f"{refused.status}: {refused}", details)
        return (), request
    request = routing.stripped_authority(manager, request, connection.port)
    _filters(manager, side, around, story)
    arrival = Arrival(connection, request, remote_address(manager, request, connection))
    author = Author(around.causes, side.proxy.namespace)
    passed = guarded(manager.http_filters, arrival, author, story)
    if passed is None:
        return (), request
    request = replace(request, metadata=passed.left)
    routes = _routes(manager, side)
    if routes is None:
        story.status = 404
        story.tell("routes", f"404: {manager.rds.route_config_name} is not known to the proxy")
        return (), request
    route = _route(routes, request, connection.port, side, around, story)
    if route is None:
        return (), request
    return _action(route, request, story)


def _filters(
    manager: HttpConnectionManager, side: Side, around: Surroundings, story: Story
) -> None:
    """The filters before the router, and whose rules they apply."""
    names = [each.name for each in manager.http_filters]
    causes = []
    if any(word in name for name in names for word in _MIXER):
        causes = list(around.causes.mixer_rules(side.proxy.namespace))
    story.tell("filters", ", ".join(names), (), causes)


def _routes(manager: HttpConnectionManager, side: Side) -> RouteConfiguration | None:
    if manager.HasField("rds"):
        return side.configuration.routes.get(manager.rds.route_config_name)
    return manager.route_config


def _route(
    routes: RouteConfiguration,
    request: Request,
    port: int,
    side: Side,
    around: Surroundings,
    story: Story,
) -> Route | None:
    host = routing.virtual_host(routes, request.authority)
    if host is None:
        story.status = 404
        story.tell("routes", f"404: no virtual host of {routes.name} is for {request.authority}")
        return None
    if (location := routing.redirect_for_tls(host, request)) is not None:
        story.status = 301
        story.tell("routes", f"301 to {location}: {host.name} insists on TLS")
        return None
    story.tell("routes", f"{routes.name}, virtual host {host.name}", [_domains(host.domains)])
    chosen = routing.chosen_route(host, request)
    if not isinstance(chosen, routing.Chosen):
        story.status = 404
        story.tell("route", f"404: none matches: {routing.reasons(chosen)}")
        return None
    details = list(_passed_over(chosen))
    causes = around.causes.route(host, chosen.position, side.caller(port))
    name = f" {chosen.route.name!r}" if chosen.route.name else ""
    place = f"number {chosen.position + 1} of {len(host.routes)}"
    story.tell("route", f"{place}{name}: {routing.conditions(chosen.route.match)}", details, causes)
    return chosen.route


def _domains(domains: Sequence[str]) -> str:
    more = f" and {len(domains) - 4} more" if len(domains) > 4 else ""
    return f"for {', '.join(domains[:4])}{more}"


def _passed_over(chosen: routing.Chosen) -> Iterator[str]:
    for number, reason in enumerate(chosen.passed_over, 1):
        yield f"not number {number}: {reason}"


def _action(
    route: Route, request: Request, story: Story
) -> tuple[Sequence[routing.Share], Request]:
    details = list(described(route))
    if route.HasField("direct_response"):
        story.status = route.direct_response.status
        story.tell("action", f"answers {story.status}", details)
        return (), request
    if route.HasField("redirect"):
        story.status, location = routing.redirected(route, request)
        story.tell("action", f"redirects with {story.status} to {location}", details)
        return (), request
    shares = routing.shares(route, request)
    sent = routing.forwarded(route, request)
    where = ", ".join(f"{each.percent:g}% to {each.cluster}" for each in shares)
    changed = (sent.path, sent.authority) != (request.path, request.authority)
    story.tell(
        "action",
        f"sends {where}",
        [*details, *([f"as http://{sent.authority}{sent.path}"] if changed else [])],
    )
    return [each for each in shares if each.percent], sent
