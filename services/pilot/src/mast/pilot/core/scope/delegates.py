"""Delegation between VirtualServices: routes of a root joined with those of its delegates."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product

from google.protobuf.message import Message

from istio.networking.v1alpha3.virtual_service_pb2 import (
    Headers,
    HTTPMatchRequest,
    HTTPRoute,
    StringMatch,
    VirtualService,
)

_INHERITED = ("rewrite", "timeout", "retries", "fault", "cors_policy")
_MATCH_STRINGS = ("uri", "scheme", "method", "authority")
_MATCH_SCALARS = ("port", "source_namespace", "stat_prefix")
_MATCH_MAPS = ("headers", "without_headers", "query_params")


class Contradiction(ValueError):
    """Two matches that no request can meet, or whose conjunction Envoy cannot express."""


def joined(
    routes: Iterable[HTTPRoute], delegates: Mapping[tuple[str, str], VirtualService]
) -> Iterator[HTTPRoute]:
    """The routes of a root with those of its delegates in place of the calls (pilot.md F5).

    Delegates are keyed by namespace and name. A route whose delegate is missing is left out, and
    so are routes of delegates that delegate once more.
    """
    for root in routes:
        if not root.HasField("delegate"):
            yield root
            continue
        delegate = delegates.get((root.delegate.namespace, root.delegate.name))
        for leaf in delegate.http if delegate else ():
            if leaf.HasField("delegate"):
                continue
            merged = _route(root, leaf)
            if merged.match or not (root.match or leaf.match):
                yield merged


def _route(root: HTTPRoute, leaf: HTTPRoute) -> HTTPRoute:
    """Fields of the delegate win, the root fills gaps, header operations are united."""
    result = HTTPRoute()
    result.CopyFrom(leaf)
    result.name = _name(root.name, leaf.name)
    del result.match[:]
    result.match.extend(_matches(root.match, leaf.match))
    for field in _INHERITED:
        _inherit(result, root, field)
    if not (leaf.HasField("mirror") or leaf.mirrors):
        for field in ("mirror", "mirror_percent", "mirror_percentage"):
            _inherit(result, root, field)
        result.mirrors.extend(root.mirrors)
    if root.HasField("headers"):
        _unite_headers(result.headers, root.headers)
    return result


def _inherit(result: Message, root: Message, field: str) -> None:
    if root.HasField(field) and not result.HasField(field):
        getattr(result, field).CopyFrom(getattr(root, field))


def _name(root: str, leaf: str) -> str:
    return "-".join(name for name in (root, leaf) if name)


def _unite_headers(result: Headers, root: Headers) -> None:
    for side in ("request", "response"):
        own, inherited = getattr(result, side), getattr(root, side)
        for field in ("set", "add"):
            values = getattr(own, field)
            for name, value in getattr(inherited, field).items():
                if name not in values:
                    values[name] = value
        own.remove.extend(name for name in inherited.remove if name not in own.remove)


def _matches(
    roots: Sequence[HTTPMatchRequest], leaves: Sequence[HTTPMatchRequest]
) -> Iterator[HTTPMatchRequest]:
    """Each match of the root and each of the delegate; a side without any matches everything."""
    if not roots or not leaves:
        yield from roots or leaves
        return
    for root, leaf in product(roots, leaves):
        with suppress(Contradiction):
            yield _match(root, leaf)


def _match(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> HTTPMatchRequest:
    """The conjunction of two matches; raises `Contradiction`."""
    result = HTTPMatchRequest()
    result.CopyFrom(leaf)
    result.name = _name(root.name, leaf.name)
    for field in _MATCH_STRINGS:
        _narrow(getattr(result, field), getattr(root, field))
    if root.HasField("uri"):
        if leaf.HasField("uri") and root.ignore_uri_case != leaf.ignore_uri_case:
            raise Contradiction("uri")
        result.ignore_uri_case = root.ignore_uri_case
    for field in _MATCH_SCALARS:
        _unite_scalar(result, root, field)
    for field in _MATCH_MAPS:
        _unite_strings(getattr(result, field), getattr(root, field))
    for name, value in root.source_labels.items():
        if result.source_labels.setdefault(name, value) != value:
            raise Contradiction("source_labels")
    _intersect_gateways(result, root)
    return result


def _unite_scalar(result: HTTPMatchRequest, root: HTTPMatchRequest, field: str) -> None:
    own, inherited = getattr(result, field), getattr(root, field)
    if own and inherited and own != inherited and field != "stat_prefix":
        raise Contradiction(field)
    setattr(result, field, own or inherited)


def _unite_strings(result: Mapping[str, StringMatch], root: Mapping[str, StringMatch]) -> None:
    for name, match in root.items():
        if name in result and result[name] != match:
            raise Contradiction(name)
        result[name].CopyFrom(match)


def _intersect_gateways(result: HTTPMatchRequest, root: HTTPMatchRequest) -> None:
    if not root.gateways:
        return
    both = [each for each in root.gateways if each in result.gateways or not result.gateways]
    if not both:
        raise Contradiction("gateways")
    result.gateways[:] = both


def _narrow(leaf: StringMatch, root: StringMatch) -> None:
    """Leave in `leaf` what both match: a prefix may be narrowed, all else must be equal."""
    if leaf == root or root.WhichOneof("match_type") is None:
        return
    if leaf.WhichOneof("match_type") is None:
        leaf.CopyFrom(root)
    elif root.WhichOneof("match_type") != "prefix" or not _within(leaf, root.prefix):
        raise Contradiction(f"{leaf} within {root}")


def _within(match: StringMatch, prefix: str) -> bool:
    kind = match.WhichOneof("match_type")
    return kind != "regex" and (match.exact or match.prefix).startswith(prefix)
