"""Route matches as gRPC understands them: what it cannot look at is decided here (B29)."""

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, RouteMatch
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from mast.pilot.core.proxyless.unsupported import Unsupported

_KNOWN: Final = {":method": "POST", ":scheme": "http"}
"""What every gRPC call has."""

_MOST_ALTERNATIVES: Final = 64


def matches(match: RouteMatch, authorities: Sequence[str]) -> Sequence[RouteMatch]:
    """Matches of which one holds whenever the given one does; none if no call can ever match.

    `authorities` are the targets whose calls get there. Raises `Unsupported`.
    """
    if match.dynamic_metadata:
        raise Unsupported("matches of JWT claims")
    if match.query_parameters:
        return ()
    found: list[Sequence[HeaderMatcher]] = []
    for each in match.headers:
        alternatives = _header(each, authorities)
        if alternatives is None:
            return ()
        if alternatives:
            found.append(alternatives)
    return [_with_headers(match, each) for each in _combinations(found)]


def _combinations(found: Sequence[Sequence[HeaderMatcher]]) -> Iterator[Sequence[HeaderMatcher]]:
    total = 1
    for each in found:
        total *= len(each)
    if total > _MOST_ALTERNATIVES:
        raise Unsupported("many withoutHeaders")
    yield from product(*found)


def _with_headers(match: RouteMatch, headers: Sequence[HeaderMatcher]) -> RouteMatch:
    made = RouteMatch(headers=headers)
    if match.HasField("case_sensitive"):
        made.case_sensitive.CopyFrom(match.case_sensitive)
    match match.WhichOneof("path_specifier"):
        case "path":
            made.path = match.path
        case "safe_regex":
            made.safe_regex.CopyFrom(match.safe_regex)
        case "path_separated_prefix":
            # Paths of calls have two segments, so that a whole one is never all of it.
            made.prefix = f"{match.path_separated_prefix}/"
        case _:
            made.prefix = match.prefix
    return made


def _header(matcher: HeaderMatcher, authorities: Sequence[str]) -> Sequence[HeaderMatcher] | None:
    """Matchers of which one must hold; none if all calls match, None if no call does."""
    name = matcher.name.lower()
    if name in _KNOWN or name == ":authority":
        values = (_KNOWN[name],) if name in _KNOWN else authorities
        verdicts = {_holds(matcher, each) for each in values}
        if len(verdicts) > 1:
            raise Unsupported("matches of some authorities")
        return () if True in verdicts else None
    if name.endswith("-bin"):
        raise Unsupported(f"matches of the binary header {name}")
    if not matcher.treat_missing_header_as_empty:
        return (matcher,)
    present = HeaderMatcher()
    present.CopyFrom(matcher)
    present.ClearField("treat_missing_header_as_empty")
    if not _holds(matcher, ""):
        return (present,)
    absent = HeaderMatcher(name=matcher.name, present_match=True, invert_match=True)
    return absent, present


def _holds(matcher: HeaderMatcher, value: str) -> bool:
    """Whether a matcher holds for a value that is known."""
    found = matcher.HasField("present_match") or _equal(matcher.string_match, value)
    return found != matcher.invert_match


def _equal(matcher: StringMatcher, value: str) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return matcher.exact == value
        case "prefix":
            return value.startswith(matcher.prefix)
    try:
        return re.fullmatch(matcher.safe_regex.regex, value) is not None
    except re.error as error:
        raise Unsupported(f"the expression {matcher.safe_regex.regex}") from error
