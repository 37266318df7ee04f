"""On which paths tokens are looked at: `triggerRules` of origins (pilot.md J8).

Envoy's jwt_authn tells paths apart by single conditions, one after the other; a trigger rule has
several that hold together. So a filter before it finds out which origins a path concerns, and
writes that down as one word: a digit for each different list of trigger rules.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from string import ascii_letters, digits
from typing import Final

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import FilterStateRule, JwtRequirement
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)

from istio.authentication.v1alpha1.policy_pb2 import Jwt, StringMatch
from mast.pilot.core.packing import packed

TRIGGERS_FILTER: Final = "mast.triggers"
STATE: Final = "mast.triggers"
"""Names of the filter, and of what it writes down."""

_FACTORY: Final = "envoy.string"
_PATH: Final = "request.url_path"
_PLAIN: Final = frozenset(ascii_letters + digits + "/_.~-")
_NOT_FOUND_OUT: Final = ("", "-")
"""What is written down of a request without a path."""

Rules = tuple[bytes, ...]


def differ(origins: Sequence[Jwt]) -> bool:
    """Whether there are paths that do not concern all of the origins."""
    return any(each.trigger_rules for each in origins)


def triggers_filter(origins: Sequence[Jwt]) -> HttpFilter:
    """The filter that finds out which origins the path of a request concerns."""
    expression = _word([_any_rule(each) for each in _lists(origins).values()])
    value = FilterStateValue(
        object_key=STATE,
        factory_key=_FACTORY,
        format_string=SubstitutionFormatString(
            text_format_source=DataSource(inline_string=f"%CEL({expression})%")
        ),
    )
    return HttpFilter(name=TRIGGERS_FILTER, typed_config=packed(Config(on_request_headers=[value])))


def demands_by_path(
    origins: Sequence[Jwt], demand: Callable[[Sequence[int]], JwtRequirement]
) -> FilterStateRule:
    """What is demanded of requests, given what is of those that concern some of the origins.

    `demand` is asked with the places of origins. What concerns none passes. Requests of which
    nothing could be found out concern all.
    """
    lists = list(_lists(origins))
    every = list(range(len(origins)))
    result = FilterStateRule(name=STATE)
    for bits in product("01", repeat=len(lists)):
        triggered = {key for key, bit in zip(lists, bits, strict=True) if bit == "1"}
        found = [
            place
            for place in every
            if not origins[place].trigger_rules or _rules(origins[place]) in triggered
        ]
        if found:
            result.requires["".join(bits)].CopyFrom(demand(found))
    for each in _NOT_FOUND_OUT:
        result.requires[each].CopyFrom(demand(every))
    return result


def _lists(origins: Sequence[Jwt]) -> Mapping[Rules, Jwt]:
    """The different lists of trigger rules, each with an origin that has it."""
    return {_rules(each): each for each in origins if each.trigger_rules}


def _rules(origin: Jwt) -> Rules:
    return tuple(each.SerializeToString(deterministic=True) for each in origin.trigger_rules)


def _word(conditions: Sequence[str], before: str = "") -> str:
    """An expression for a word with a digit for each condition."""
    if not conditions:
        return f"'{before}'"
    first, *rest = conditions
    return f"({first}) ? ({_word(rest, before + '1')}) : ({_word(rest, before + '0')})"


def _any_rule(origin: Jwt) -> str:
    return " || ".join(f"({_rule(each)})" for each in origin.trigger_rules)


def _rule(rule: Jwt.TriggerRule) -> str:
    """None of the excluded paths, and one of the included ones if there are any."""
    parts = [f"!({_path(each)})" for each in rule.excluded_paths]
    if rule.included_paths:
        parts.append("(" + " || ".join(_path(each) for each in rule.included_paths) + ")")
    return " && ".join(parts) or "true"


def _path(match: StringMatch) -> str:
    """Paths are compared without their query; regular expressions fit a path as a whole."""
    match match.WhichOneof("match_type"):
        case "prefix":
            return f"{_PATH}.startsWith({_literal(match.prefix)})"
        case "suffix":
            return f"{_PATH}.endsWith({_literal(match.suffix)})"
        case "regex":
            return f"{_PATH}.matches({_literal(f'^(?:{match.regex})$')})"
        case _:
            return f"{_PATH} == {_literal(match.exact)}"


def _literal(text: str) -> str:
    """A text in CEL; none of its signs means anything to Envoy's formats."""
    return "'" + "".join(each if each in _PLAIN else _escaped(each) for each in text) + "'"


def _escaped(sign: str) -> str:
    code = ord(sign)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
