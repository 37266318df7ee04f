"""Envoy's matchers of headers, query parameters and metadata (Envoy v3 API)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher

from mast.cli.explain.traffic import Request
from mast.common.envoy.matchers import (
    COMPARISONS,
    regex_matches,
    string_matches,
    value_at,
    value_matches,
)


def header_matches(matcher: HeaderMatcher, request: Request) -> bool:
    """Whether a request's header fits, as routes see it: with all its values joined.

    A header that is not there never fits, inverted or not, unless it is asked for by presence or
    counts as empty.
    """
    value = request.header(matcher.name)
    return _any_fits(matcher, [] if value is None else [value])


def header_line_matches(matcher: HeaderMatcher, request: Request | None) -> bool:
    """The same as rules of RBAC see it: one line of the header is enough.

    Connections have no headers.
    """
    return _any_fits(matcher, request.header_lines(matcher.name) if request else [])


def _any_fits(matcher: HeaderMatcher, values: Sequence[str]) -> bool:
    kind = matcher.WhichOneof("header_match_specifier")
    if kind is None or kind == "present_match":
        wanted = matcher.present_match if kind else True
        return (bool(values) != matcher.invert_match) == wanted
    if not values:
        if not matcher.treat_missing_header_as_empty:
            return False
        values = [""]
    return any(_value_fits(matcher, kind, each) for each in values) != matcher.invert_match


def _value_fits(matcher: HeaderMatcher, kind: str, value: str) -> bool:
    if kind == "string_match":
        return string_matches(matcher.string_match, value)
    if kind == "range_match":
        number = value.strip()
        if not number.removeprefix("-").isdecimal():
            return False
        return matcher.range_match.start <= int(number) < matcher.range_match.end
    if kind == "safe_regex_match":
        return regex_matches(matcher.safe_regex_match.regex, value)
    # The forms of older configuration: exact_match, prefix_match, suffix_match, contains_match.
    pattern: str = getattr(matcher, kind)
    return COMPARISONS[kind.removesuffix("_match")](value, pattern)


def query_matches(matcher: QueryParameterMatcher, request: Request) -> bool:
    """Whether a parameter of the query fits, undecoded."""
    value = request.query.get(matcher.name)
    kind = matcher.WhichOneof("query_parameter_match_specifier")
    if kind == "string_match":
        return value is not None and string_matches(matcher.string_match, value)
    wanted = matcher.present_match if kind else True
    return (value is not None) == wanted


def metadata_matches(matcher: MetadataMatcher, metadata: Mapping[str, Any]) -> bool:
    """Whether what a filter left fits; `metadata` is JSON by filter."""
    value = value_at(metadata.get(matcher.filter, {}), matcher.path)
    return value_matches(matcher.value, value) != matcher.invert
