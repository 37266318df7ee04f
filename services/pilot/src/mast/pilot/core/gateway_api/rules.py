"""Rules of routes after translation: what matches, in which order, and what happens then."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeVar

from istio.networking.v1alpha3.virtual_service_pb2 import (
    HTTPMatchRequest,
    HTTPRoute,
    StringMatch,
)
from mast.pilot.core.gateway_api.conditions import Problem, Reason
from mast.pilot.core.model.model import ConfigMeta
from mastapi.kubernetes.v1.routes_pb2 import HTTPHeaderMatch, HTTPQueryParamMatch

_Given = TypeVar("_Given")


class PathRank(IntEnum):
    """How precisely a path is matched, the most precise first (pilot.md I8)."""

    EXACT = 0
    PREFIX = 1
    REGEX = 2


class Precedence(NamedTuple):
    """Sort key of matches: the smallest is tried first (Gateway API HTTPRouteRule, "matches").

    Exact paths come before prefixes and those before regular expressions, then longer before
    shorter, with a method before without, more headers, more query parameters.
    """

    path: PathRank
    shorter: int
    without_method: bool
    fewer_headers: int
    fewer_parameters: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One match of a route and what happens to its requests, as an entry of a VirtualService."""

    precedence: Precedence
    http: HTTPRoute


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of a route; `references` are problems of backends, `invalid` rules left out."""

    rules: tuple[Rule, ...] = ()
    references: tuple[Problem, ...] = ()
    invalid: tuple[Problem, ...] = ()


class Untranslatable(ValueError):
    """A rule wants what Mast cannot do; the message says what."""


def translated(
    meta: ConfigMeta,
    given: Iterable[_Given],
    translate: Callable[[str, _Given], tuple[Iterable[Rule], Iterable[Problem]]],
) -> Rules:
    """Rules of a route, one by one; those that Mast cannot follow are left out and named.

    `translate` takes the name that routes of a rule get and the rule; it gives one for each match,
    and what is wrong with references, or raises Untranslatable.
    """
    rules: list[Rule] = []
    references: list[Problem] = []
    invalid: list[Problem] = []
    for position, each in enumerate(given):
        try:
            found, wrong = translate(_route_name(meta, position), each)
        except Untranslatable as error:
            invalid.append(Problem(Reason.UNSUPPORTED_VALUE, f"rule {position}: {error}"))
            continue
        rules += found
        references += wrong
    return Rules(tuple(rules), tuple(references), tuple(invalid))


def _route_name(route: ConfigMeta, position: int) -> str:
    """Name of the Envoy routes of a rule (pilot.md I8)."""
    return f"{route.namespace}.{route.name}.{position}"


def rule(name: str, action: HTTPRoute, match: HTTPMatchRequest, precedence: Precedence) -> Rule:
    """The rule of one match."""
    http = HTTPRoute()
    http.CopyFrom(action)
    http.name = name
    http.match.append(match)
    return Rule(precedence, http)


def precedence(match: HTTPMatchRequest) -> Precedence:
    """The precedence of a match, as far as it can be seen in it."""
    kind = match.uri.WhichOneof("match_type") or "prefix"
    rank = {"exact": PathRank.EXACT, "prefix": PathRank.PREFIX, "regex": PathRank.REGEX}[kind]
    return Precedence(
        path=rank,
        shorter=-len(getattr(match.uri, kind)),
        without_method=not match.HasField("method"),
        fewer_headers=-len(match.headers) - match.HasField("authority"),
        fewer_parameters=-len(match.query_params),
    )


def set_header_matches(match: HTTPMatchRequest, headers: Iterable[HTTPHeaderMatch]) -> None:
    """Conditions on headers; of several for one name the first counts."""
    for each in headers:
        name = each.name.lower()
        if name in ("host", ":authority"):
            if not match.HasField("authority"):
                match.authority.CopyFrom(_value(each))
        elif name not in match.headers:
            match.headers[name].CopyFrom(_value(each))


def set_parameter_matches(
    match: HTTPMatchRequest, parameters: Iterable[HTTPQueryParamMatch]
) -> None:
    """Conditions on query parameters; of several for one name the first counts."""
    for each in parameters:
        if each.name not in match.query_params:
            match.query_params[each.name].CopyFrom(_value(each))


def ordered(rules: Iterable[tuple[ConfigMeta, Sequence[Rule]]]) -> list[HTTPRoute]:
    """Rules of several routes in the order in which they are tried.

    Of matches that are equally precise the one of the oldest route comes first, then the first by
    namespace and name, then the first in its route (Gateway API HTTPRouteRule, "matches").
    """
    found = [
        (each.precedence, meta.created, meta.namespace, meta.name, meta.kind, position, each.http)
        for meta, several in rules
        for position, each in enumerate(several)
    ]
    return [each[-1] for each in sorted(found, key=lambda each: each[:-1])]


def _value(match: HTTPHeaderMatch | HTTPQueryParamMatch) -> StringMatch:
    if match.type == "RegularExpression":
        return StringMatch(regex=match.value)
    return StringMatch(exact=match.value)
