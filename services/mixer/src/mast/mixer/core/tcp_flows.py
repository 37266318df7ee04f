"""Reports of TCP connections: deltas of bytes, and openings held until the check is known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, KeysView
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from envoy.data.accesslog.v3.accesslog_pb2 import (
    AccessLogCommon,
    AccessLogType,
    TCPAccessLogEntry,
)
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage

from mast.mixer.core.envoy_attributes import INBOUND, Registry
from mast.mixer.core.envoy_connections import shared_attributes
from mast.mixer.core.envoy_metadata import put_error, put_rbac
from mast.mixer.core.envoy_reports import Stream
from mast.mixer.core.metric_overrides import put_overrides
from mast.mixer.core.values import NANOS, Duration, Timestamp, Value

CHECKED_TAG = "checked"
_VERDICT = "envoy.filters.network.ext_authz"

IDLE = timedelta(minutes=5)
"""A connection without news for so long is forgotten; Envoy reports every 10 s (K6)."""

INTERVAL = timedelta(seconds=10)
"""Between two reports of an open connection (C.5)."""

_FIRST_REPORT_NS = 1.5 * INTERVAL / timedelta(microseconds=1) * 1000

FLOWS = 100_000
"""Most connections remembered; the one heard of longest ago goes first."""


Entries: TypeAlias = StreamAccessLogsMessage.TCPAccessLogEntries
"""Of a batch; or of what is handed over, with number, start and bytes only."""

_Key: TypeAlias = tuple[str, str, int]


@dataclass(slots=True)
class Flow:
    """One open connection: bytes reported so far, and the opening if it is not reported yet."""

    received: int
    sent: int
    heard: datetime
    opening: dict[str, Value] | None = None


class Flows:
    """The connections of all proxies. One writer."""

    def __init__(self, limit: int = FLOWS) -> None:
        self._limit = limit
        self._flows: OrderedDict[_Key, Flow] = OrderedDict()
        self._nodes: dict[str, set[_Key]] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def attributes(
        self, entry: TCPAccessLogEntry, stream: Stream, registry: Registry, now: datetime
    ) -> Iterator[dict[str, Value]]:
        """The reports that an entry makes: none, one, or the held opening and one (K3, K6).

        Of a connection that goes on and has been reported before, to a Mixer that handed nothing
        over, bytes count from now on: that Mixer has counted the others, or they are lost with it.
        """
        common = entry.common_properties
        kind = common.access_log_type
        key = (stream.node_id, common.stream_id, _started(common))
        flow = self._take(key)
        opening = flow.opening if flow else None
        if kind == AccessLogType.TcpPeriodic and flow and opening and _undecided(entry):
            flow.heard = now
            self._keep(key, flow)
            return
        found = _attributes(entry, stream, registry, now)
        total = entry.connection_properties
        after = Flow(total.received_bytes, total.sent_bytes, now)
        if kind == AccessLogType.TcpUpstreamConnected:
            found["connection.event"] = "open"
            _put_bytes(found, after, None)
            self._keep(key, after)
            if common.custom_tags.get(CHECKED_TAG) == "true":
                after.opening = found
                return
        else:
            if opening:
                if common.response_flags.HasField("unauthorized_details"):
                    flow = None  # The opening is never told, so its bytes are not either.
                else:
                    yield opening
            if kind == AccessLogType.TcpPeriodic:
                if flow is None and _reported(common, now):
                    flow = after
                _put_bytes(found, after, flow)
                found["connection.event"] = "continue"
                self._keep(key, after)
            else:
                _put_bytes(found, after, flow)
                _put_end(found, common)
        yield found

    def expire(self, now: datetime) -> int:
        """Forget connections without news for :data:`IDLE`; how many there were."""
        count = 0
        while self._flows:
            key, oldest = next(iter(self._flows.items()))
            if now - oldest.heard < IDLE:
                break
            self._take(key)
            count += 1
        return count

    @property
    def nodes(self) -> KeysView[str]:
        """The proxies that have open connections."""
        return self._nodes.keys()

    def reported(self, node_id: str) -> Entries:
        """What has been reported of a proxy's open connections, for another Mixer to go on from."""
        found = Entries()
        for key in self._nodes.get(node_id, ()):
            _, number, started = key
            flow = self._flows[key]
            entry = found.log_entry.add()
            entry.common_properties.stream_id = number
            entry.common_properties.start_time.FromNanoseconds(started)
            if not flow.opening:
                entry.connection_properties.received_bytes = flow.received
                entry.connection_properties.sent_bytes = flow.sent
        return found

    def adopt(self, node_id: str, reported: Entries, now: datetime) -> None:
        """Go on from what another Mixer has reported, unless more is known already."""
        for entry in reported.log_entry:
            key = (node_id, entry.common_properties.stream_id, _started(entry.common_properties))
            total = entry.connection_properties
            flow = self._flows.get(key)
            if flow is None:
                self._keep(key, Flow(total.received_bytes, total.sent_bytes, now))
            else:
                flow.received = max(flow.received, total.received_bytes)
                flow.sent = max(flow.sent, total.sent_bytes)

    def _keep(self, key: _Key, flow: Flow) -> None:
        self._flows[key] = flow
        self._nodes.setdefault(key[0], set()).add(key)
        while len(self._flows) > self._limit:
            self._take(next(iter(self._flows)))

    def _take(self, key: _Key) -> Flow | None:
        flow = self._flows.pop(key, None)
        if flow is not None:
            keys = self._nodes[key[0]]
            keys.discard(key)
            if not keys:
                del self._nodes[key[0]]
        return flow


