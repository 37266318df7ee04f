"""Envoy's matchers of strings and of values inside metadata (Envoy v3 API, "type/matcher")."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import re2  # type: ignore[import-untyped]
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.number_pb2 import DoubleMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.struct_pb2 import StructMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher


class NotUnderstood(ValueError):
    """Configuration uses something whose outcome cannot be told; says what."""


def string_matches(matcher: StringMatcher, text: str) -> bool:
    """Whether a text fits; regular expressions are RE2 and have to match all of it.

    Raises NotUnderstood.
    """
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        return regex_matches(matcher.safe_regex.regex, text)
    if kind is None or kind not in COMPARISONS:
        allowed = ", ".join((*COMPARISONS, "safe_regex"))
        raise NotUnderstood(f"a string matcher of kind {kind or 'nothing'}, not {allowed}")
    pattern: str = getattr(matcher, kind)
    if matcher.ignore_case:
        pattern, text = pattern.lower(), text.lower()
    return COMPARISONS[kind](text, pattern)


COMPARISONS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "exact": lambda text, pattern: text == pattern,
    "prefix": lambda text, pattern: text.startswith(pattern),
    "suffix": lambda text, pattern: text.endswith(pattern),
    "contains": lambda text, pattern: pattern in text,
}
"""How a text and a pattern are compared, by the name of the matcher's field."""


def regex_matches(regex: str, text: str) -> bool:
    """Whether a regular expression of RE2 matches the whole text; raises NotUnderstood."""
    try:
        return re2.fullmatch(regex, text) is not None
    except re2.error as error:
        raise NotUnderstood(f"the regular expression {regex!r}: {error}") from error


Segments = Iterable[MetadataMatcher.PathSegment] | Iterable[StructMatcher.PathSegment]


def value_at(content: Mapping[str, Any], path: Segments) -> Any:
    """The value inside JSON where a path leads; None if it leads nowhere."""
    value: Any = content
    for segment in path:
        value = value.get(segment.key) if isinstance(value, Mapping) else None
    return value


def value_matches(matcher: ValueMatcher, value: Any) -> bool:
    """Whether a value of JSON fits; None is one that is not there. Raises NotUnderstood."""
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
            return _number_matches(matcher.double_match, value)
        case "list_match":
            wanted = matcher.list_match.one_of
            return isinstance(value, list) and any(value_matches(wanted, each) for each in value)
        case "or_match":
            return any(value_matches(each, value) for each in matcher.or_match.value_matchers)
        case _:
            allowed = ", ".join(each.name for each in ValueMatcher.DESCRIPTOR.fields)
            raise NotUnderstood(f"a matcher of values of kind nothing, not {allowed}")


def _number_matches(matcher: DoubleMatcher, value: Any) -> bool:
    """A number, exactly or in a range without its end."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if matcher.HasField("range"):
        return matcher.range.start <= value < matcher.range.end
    return value == matcher.exact
