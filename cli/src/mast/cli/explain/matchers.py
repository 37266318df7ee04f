"""Envoy's matchers of strings, headers, query parameters and metadata (Envoy v3 API, "matcher")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import re2  # type: ignore[import-untyped]
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, QueryParameterMatcher
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher

from mast.cli.explain.traffic import Request


class NotUnderstood(ValueError):
    """The configuration uses something whose outcome cannot be told here; says what."""


def string_matches(matcher: StringMatcher, text: str) -> bool:
    """Whether a text fits; regular expressions are RE2 and have to match all of it."""
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return regex_matches(matcher.safe_regex.regex, text)
    if kind is None or kind == "custom":
        raise NotUnderstood(f"a string matcher of kind {kind or 'nothing'}")
    pattern: str = getattr(matcher, kind)
    if matcher.ignore_case:
        pattern, text = pattern.lower(), text.lower()
    return _COMPARE[kind](text, pattern)


_COMPARE: Mapping[str, Callable[[str, str], bool]] = {
    "exact": lambda text, pattern: text == pattern,
    "prefix": lambda text, pattern: text.startswith(pattern),
    "suffix": lambda text, pattern: text.endswith(pattern),
    "contains": lambda text, pattern: pattern in text,
}


def regex_matches(regex: str, text: str) -> bool:
    """Whether a regular expression of RE2 matches the whole text."""
    try:
        return re2.fullmatch(regex, text) is not None
    except re2.error as error:
        raise NotUnderstood(f"the regular expression {regex!r}: {error}") from error


def header_matches(matcher: HeaderMatcher, request: Request) -> bool:
    """Whether a request's header fits.

    A header that is not there never fits, inverted or not, unless it is asked for by presence or
    counts as empty.
    """
    value = request.header(matcher.name)
    kind = matcher.WhichOneof("header_match_specifier")
    if kind is None or kind == "present_match":
        wanted = matcher.present_match if kind else True
        return ((value is not None) != matcher.invert_match) == wanted
    if value is None:
        if not matcher.treat_missing_header_as_empty:
            return False
        value = ""
    return _value_fits(matcher, kind, value) != matcher.invert_match


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
    return _COMPARE[kind.removesuffix("_match")](value, pattern)


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
    value: Any = metadata.get(matcher.filter)
    for segment in matcher.path:
        value = value.get(segment.key) if isinstance(value, Mapping) else None
    return _json_matches(matcher.value, value) != matcher.invert


def _json_matches(matcher: ValueMatcher, value: Any) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "null_match":
            return value is None
        case "present_match":
            return (value is not None) == matcher.present_match
        case "string_match":
            return isinstance(value, str) and string_matches(matcher.string_match, value)
        case "bool_match":
            return value is matcher.bool_match
        case "double_match":
            return _number_fits(matcher, value)
        case "list_match":
            items = value if isinstance(value, list) else []
            return any(_json_matches(matcher.list_match.one_of, each) for each in items)
        case "or_match":
            return any(_json_matches(each, value) for each in matcher.or_match.value_matchers)
    raise NotUnderstood("a matcher of metadata without a pattern")


def _number_fits(matcher: ValueMatcher, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if matcher.double_match.HasField("range"):
        wanted = matcher.double_match.range
        return bool(wanted.start <= value < wanted.end)
    return value == matcher.double_match.exact
