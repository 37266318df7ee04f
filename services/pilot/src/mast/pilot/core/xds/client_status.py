"""What proxies were told, as the client status discovery service tells it (pilot.md B28)."""

from collections.abc import Iterable
from typing import Any, Final

import re2  # type: ignore[import-untyped]
from envoy.config.core.v3.base_pb2 import Node
from envoy.service.status.v3.csds_pb2 import ClientConfig, ConfigStatus
from envoy.type.matcher.v3.node_pb2 import NodeMatcher
from envoy.type.matcher.v3.number_pb2 import DoubleMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.struct_pb2 import StructMatcher
from envoy.type.matcher.v3.value_pb2 import ValueMatcher
from google.protobuf.timestamp_pb2 import Timestamp

from mast.common.spiffe import SpiffeId
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.xds.redaction import redact
from mast.pilot.core.xds.report import Stream
from mast.pilot.core.xds.resources import CDS, ECDS, EDS, LDS, RDS, SDS
from mast.pilot.core.xds.session import Session
from mast.pilot.core.xds.watch import SyncState, Watch

SYNC_TYPES: Final = (CDS, LDS, RDS, EDS, ECDS)
"""Types that every proxy is expected to follow."""

_STATES: Final = {
    SyncState.NOT_SENT: ConfigStatus.NOT_SENT,
    SyncState.SYNCED: ConfigStatus.SYNCED,
    SyncState.STALE: ConfigStatus.STALE,
    SyncState.ERROR: ConfigStatus.ERROR,
}


class InvalidMatcher(ValueError):
    """A node matcher uses something that is not understood; says what."""


def visible(proxy: Proxy, identity: SpiffeId, system_namespace: str) -> bool:
    """Whether an identity may look at a proxy: its namespace's, the system namespace at all."""
    return identity.namespace in (system_namespace, proxy.namespace)


def sync_status(stream: Stream, session: Session) -> ClientConfig:
    """How far a proxy is, by type, as `istio.io/debug/syncz` tells it (pilot.md B28).

    The node has the proxy's short id, cluster and version: all that operators' tools show.
    """
    proxy = stream.proxy
    made = ClientConfig(node=Node(id=proxy.id, cluster=proxy.cluster))
    for key in ("CLUSTER_ID", "ISTIO_VERSION", "NAMESPACE"):
        if text := proxy.text(key):
            made.node.metadata.update({key: text})
    for url in dict.fromkeys((*SYNC_TYPES, *session.watches)):
        watch = session.watches.get(url)
        entry = made.generic_xds_configs.add(type_url=url)
        entry.config_status = _STATES[SyncState.NOT_SENT if watch is None else watch.state]
        if watch is None:
            continue
        entry.version_info = watch.acked_version
        if watch.sent_at is not None:
            entry.last_updated.CopyFrom(_timestamp(stream, watch))
        if watch.error:
            entry.error_state.details = watch.error
    return made


def client_config(stream: Stream, session: Session, *, contents: bool) -> ClientConfig:
    """All resources a proxy should have; the state of a type is that of each of its resources.

    Without `contents` only their names and versions. A secret never has any, and what is secret
    in others is redacted.
    """
    made = ClientConfig(node=Node(id=stream.proxy.node_id, cluster=stream.proxy.cluster))
    for url, watch in session.watches.items():
        for each in session.resources(url):
            entry = made.generic_xds_configs.add(
                type_url=url,
                name=each.name,
                version_info=each.version,
                config_status=_STATES[watch.state],
            )
            if watch.sent_at is not None:
                entry.last_updated.CopyFrom(_timestamp(stream, watch))
            if watch.trial.refuses(each):
                entry.error_state.details = watch.trial.refused[each.name].reason
                entry.error_state.version_info = each.version
            if contents and url != SDS:
                entry.xds_config.type_url = each.type_url
                entry.xds_config.value = each.body
                redact(entry.xds_config)
    return made


def _timestamp(stream: Stream, watch: Watch) -> Timestamp:
    made = Timestamp()
    if watch.sent_at is not None:
        made.FromDatetime(stream.wall(watch.sent_at))
    return made


def matches(matchers: Iterable[NodeMatcher], proxy: Proxy) -> bool:
    """Whether one of the matchers fits; none at all fits every proxy. Raises `InvalidMatcher`."""
    wanted = list(matchers)
    return not wanted or any(_node_matches(each, proxy) for each in wanted)


def _node_matches(matcher: NodeMatcher, proxy: Proxy) -> bool:
    by_id = not matcher.HasField("node_id") or _string_matches(matcher.node_id, proxy.node_id)
    return by_id and all(_struct_matches(each, proxy) for each in matcher.node_metadatas)


def _struct_matches(matcher: StructMatcher, proxy: Proxy) -> bool:
    value: Any = proxy.metadata
    for segment in matcher.path:
        value = value.get(segment.key) if hasattr(value, "get") else None
    return _value_matches(matcher.value, value)


def _value_matches(matcher: ValueMatcher, value: object) -> bool:
    match matcher.WhichOneof("match_pattern"):
        case "null_match":
            return value is None
        case "present_match":
            return (value is not None) == matcher.present_match
        case "string_match":
            return isinstance(value, str) and _string_matches(matcher.string_match, value)
        case "bool_match":
            return value is matcher.bool_match
        case "double_match":
            return _double_matches(matcher.double_match, value)
        case "list_match":
            wanted = matcher.list_match.one_of
            return isinstance(value, list) and any(_value_matches(wanted, each) for each in value)
        case "or_match":
            return any(_value_matches(each, value) for each in matcher.or_match.value_matchers)
        case _:
            raise InvalidMatcher(
                "node_metadatas.value: says nothing, want null_match, double_match,"
                " string_match, bool_match, present_match, list_match or or_match"
            )


def _double_matches(matcher: DoubleMatcher, value: object) -> bool:
    """A number, exactly or in a range without its end."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if matcher.WhichOneof("match_pattern") == "exact":
        return value == matcher.exact
    return matcher.range.start <= value < matcher.range.end


def _string_matches(matcher: StringMatcher, text: str) -> bool:
    kind = matcher.WhichOneof("match_pattern")
    if kind == "safe_regex":
        try:
            return re2.fullmatch(matcher.safe_regex.regex, text) is not None
        except re2.error as error:
            raise InvalidMatcher(f"safe_regex {matcher.safe_regex.regex!r}: {error}") from error
    if kind not in {"exact", "prefix", "suffix", "contains"}:
        raise InvalidMatcher(
            f"string matcher: {kind or 'nothing'} is not understood, want"
            " exact, prefix, suffix, contains or safe_regex"
        )
    pattern = getattr(matcher, kind)
    if matcher.ignore_case:
        pattern, text = pattern.lower(), text.lower()
    match kind:
        case "exact":
            return bool(pattern == text)
        case "prefix":
            return text.startswith(pattern)
        case "suffix":
            return text.endswith(pattern)
        case _:
            return pattern in text
