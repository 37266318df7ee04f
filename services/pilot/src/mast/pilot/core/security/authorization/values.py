"""Values of rules as matchers: `*` is anything that is there, `a*`, `*a`, else exact (pilot.md J4).

What Envoy would refuse, or crash over, raises `Unusable` instead of becoming a matcher.
"""

import re
from typing import Final

from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from mast.pilot.core import cidrs

ANY: Final = "*"
"""A value that is there, whatever it is."""

HIGHEST_PORT: Final = 65535

_SOMETHING: Final = ".+"


class Unusable(ValueError):
    """A value that no matcher of Envoy stands for; the message says why."""


def string_matcher(pattern: str, *, before: str = "", ignore_case: bool = False) -> StringMatcher:
    """Texts that match a pattern, with a text `before` all of it."""
    if pattern == ANY:
        return regex_matcher(re.escape(before) + _SOMETHING)
    if pattern.startswith(ANY):
        if before:
            return regex_matcher(f"{re.escape(before)}.*{re.escape(pattern[1:])}")
        return StringMatcher(suffix=pattern[1:], ignore_case=ignore_case)
    if pattern.endswith(ANY):
        return StringMatcher(prefix=before + pattern[:-1], ignore_case=ignore_case)
    return StringMatcher(exact=before + pattern, ignore_case=ignore_case)


def regex_matcher(regex: str) -> StringMatcher:
    """Texts that an RE2 expression matches as a whole."""
    return StringMatcher(safe_regex=RegexMatcher(regex=regex))


def cidr_range(text: str) -> CidrRange:
    """An address, or a network such as 10.0.0.0/8; raises `Unusable`."""
    try:
        found = cidrs.cidr_range(text)
    except ValueError as error:
        raise Unusable(f"{text!r} is not an IP address or CIDR block") from error
    if "%" in text:
        raise Unusable(f"{text!r} has a zone, which means nothing elsewhere")
    return found


def port_number(text: str) -> int:
    """A port; raises `Unusable`."""
    if text.isascii() and text.isdecimal() and int(text) <= HIGHEST_PORT:
        return int(text)
    raise Unusable(f"{text!r} is not a port; allowed: 0 to {HIGHEST_PORT}")
