"""Rules of HTTPRoutes (Gateway API HTTPRouteRule; pilot.md I8)."""

from collections.abc import Sequence

from istio.networking.v1alpha3.virtual_service_pb2 import (
    HTTPMatchRequest,
    HTTPRoute,
    StringMatch,
)
from mast.pilot.core.gateway_api.actions import apply_backends, apply_filters, apply_timeouts
from mast.pilot.core.gateway_api.conditions import Problem
from mast.pilot.core.gateway_api.references import Backend, problems
from mast.pilot.core.gateway_api.rules import (
    Rule,
    Rules,
    Untranslatable,
    precedence,
    rule,
    set_header_matches,
    set_parameter_matches,
    translated,
)
from mast.pilot.core.gateway_api.sight import Sight
from mast.pilot.core.model.model import Config, ConfigMeta
from mastapi.kubernetes.v1.routes_pb2 import HTTPRouteMatch, HTTPRouteRule, HTTPRouteSpec

_EVERYTHING = HTTPRouteMatch()


def http_rules(sight: Sight, config: Config[HTTPRouteSpec]) -> Rules:
    """One rule per match; rules that Mast cannot follow are left out and named."""

    def translate(name: str, each: HTTPRouteRule) -> tuple[list[Rule], Sequence[Problem]]:
        action, backends = _action(sight, config.meta, each)
        matches = map(_match, each.matches or [_EVERYTHING])
        return [_rule(name, action, match) for match in matches], problems(backends)

    return translated(config.meta, config.spec.rules or [HTTPRouteRule()], translate)


def _rule(name: str, action: HTTPRoute, match: HTTPMatchRequest) -> Rule:
    made = rule(name, action, match, precedence(match))
    if match.uri.prefix == "/":
        _keep_separated(made.http)
    return made


def _action(
    sight: Sight, route: ConfigMeta, each: HTTPRouteRule
) -> tuple[HTTPRoute, list[Backend]]:
    """What a rule does, whatever it matches, and the backends that it names."""
    if each.HasField("session_persistence"):
        raise Untranslatable("session persistence is not supported")
    http = HTTPRoute()
    backends = [*apply_filters(http, each.filters, sight, route)]
    if not http.HasField("redirect"):
        backends += apply_backends(http, each.backend_refs, sight, route)
        apply_timeouts(http, each.timeouts, each.retry)
    return http, backends


def _keep_separated(http: HTTPRoute) -> None:
    """What takes the place of the prefix `/` ends with one: the rest of the path follows it."""
    if http.rewrite.uri:
        http.rewrite.uri = f"{http.rewrite.uri.rstrip('/')}/"
    if http.redirect.prefix_rewrite:
        http.redirect.prefix_rewrite = f"{http.redirect.prefix_rewrite.rstrip('/')}/"


def _match(wanted: HTTPRouteMatch) -> HTTPMatchRequest:
    match = HTTPMatchRequest()
    path = wanted.path.value or "/"
    match wanted.path.type:
        case "Exact":
            match.uri.exact = path
        case "RegularExpression":
            match.uri.regex = path
        case _:
            match.uri.prefix = path.rstrip("/") or "/"
    set_header_matches(match, wanted.headers)
    set_parameter_matches(match, wanted.query_params)
    if wanted.method:
        match.method.CopyFrom(StringMatch(exact=wanted.method))
    return match
