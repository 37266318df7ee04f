"""Rules of Envoy's RBAC filters: what they look at, and which of them takes a request.

The semantics are Envoy's (v3 API, "config.rbac.v3.RBAC"): of a policy one permission and one
principal have to match, policies are tried in the order of their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import re2  # type: ignore[import-untyped]
from envoy.config.core.v3.address_pb2 import CidrRange
from envoy.config.rbac.v3.rbac_pb2 import (
    RBAC,
    MetadataSource,
    Permission,
    Policy,
    Principal,
    SourcedMetadata,
)
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import (
    UriTemplateMatchConfig,
)
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher

from mast.cli.explain.conditions import Condition, Every, Is, Not, Some, lacking
from mast.cli.explain.matchers import header_line_matches, metadata_matches
from mast.cli.explain.traffic import Connection, Request
from mast.common.envoy.matchers import NotUnderstood, string_matches, value_at
from mast.pilot.core.scope.matches import JWT_FILTER, JWT_PAYLOAD

NOTHING = "nothing"
"""How the absence of something is told."""

_SPIFFE = "spiffe://"
_ANYTHING = re.compile(r"\.[*+]")
_LITERAL = re.compile(r"(?:[\w/:@%~-]|\\\W)*")
_ESCAPE = re.compile(r"\\(?=\W)")

_SEGMENT = r"[^/\[\]]"
_SEGMENTS = r"[^\[\]]"


@dataclass(frozen=True)
class Arrival:
    """What rules look at: a connection, and the request on it unless it carries bytes.

    ``remote_address`` is who called first, as far as the proxy believes what it is told of that;
    ``left`` what filters before left, by filter.
    """

    connection: Connection
    request: Request | None = None
    remote_address: str = ""
    left: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tried:
    """A policy of a filter, and what a request lacked to match it; empty if it matched."""

    policy: str
    lacking: str


@dataclass(frozen=True)
class Ruling:
    """What the rules of one filter say: ``decided`` is the policy that did, empty if none did."""

    action: RBAC.Action.ValueType
    allowed: bool
    decided: str
    tried: Sequence[Tried]


def ruling(rules: RBAC, arrival: Arrival) -> Ruling:
    """What rules say about an arrival; raises NotUnderstood."""
    tried = [
        Tried(name, lacking(policy_condition(rules.policies[name], arrival)))
        for name in sorted(rules.policies)
    ]
    decided = next((each.policy for each in tried if not each.lacking), "")
    allowed = {RBAC.ALLOW: bool(decided), RBAC.DENY: not decided}.get(rules.action, True)
    return Ruling(rules.action, allowed, decided, tried)


def policy_condition(policy: Policy, arrival: Arrival) -> Condition:
    """What a policy asks for: who calls comes first, as people ask that first."""
    if policy.HasField("condition") or policy.HasField("checked_condition"):
        raise NotUnderstood("an RBAC policy with a condition in CEL")
    who = Some([_principal(each, arrival) for each in policy.principals])
    what = Some([_permission(each, arrival) for each in policy.permissions])
    return Every([_alone(who), _alone(what)])


def _alone(choice: Some) -> Condition:
    return choice.parts[0] if len(choice.parts) == 1 else choice


def _permission(rule: Permission, arrival: Arrival) -> Condition:
    connection = arrival.connection
    match rule.WhichOneof("rule"):
        case "and_rules":
            return Every([_permission(each, arrival) for each in rule.and_rules.rules])
        case "or_rules":
            return _alone(Some([_permission(each, arrival) for each in rule.or_rules.rules]))
        case "not_rule":
            return Not(_permission(rule.not_rule, arrival))
        case "any":
            return _anything(rule.any)
        case "header":
            return _header(rule.header, arrival)
        case "url_path":
            return _path(rule.url_path.path, arrival)
        case "uri_template":
            return _template(rule, arrival)
        case "destination_ip":
            return _address("destination address", rule.destination_ip, connection.address)
        case "destination_port":
            wanted = rule.destination_port
            return Is("port", str(connection.port), str(wanted), connection.port == wanted)
        case "destination_port_range":
            start, end = rule.destination_port_range.start, rule.destination_port_range.end
            inside = start <= connection.port < end
            return Is("port", str(connection.port), f"{start} to {end - 1}", inside)
        case "requested_server_name":
            return _text("server name", rule.requested_server_name, connection.server_name)
        case "metadata":
            return _metadata(rule.metadata, arrival)
        case "sourced_metadata":
            return _sourced(rule.sourced_metadata, arrival)
        case other:
            raise NotUnderstood(f"a permission of RBAC of kind {other or NOTHING}")


def _principal(principal: Principal, arrival: Arrival) -> Condition:
    dialled_from = arrival.connection.source_address
    match principal.WhichOneof("identifier"):
        case "and_ids":
            return Every([_principal(each, arrival) for each in principal.and_ids.ids])
        case "or_ids":
            return _alone(Some([_principal(each, arrival) for each in principal.or_ids.ids]))
        case "not_id":
            return Not(_principal(principal.not_id, arrival))
        case "any":
            return _anything(principal.any)
        case "authenticated":
            return _authenticated(principal.authenticated, arrival.connection)
        case "source_ip":
            return _address("source address", principal.source_ip, dialled_from)
        case "direct_remote_ip":
            return _address("source address", principal.direct_remote_ip, dialled_from)
        case "remote_ip":
            caller = arrival.remote_address or dialled_from
            return _address("remote address", principal.remote_ip, caller)
        case "header":
            return _header(principal.header, arrival)
        case "url_path":
            return _path(principal.url_path.path, arrival)
        case "metadata":
            return _metadata(principal.metadata, arrival)
        case "sourced_metadata":
            return _sourced(principal.sourced_metadata, arrival)
        case other:
            raise NotUnderstood(f"a principal of RBAC of kind {other or NOTHING}")


def _anything(wanted: bool) -> Condition:
    return Is("anything", "there", "there" if wanted else NOTHING, wanted)


def _text(what: str, matcher: StringMatcher, text: str) -> Condition:
    return Is(what, text or NOTHING, matcher_text(matcher), string_matches(matcher, text))


def _address(what: str, wanted: CidrRange, address: str) -> Condition:
    network = ip_network(f"{wanted.address_prefix}/{wanted.prefix_len.value}", strict=False)
    return Is(what, address, str(network), ip_address(address) in network)


def _authenticated(wanted: Principal.Authenticated, connection: Connection) -> Condition:
    names = connection.identities
    shown = ", ".join(each.removeprefix(_SPIFFE) for each in names) or "unknown"
    if not wanted.HasField("principal_name"):
        return Is("the caller", shown, "anybody with mutual TLS", bool(names))
    # Besides its URIs, the subject of a certificate counts, which is empty in the mesh.
    known = [*names, ""] if names else []
    fits = any(string_matches(wanted.principal_name, each) for each in known)
    text = matcher_text(wanted.principal_name).removeprefix(_SPIFFE)
    return Is("source principal", shown, text, fits)


def _header(matcher: HeaderMatcher, arrival: Arrival) -> Condition:
    what = {":method": "method", ":authority": "host"}.get(matcher.name, f"header {matcher.name}")
    found = arrival.request.header(matcher.name) if arrival.request else None
    kind = matcher.WhichOneof("header_match_specifier")
    wanted = matcher_text(matcher.string_match) if kind == "string_match" else "any value"
    return Is(what, found or NOTHING, wanted, header_line_matches(matcher, arrival.request))


def _path(matcher: StringMatcher, arrival: Arrival) -> Condition:
    if arrival.request is None:
        return Is("path", NOTHING, matcher_text(matcher), False)
    return _text("path", matcher, arrival.request.bare_path)


def _template(rule: Permission, arrival: Arrival) -> Condition:
    config = UriTemplateMatchConfig()
    if not rule.uri_template.typed_config.Unpack(config):
        raise NotUnderstood(f"a path matcher {rule.uri_template.name!r}")
    path = arrival.request.bare_path if arrival.request else ""
    return Is("path", path or NOTHING, config.path_template, template_fits(config, path))


def template_fits(config: UriTemplateMatchConfig, path: str) -> bool:
    """Whether a path is one of a template; raises NotUnderstood for variables (Envoy v3 API).

    ``*`` stands for the characters of one segment, at least one, ``**`` for any number of segments.
    """
    template = config.path_template
    if "{" in template:
        raise NotUnderstood(f"the path template {template!r} with variables")
    text, many = "", template.split("**")
    for place, part in enumerate(many):
        text += (f"{_SEGMENTS}*" if place else "") + f"{_SEGMENT}+".join(
            re2.escape(each) for each in part.split("*")
        )
    return re2.fullmatch(text, path) is not None


def _sourced(sourced: SourcedMetadata, arrival: Arrival) -> Condition:
    if sourced.metadata_source != MetadataSource.DYNAMIC:
        raise NotUnderstood("RBAC by metadata of routes")
    return _metadata(sourced.metadata_matcher, arrival)


def _metadata(matcher: MetadataMatcher, arrival: Arrival) -> Condition:
    value = value_at(arrival.left.get(matcher.filter, {}), matcher.path)
    shown = NOTHING if value is None else _shown(value)
    fits = metadata_matches(matcher, arrival.left)
    return Is(_named(matcher), shown, value_text(matcher.value), fits)


def _named(matcher: MetadataMatcher) -> str:
    path = [each.key for each in matcher.path]
    if (matcher.filter, path[:1]) == (JWT_FILTER, [JWT_PAYLOAD]):
        return f"claim {'.'.join(path[1:])}"
    return f"{matcher.filter} {'.'.join(path)}"


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def matcher_text(matcher: StringMatcher) -> str:
    """A string matcher as policies are written: with a star where anything may stand."""
    kind = matcher.WhichOneof("match_pattern")
    match kind:
        case "exact":
            return matcher.exact
        case "prefix":
            return f"{matcher.prefix}*"
        case "suffix":
            return f"*{matcher.suffix}"
        case "contains":
            return f"*{matcher.contains}*"
        case "safe_regex":
            return _regex_text(matcher.safe_regex.regex)
        case _:
            raise NotUnderstood(f"a string matcher of kind {kind or NOTHING}")


def _regex_text(regex: str) -> str:
    """A regular expression; with stars where there is nothing but literals between them."""
    literals = _ANYTHING.split(regex)
    if all(map(_LITERAL.fullmatch, literals)):
        return "*".join(_ESCAPE.sub("", each) for each in literals)
    return f"regex {regex}"


def value_text(matcher: ValueMatcher) -> str:
    """A matcher of metadata in words."""
    match matcher.WhichOneof("match_pattern"):
        case "string_match":
            return matcher_text(matcher.string_match)
        case "list_match":
            return value_text(matcher.list_match.one_of)
        case "or_match":
            return " or ".join(dict.fromkeys(map(value_text, matcher.or_match.value_matchers)))
        case "present_match":
            return "any value" if matcher.present_match else NOTHING
        case "bool_match":
            return str(matcher.bool_match).lower()
        case kind:
            raise NotUnderstood(f"RBAC by metadata of kind {kind or NOTHING}")
