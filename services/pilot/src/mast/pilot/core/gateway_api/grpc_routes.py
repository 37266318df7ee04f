"""Rules of GRPCRoutes (Gateway API GRPCRouteRule): calls are requests to /SERVICE/METHOD."""

from typing import Final

from istio.networking.v1alpha3.virtual_service_pb2 import HTTPMatchRequest, HTTPRoute, StringMatch
from mast.pilot.core.gateway_api.actions import apply_backends, apply_filters
from mast.pilot.core.gateway_api.conditions import Problem, Reason
from mast.pilot.core.gateway_api.references import Backend, problems
from mast.pilot.core.gateway_api.rules import (
    PathRank,
    Precedence,
    Rule,
    Rules,
    Untranslatable,
    precedence,
    route_name,
    rule,
    set_header_matches,
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
    rules: list[Rule] = []
    references: list[Problem] = []
    invalid: list[Problem] = []
    for position, each in enumerate(config.spec.rules or [GRPCRouteRule()]):
        try:
            action, backends = _action(sight, config.meta, each)
        except Untranslatable as error:
            invalid.append(Problem(Reason.UNSUPPORTED_VALUE, f"rule {position}: {error}"))
            continue
        references += problems(backends)
        name = route_name(config.meta, position)
        for wanted in each.matches or [_EVERYTHING]:
            match = HTTPMatchRequest(uri=_path(wanted.method))
            set_header_matches(match, wanted.headers)
            rules.append(rule(name, action, match, _precedence(match, wanted.method)))
    return Rules(tuple(rules), tuple(references), tuple(invalid))


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
