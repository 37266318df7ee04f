"""On which paths tokens are looked at: `triggerRules` of origins (pilot.md J8).

Envoy's jwt_authn tells paths apart by single conditions, one after the other; a trigger rule has
several that hold together. RBAC has all of them. So a filter whose rules decide nothing finds out
which origins a path concerns: it names the one policy that fits, a word with a sign for each
different list of trigger rules. Another filter hands the word on to jwt_authn.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Final

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.config.rbac.v3.rbac_pb2 import RBAC, Permission, Policy
from envoy.extensions.filters.common.set_filter_state.v3.value_pb2 import FilterStateValue
from envoy.extensions.filters.http.jwt_authn.v3.config_pb2 import FilterStateRule, JwtRequirement
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC as HttpRbac
from envoy.extensions.filters.http.set_filter_state.v3.set_filter_state_pb2 import Config
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpFilter,
)
from envoy.type.matcher.v3.path_pb2 import PathMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from istio.authentication.v1alpha1.policy_pb2 import Jwt, StringMatch
from mast.pilot.core.packing import packed
from mast.pilot.core.security.authorization import permissions, principals
from mast.pilot.core.security.authorization.rbac import HTTP_RBAC
from mast.pilot.core.security.authorization.values import regex_matcher

TRIGGERS_FILTER: Final = "mast.triggers"
STATE: Final = "mast.triggers"
"""Names of the filter that hands the word on, and of the state that has it."""

_PREFIX: Final = "mast_triggers_"
_FOUND: Final = f"%DYNAMIC_METADATA({HTTP_RBAC}:{_PREFIX}shadow_effective_policy_id)%"
_FACTORY: Final = "envoy.string"
_YES: Final = "1"
_NO: Final = "0"
_UNKNOWN: Final = "-"
"""What Envoy writes if there is no word. Some policy fits every request; to be on the safe side
such a request concerns all origins."""

_Rules = tuple[bytes, ...]


def differ(origins: Sequence[Jwt]) -> bool:
    """Whether there are paths that do not concern all of the origins."""
    return any(each.trigger_rules for each in origins)


def triggers_filters(origins: Sequence[Jwt]) -> Sequence[HttpFilter]:
    """The filters that find out which origins the path of a request concerns."""
    rules = RBAC(action=RBAC.ALLOW)
    conditions = [concerned(each) for each in _lists(origins).values()]
    for word in _words(len(conditions)):
        asked = [
            each if sign == _YES else permissions.negated(each)
            for sign, each in zip(word, conditions, strict=True)
        ]
        rules.policies[word].CopyFrom(
            Policy(permissions=[permissions.all_of(asked)], principals=[principals.anything()])
        )
    looking = HttpRbac(shadow_rules=rules, shadow_rules_stat_prefix=_PREFIX)
    value = FilterStateValue(
        object_key=STATE,
        factory_key=_FACTORY,
        format_string=SubstitutionFormatString(text_format_source=DataSource(inline_string=_FOUND)),
    )
    return [
        HttpFilter(name=HTTP_RBAC, typed_config=packed(looking)),
        HttpFilter(name=TRIGGERS_FILTER, typed_config=packed(Config(on_request_headers=[value]))),
    ]


def demands_by_path(
    origins: Sequence[Jwt], demand: Callable[[Sequence[int]], JwtRequirement]
) -> FilterStateRule:
    """What is demanded of requests, given what is of those that concern some of the origins.

    `demand` is asked with the places of origins. What concerns none passes.
    """
    lists = list(_lists(origins))
    result = FilterStateRule(name=STATE)
    for word in _words(len(lists)):
        out = {key for key, sign in zip(lists, word, strict=True) if sign == _NO}
        found = [place for place, each in enumerate(origins) if _rules(each) not in out]
        if found:
            result.requires[word].CopyFrom(demand(found))
    result.requires[_UNKNOWN].CopyFrom(demand(range(len(origins))))
    return result


def _words(length: int) -> Iterator[str]:
    for signs in product((_YES, _NO), repeat=length):
        yield "".join(signs)


def _lists(origins: Sequence[Jwt]) -> Mapping[_Rules, Jwt]:
    """The different lists of trigger rules, each with an origin that has it."""
    return {_rules(each): each for each in origins if each.trigger_rules}


def _rules(origin: Jwt) -> _Rules:
    return tuple(each.SerializeToString(deterministic=True) for each in origin.trigger_rules)


def concerned(origin: Jwt) -> Permission:
    """The paths that an origin is about; all if it has no trigger rules."""
    if not origin.trigger_rules:
        return permissions.anything()
    return permissions.any_of([_rule(each) for each in origin.trigger_rules])


def _rule(rule: Jwt.TriggerRule) -> Permission:
    """None of the excluded paths, and one of the included ones if there are any."""
    parts = [permissions.negated(_path(each)) for each in rule.excluded_paths]
    if rule.included_paths:
        parts.append(permissions.any_of([_path(each) for each in rule.included_paths]))
    return permissions.all_of(parts)


def _path(match: StringMatch) -> Permission:
    """Paths are compared without their query; regular expressions fit a path as a whole."""
    return Permission(url_path=PathMatcher(path=_matcher(match)))


def _matcher(match: StringMatch) -> StringMatcher:
    match match.WhichOneof("match_type"):
        case "prefix":
            return StringMatcher(prefix=match.prefix)
        case "suffix":
            return StringMatcher(suffix=match.suffix)
        case "regex":
            return regex_matcher(match.regex)
        case _:
            return StringMatcher(exact=match.exact)
