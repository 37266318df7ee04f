"""Rules of GRPCRoutes (Gateway API GRPCRouteRule): calls are requests to /SERVICE/METHOD."""

from collections.abc import Sequence
from typing import Final

from istio.networking.v1alpha3.virtual_service_pb2 import HTTPMatchRequest, HTTPRoute, StringMatch
from mast.pilot.core.gateway_api.actions import apply_backends, apply_filters
from mast.pilot.core.gateway_api.conditions import Problem
from mast.pilot.core.gateway_api.references import Backend, problems
from mast.pilot.core.gateway_api.rules import (
    PathRank,
    Precedence,
    Rule,
    Rules,
    Untranslatable,
    precedence,
    rule,
    set_header_matches,
    translated,
)
from mast.pilot.core.gateway_api.sight import Sight
from mast.pilot.core.model.model import Config, ConfigMeta
from mastapi.kubernetes.v1.routes_pb2 import (
    GRPCMethodMatch,
    GRPCRouteMatch,
    GRPCRouteRule,
    GRPCRouteSpec,
)

_ANY: Final = "[^/]+"
_EVERYTHING: Final = GRPCRouteMatch()


def grpc_rules(sight: Sight, config: Config[GRPCRouteSpec]) -> Rules:
    """One rule per match; rules that Mast cannot follow are left out and named."""

    def translate(name: str, each: GRPCRouteRule) -> tuple[list[Rule], Sequence[Problem]]:
        action, backends = _action(sight, config.meta, each)
        matches = each.matches or [_EVERYTHING]
        return [_rule(name, action, wanted) for wanted in matches], problems(backends)

    return translated(config.meta, config.spec.rules or [GRPCRouteRule()], translate)


def _rule(name: str, action: HTTPRoute, wanted: GRPCRouteMatch) -> Rule:
    match = HTTPMatchRequest(uri=_path(wanted.method))
    set_header_matches(match, wanted.headers)
    return rule(name, action, match, _precedence(match, wanted.method))


def _action(
    sight: Sight, route: ConfigMeta, each: GRPCRouteRule
) -> tuple[HTTPRoute, list[Backend]]:
    if each.HasField("session_persistence"):
        raise Untranslatable("session persistence is not supported")
    http = HTTPRoute()
    backends = [*apply_filters(http, each.filters, sight, route)]
    backends += apply_backends(http, each.backend_refs, sight, route)
    return http, backends


def _path(method: GRPCMethodMatch) -> StringMatch:
    """The path of the calls that are meant; a service alone is a prefix of whole segments."""
    if not (method.service or method.method):
        return StringMatch(prefix="/")
    if method.type == "RegularExpression":
        return StringMatch(regex=f"/{_group(method.service)}/{_group(method.method)}")
    if not method.method:
        return StringMatch(prefix=f"/{method.service}")
    if not method.service:
        return StringMatch(regex=f"/{_ANY}/{method.method}")
    return StringMatch(exact=f"/{method.service}/{method.method}")


def _group(expression: str) -> str:
    return f"(?:{expression})" if expression else _ANY


def _precedence(match: HTTPMatchRequest, method: GRPCMethodMatch) -> Precedence:
    """Longer services come first, then longer methods (Gateway API GRPCRouteRule, "matches")."""
    found = precedence(match)
    length = len(method.service) + len(method.method)
    return found._replace(shorter=-length if found.path is PathRank.REGEX else found.shorter)
