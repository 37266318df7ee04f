"""What a role allows, as RBAC permissions (Istio AccessRule, pilot.md J7).

Constraints on the destination are decided here; Envoy sees only what differs from request to
request. A rule with a part that the carrier cannot judge, or that nothing stands for, allows
nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from envoy.config.rbac.v3.rbac_pb2 import Permission
from envoy.type.matcher.v3.path_pb2 import PathMatcher

from istio.rbac.v1alpha1.rbac_pb2 import AccessRule
from mast.pilot.core.security.authorization import permissions
from mast.pilot.core.security.authorization.rules import Carrier, is_seen
from mast.pilot.core.security.authorization.values import Unusable, string_matcher
from mast.pilot.core.security.legacy.destinations import Destination, fits_any, is_named

_Render = Callable[[str], Permission]

_DESTINATION: Final = "destination."
_LABELS: Final = "destination.labels"
_HEADERS: Final = "request.headers"
_EXPERIMENTAL: Final = "experimental."
_SERVER_NAME: Final = "connection.sni"
_KEYED: Final = re.compile(r"([^\[\]]+)\[([^\[\]]+)\]")

_OF_CONNECTIONS: Final[Mapping[str, _Render]] = {
    "destination.ip": permissions.destination_ip,
    "destination.port": permissions.destination_port,
    _SERVER_NAME: permissions.server_name,
}


def path(pattern: str) -> Permission:
    """A path without its query; braces mean themselves, there were no templates."""
    return Permission(url_path=PathMatcher(path=string_matcher(pattern)))


_REQUEST_FIELDS: Final[Mapping[str, _Render]] = {
    "hosts": permissions.host,
    "methods": permissions.method,
    "paths": path,
}


def permission(
    rule: AccessRule, namespace: str, destination: Destination, domain: str, carrier: Carrier
) -> Permission | None:
    """What a rule of a role in `namespace` allows of a destination, None if nothing.

    `domain` is the DNS suffix of the mesh.
    """
    named = any(is_named(each, destination.host, namespace, domain) for each in rule.services)
    if not named or not _is_met(rule, destination):
        return None
    try:
        return permissions.all_of(list(_conditions(rule, carrier)))
    except Unusable:
        return None


def _is_met(rule: AccessRule, destination: Destination) -> bool:
    """Whether the destination is as constraints want it."""
    for each in rule.constraints:
        if _is_of_destination(each.key):
            known = _of_destination(each.key, destination)
            if known is None or not fits_any(each.values, known):
                return False
    return True


def _is_of_destination(key: str) -> bool:
    return key.startswith(_DESTINATION) and key not in _OF_CONNECTIONS


def _of_destination(key: str, destination: Destination) -> str | None:
    name, inner = _parsed(key)
    if name == _LABELS:
        return destination.labels.get(inner)
    known = {
        "destination.name": destination.name,
        "destination.namespace": destination.namespace,
        "destination.user": destination.user,
    }
    return known.get(key) or None


def _conditions(rule: AccessRule, carrier: Carrier) -> Iterator[Permission]:
    for name, render in _REQUEST_FIELDS.items():
        wanted, unwanted = getattr(rule, name), getattr(rule, f"not_{name}")
        if (wanted or unwanted) and carrier is Carrier.TCP:
            raise Unusable(f"{name} means nothing to {carrier}")
        yield from _listed(wanted, unwanted, render)
    ports, not_ports = map(str, rule.ports), map(str, rule.not_ports)
    yield from _listed(list(ports), list(not_ports), permissions.destination_port)
    for each in rule.constraints:
        if not _is_of_destination(each.key):
            render = _constraint(each.key, carrier)
            yield permissions.any_of([render(value) for value in each.values])


def _listed(
    wanted: Sequence[str], unwanted: Sequence[str], render: _Render
) -> Iterator[Permission]:
    if wanted:
        yield permissions.any_of([render(each) for each in wanted])
    if unwanted:
        yield permissions.negated(permissions.any_of([render(each) for each in unwanted]))


def _constraint(key: str, carrier: Carrier) -> _Render:
    if key in _OF_CONNECTIONS and not (carrier is Carrier.GRPC and key == _SERVER_NAME):
        return _OF_CONNECTIONS[key]
    name, inner = _parsed(key)
    if name == _HEADERS and inner and carrier is not Carrier.TCP:
        return _header(inner.lower(), carrier)
    if name.startswith(_EXPERIMENTAL) and inner and carrier is not Carrier.GRPC:
        return partial(permissions.filter_metadata, name.removeprefix(_EXPERIMENTAL), [inner])
    raise Unusable(f"{key!r} is no constraint that means anything to {carrier}")


def _header(name: str, carrier: Carrier) -> _Render:
    if not is_seen(name, carrier):
        raise Unusable(f"{name!r} means nothing to {carrier}")
    return partial(permissions.header, name)


def _parsed(key: str) -> tuple[str, str]:
    """`A[B]` as A and B; a text of another form has no B."""
    found = _KEYED.fullmatch(key)
    return (found[1], found[2]) if found else (key, "")
