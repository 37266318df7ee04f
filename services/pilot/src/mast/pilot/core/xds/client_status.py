"""What proxies were told, as the client status discovery service tells it (pilot.md B28)."""

from collections.abc import Iterable
from typing import Final

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.status.v3.csds_pb2 import ClientConfig, ConfigStatus
from envoy.type.matcher.v3.node_pb2 import NodeMatcher
from envoy.type.matcher.v3.struct_pb2 import StructMatcher
from google.protobuf.timestamp_pb2 import Timestamp

from mast.common.envoy.matchers import string_matches, value_at, value_matches
from mast.common.identity.spiffe import SpiffeId
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
    """Whether one of the matchers fits; none at all fits every proxy. Raises `NotUnderstood`."""
    wanted = list(matchers)
    return not wanted or any(_node_matches(each, proxy) for each in wanted)


def _node_matches(matcher: NodeMatcher, proxy: Proxy) -> bool:
    by_id = not matcher.HasField("node_id") or string_matches(matcher.node_id, proxy.node_id)
    return by_id and all(_struct_matches(each, proxy) for each in matcher.node_metadatas)


def _struct_matches(matcher: StructMatcher, proxy: Proxy) -> bool:
    return value_matches(matcher.value, value_at(proxy.metadata, matcher.path))
