"""What is asked for, as RBAC permissions: one builder per field of a rule (pilot.md J4).

Values may be patterns (see `values`); a value that Envoy has nothing for raises `Unusable`.
"""

from collections.abc import Callable, Sequence
from typing import Final

from envoy.config.rbac.v3.rbac_pb2 import Permission
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.path.match.uri_template.v3.uri_template_match_pb2 import (
    UriTemplateMatchConfig,
)
from envoy.type.matcher.v3.path_pb2 import PathMatcher

from mast.common import path_templates
from mast.pilot.core.packing import typed_extension
from mast.pilot.core.security.authorization import metadata, values
from mast.pilot.core.security.authorization.logic import Logic
from mast.pilot.core.security.authorization.values import (
    ANY,
    Unusable,
    regex_matcher,
    string_matcher,
)

METHOD: Final = ":method"
AUTHORITY: Final = ":authority"

_URI_TEMPLATE: Final = "uri-template"


def anything() -> Permission:
    """Whatever is asked for."""
    return Permission(any=True)


def nothing() -> Permission:
    """Nothing that can be asked for."""
    return negated(anything())


def all_of(conditions: Sequence[Permission]) -> Permission:
    """What meets all conditions; anything if there are none."""
    if len(conditions) == 1:
        return conditions[0]
    return Permission(and_rules=Permission.Set(rules=conditions)) if conditions else anything()


def any_of(conditions: Sequence[Permission]) -> Permission:
    """What meets one of the conditions; nothing if there are none."""
    if len(conditions) == 1:
        return conditions[0]
    return Permission(or_rules=Permission.Set(rules=conditions)) if conditions else nothing()


def negated(condition: Permission) -> Permission:
    """What does not meet the condition."""
    return Permission(not_rule=condition)


LOGIC: Final = Logic(anything, all_of, any_of, negated)


def method(pattern: str) -> Permission:
    """An HTTP method."""
    return header(METHOD, pattern)


def host(pattern: str) -> Permission:
    """An authority, in any case."""
    return Permission(header=header_matcher(AUTHORITY, pattern, ignore_case=True))


def path(pattern: str) -> Permission:
    """A path without its query: a pattern or a template with `{*}` and `{**}`."""
    if not path_templates.is_template(pattern):
        return Permission(url_path=PathMatcher(path=string_matcher(pattern)))
    config = UriTemplateMatchConfig(path_template=_template(pattern, path_templates.uri_template))
    return Permission(uri_template=typed_extension(_URI_TEMPLATE, config))


def path_of_any_characters(pattern: str) -> Permission:
    """As `path`; a template covers characters, too, that Envoy's operators do not, as `|`.

    Differs from Istio: there a rule that denies `/admin/{*}` lets `/admin/a|` pass.
    """
    if not path_templates.is_template(pattern):
        return path(pattern)
    return any_of([path(pattern), path_by_regex(pattern)])


def path_by_regex(pattern: str) -> Permission:
    """As `path`, for proxies that know no templates (gRPC)."""
    if not path_templates.is_template(pattern):
        return path(pattern)
    matcher = regex_matcher(_template(pattern, path_templates.regex))
    return Permission(url_path=PathMatcher(path=matcher))


def header(name: str, pattern: str) -> Permission:
    """A request header."""
    return Permission(header=header_matcher(name, pattern))


def destination_ip(cidr: str) -> Permission:
    """The address that was dialled."""
    return Permission(destination_ip=values.cidr_range(cidr))


def destination_port(port: str) -> Permission:
    """The port that was dialled, of the workload; as text."""
    return Permission(destination_port=values.port_number(port))


def server_name(pattern: str) -> Permission:
    """The server name (SNI) that a client asked for."""
    return Permission(requested_server_name=string_matcher(pattern))


def filter_metadata(namespace: str, keys: Sequence[str], pattern: str) -> Permission:
    """What another filter found out; a value `[v]` is one of a list."""
    if pattern.startswith("[") and pattern.endswith("]"):
        value = metadata.item(string_matcher(pattern[1:-1]))
    else:
        value = metadata.text(string_matcher(pattern))
    return Permission(sourced_metadata=metadata.sourced(namespace, keys, value))


def header_matcher(name: str, pattern: str, *, ignore_case: bool = False) -> HeaderMatcher:
    """A header whose value matches; `*`: that is there."""
    if pattern == ANY:
        return HeaderMatcher(name=name, present_match=True)
    return HeaderMatcher(name=name, string_match=string_matcher(pattern, ignore_case=ignore_case))


def _template(path: str, form: Callable[[str], str]) -> str:
    try:
        return form(path)
    except ValueError as error:
        raise Unusable(str(error)) from error