def _attributes(
    entry: TCPAccessLogEntry, stream: Stream, registry: Registry, now: datetime
) -> dict[str, Value]:
    common = entry.common_properties
    found = shared_attributes(common, stream.reporter, registry)
    if "origin.ip" in found:
        found["source.ip"] = found["origin.ip"]
    if stream.reporter.kind != INBOUND:
        _put_passing(found, common.upstream_cluster)
    found["context.protocol"] = "tcp"
    if common.stream_id:
        found["connection.id"] = common.stream_id
    length = _nanoseconds(common)
    found["context.time"] = Timestamp(_started(common) + length) if length else Timestamp.of(now)
    put_rbac(found, common.metadata.filter_metadata)
    put_overrides(found, common.custom_tags)
    return found


def _started(common: AccessLogCommon) -> int:
    return common.start_time.seconds * NANOS + common.start_time.nanos


def _nanoseconds(common: AccessLogCommon) -> int:
    return common.duration.seconds * NANOS + common.duration.nanos


def _put_passing(found: dict[str, Value], cluster: str) -> None:
    """What passes through or is refused has the cluster's name as name and host (C.5)."""
    if cluster in {"PassthroughCluster", "BlackHoleCluster"}:
        found["destination.service.name"] = found["destination.service.host"] = cluster


def _undecided(entry: TCPAccessLogEntry) -> bool:
    """Neither a verdict nor data, which is let through after the check only (K3)."""
    metadata = entry.common_properties.metadata.filter_metadata
    return _VERDICT not in metadata and not entry.connection_properties.received_bytes


def _reported(common: AccessLogCommon, now: datetime) -> bool:
    """Whether a connection that goes on is so old that this is not the first one hears of it."""
    started = _started(common)
    return bool(started) and Timestamp.of(now).ns - started > _FIRST_REPORT_NS


def _put_bytes(found: dict[str, Value], total: Flow, before: Flow | None) -> None:
    received, sent = (before.received, before.sent) if before else (0, 0)
    found["connection.received.bytes_total"] = total.received
    found["connection.sent.bytes_total"] = total.sent
    found["connection.received.bytes"] = max(0, total.received - received)
    found["connection.sent.bytes"] = max(0, total.sent - sent)


def _put_end(found: dict[str, Value], common: AccessLogCommon) -> None:
    found["connection.event"] = "close"
    found["connection.duration"] = Duration(_nanoseconds(common))
    metadata = common.metadata.filter_metadata
    if _VERDICT in metadata:
        put_error(found, metadata[_VERDICT].fields)
