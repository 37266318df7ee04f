"""Matches of VirtualService HTTP routes: which apply to a proxy, and how Envoy expresses them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from envoy.config.route.v3.route_components_pb2 import (
    HeaderMatcher,
    QueryParameterMatcher,
    RouteMatch,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher
from google.protobuf.wrappers_pb2 import BoolValue

from istio.networking.v1alpha3.virtual_service_pb2 import (
    HTTPMatchRequest,
    L4MatchAttributes,
    StringMatch,
    TLSMatchAttributes,
)

MESH_GATEWAY: Final = "mesh"
"""Name under which VirtualServices bind to sidecars (Istio VirtualService, "gateways")."""

JWT_FILTER: Final = "envoy.filters.http.jwt_authn"
JWT_PAYLOAD: Final = "payload"
"""Where jwt_authn leaves the claims of a token: filter namespace and key (pilot.md J2)."""

_CLAIMS = re.compile(r"@request\.auth\.claims(?:\.(?P<dotted>.+)|(?P<bracketed>(?:\[[^\]]+\])+))")
_BRACKETED = re.compile(r"\[([^\]]+)\]")


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whose route configuration is built, and for which listener port.

    `gateways` holds "mesh" for a sidecar, else the "NAMESPACE/NAME" of the gateways served.
    """

    port: int
    namespace: str
    labels: Mapping[str, str]
    gateways: frozenset[str] = frozenset({MESH_GATEWAY})


def applies(
    match: HTTPMatchRequest | L4MatchAttributes | TLSMatchAttributes, caller: Caller
) -> bool:
    """Whether a match concerns a caller at all (pilot.md F3).

    `gateways` of a match override those of its VirtualService; a match that names them ignores
    source labels and source namespace.
    """
    if match.port not in (0, caller.port):
        return False
    if match.gateways:
        return not caller.gateways.isdisjoint(match.gateways)
    labels_fit = match.source_labels.items() <= caller.labels.items()
    return labels_fit and match.source_namespace in ("", caller.namespace)


def route_match(match: HTTPMatchRequest, *, path_separated: bool = False) -> RouteMatch:
    """The Envoy match of one HTTPMatchRequest; an empty one matches every path (pilot.md F).

    `path_separated` gives a uri prefix the meaning it has in Ingress and Gateway API: whole path
    segments only.
    """
    result = RouteMatch(
        headers=_headers(match),
        query_parameters=[
            _query_parameter(name, match.query_params[name]) for name in sorted(match.query_params)
        ],
        dynamic_metadata=_claims(match),
    )
    _set_path(result, match.uri, path_separated=path_separated)
    if match.ignore_uri_case:
        result.case_sensitive.CopyFrom(BoolValue(value=False))
    return result


def string_matcher(match: StringMatch) -> StringMatcher:
    """The Envoy form of a StringMatch that has a value; regexes are RE2 and match whole strings."""
    kind = match.WhichOneof("match_type")
    if kind == "exact":
        return StringMatcher(exact=match.exact)
    if kind == "prefix":
        return StringMatcher(prefix=match.prefix)
    return StringMatcher(safe_regex=RegexMatcher(regex=match.regex))


def matches_anything(match: StringMatch) -> bool:
    """True for a StringMatch that only asks for presence: unset, `*` as regex, an empty prefix."""
    kind = match.WhichOneof("match_type")
    if kind == "prefix":
        return not match.prefix
    return kind is None or (kind == "regex" and match.regex == "*")


def claim_path(header: str) -> tuple[str, ...]:
    """Path of the JWT claim that a header name stands for, () for a real header.

    `@request.auth.claims.a.b` and `@request.auth.claims[a][b]` both mean claim b within a.
    """
    found = _CLAIMS.fullmatch(header)
    if found is None:
        return ()
    if found["dotted"]:
        return tuple(found["dotted"].split("."))
    return tuple(_BRACKETED.findall(found["bracketed"]))


def _set_path(result: RouteMatch, uri: StringMatch, *, path_separated: bool) -> None:
    kind = uri.WhichOneof("match_type")
    if kind == "exact":
        result.path = uri.exact
    elif kind == "regex":
        result.safe_regex.CopyFrom(RegexMatcher(regex=uri.regex))
    elif path_separated and uri.prefix.rstrip("/"):
        result.path_separated_prefix = uri.prefix.rstrip("/")
    else:
        result.prefix = uri.prefix or "/"


def _headers(match: HTTPMatchRequest) -> Iterator[HeaderMatcher]:
    for name in sorted(match.headers):
        if not claim_path(name):
            yield _header(name, match.headers[name])
    for name in sorted(match.without_headers):
        if not claim_path(name):
            yield _absent_header(name, match.without_headers[name])
    for pseudo in ("method", "authority", "scheme"):
        if match.HasField(pseudo):
            yield _header(f":{pseudo}", getattr(match, pseudo))


def _header(name: str, match: StringMatch) -> HeaderMatcher:
    if matches_anything(match):
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=string_matcher(match))


def _absent_header(name: str, match: StringMatch) -> HeaderMatcher:
    result = _header(name, match)
    result.invert_match = True
    # Without this an absent header would not satisfy the inverted match.
    result.treat_missing_header_as_empty = result.HasField("string_match")
    return result


def _query_parameter(name: str, match: StringMatch) -> QueryParameterMatcher:
    if matches_anything(match):
        return QueryParameterMatcher(name=name, present_match=True)
    return QueryParameterMatcher(name=name, string_match=string_matcher(match))


def _claims(match: HTTPMatchRequest) -> Iterator[MetadataMatcher]:
    for headers, invert in ((match.headers, False), (match.without_headers, True)):
        for name in sorted(headers):
            path = claim_path(name)
            if path:
                yield _claim(path, headers[name], invert=invert)


def _claim(path: tuple[str, ...], match: StringMatch, *, invert: bool) -> MetadataMatcher:
    """A claim may be a string or a list that contains it (pilot.md F, J4)."""
    if matches_anything(match):
        value = ValueMatcher(present_match=True)
    else:
        text = ValueMatcher(string_match=string_matcher(match))
        value = ValueMatcher(
            or_match=OrMatcher(
                value_matchers=[text, ValueMatcher(list_match=ListMatcher(one_of=text))]
            )
        )
    segments = [MetadataMatcher.PathSegment(key=key) for key in (JWT_PAYLOAD, *path)]
    return MetadataMatcher(filter=JWT_FILTER, path=segments, value=value, invert=invert)
