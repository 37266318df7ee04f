"""Reports of TCP connections: deltas of bytes, and openings held until the check is known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from envoy.data.accesslog.v3.accesslog_pb2 import (
    AccessLogCommon,
    AccessLogType,
    TCPAccessLogEntry,
)

from mast.mixer.core.envoy_attributes import INBOUND, Registry
from mast.mixer.core.envoy_connections import shared_attributes
from mast.mixer.core.envoy_metadata import put_error, put_rbac
from mast.mixer.core.envoy_reports import Stream
from mast.mixer.core.values import NANOS, Duration, Timestamp, Value

CHECKED_TAG = "checked"
_VERDICT = "envoy.filters.network.ext_authz"

IDLE = timedelta(minutes=5)
"""A connection without news for so long is forgotten; Envoy reports every 10 s (K6)."""

FLOWS = 100_000
"""Most connections remembered; the one heard of longest ago goes first."""


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
        self._flows: OrderedDict[tuple[str, str], Flow] = OrderedDict()

    def __len__(self) -> int:
        return len(self._flows)

    def attributes(
        self, entry: TCPAccessLogEntry, stream: Stream, registry: Registry, now: datetime
    ) -> Iterator[dict[str, Value]]:
        """The reports that an entry makes: none, one, or the held opening and one (K3, K6)."""
        common = entry.common_properties
        kind = common.access_log_type
        found = _attributes(entry, stream, registry, now)
        received = entry.connection_properties.received_bytes
        sent = entry.connection_properties.sent_bytes
        key = (stream.node_id, common.stream_id)
        if kind == AccessLogType.TcpUpstreamConnected:
            flow = Flow(received, sent, now)
            found["connection.event"] = "open"
            _put_bytes(found, received, sent, None)
            self._keep(key, flow)
            if common.custom_tags.get(CHECKED_TAG) == "true":
                flow.opening = found
            else:
                yield found
            return
        denied = common.response_flags.HasField("unauthorized_details")
        flow_before = self._flows.pop(key, None)
        if flow_before is not None and flow_before.opening is not None and not denied:
            yield flow_before.opening
        if denied and flow_before is not None and flow_before.opening is not None:
            # The opening was never told, so its bytes were not either.
            flow_before = None
        _put_bytes(found, received, sent, flow_before)
        if kind == AccessLogType.TcpPeriodic:
            found["connection.event"] = "continue"
            self._keep(key, Flow(received, sent, now))
        else:
            found["connection.event"] = "close"
            found["connection.duration"] = Duration(_nanoseconds(common))
            _put_check(found, common)
        yield found

    def expire(self, now: datetime) -> int:
        """Forget connections without news for :data:`IDLE`; how many there were."""
        count = 0
        while self._flows:
            key, oldest = next(iter(self._flows.items()))
            if now - oldest.heard < IDLE:
                break
            del self._flows[key]
            count += 1
        return count

    def _keep(self, key: tuple[str, str], flow: Flow) -> None:
        self._flows[key] = flow
        self._flows.move_to_end(key)
        while len(self._flows) > self._limit:
            self._flows.popitem(last=False)


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
    start = common.start_time.seconds * NANOS + common.start_time.nanos
    length = _nanoseconds(common)
    found["context.time"] = Timestamp(start + length) if length else Timestamp.of(now)
    put_rbac(found, common.metadata.filter_metadata)
    return found


def _nanoseconds(common: AccessLogCommon) -> int:
    return common.duration.seconds * NANOS + common.duration.nanos


def _put_passing(found: dict[str, Value], cluster: str) -> None:
    """What passes through or is refused has the cluster's name as name and host (C.5)."""
    if cluster in {"PassthroughCluster", "BlackHoleCluster"}:
        found["destination.service.name"] = found["destination.service.host"] = cluster


def _put_bytes(found: dict[str, Value], received: int, sent: int, before: Flow | None) -> None:
    found["connection.received.bytes_total"] = received
    found["connection.sent.bytes_total"] = sent
    found["connection.received.bytes"] = max(0, received - (before.received if before else 0))
    found["connection.sent.bytes"] = max(0, sent - (before.sent if before else 0))


def _put_check(found: dict[str, Value], common: AccessLogCommon) -> None:
    metadata = common.metadata.filter_metadata
    if _VERDICT in metadata:
        put_error(found, metadata[_VERDICT].fields)
