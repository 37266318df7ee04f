"""What operators are told about a stream: the published status, and the pages of M1."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import ControlPlane
from google.protobuf.timestamp_pb2 import Timestamp

from mast.pilot.core.model.proxy import NEWEST, Proxy
from mast.pilot.core.xds.resources import CDS, ECDS, EDS, LDS, RDS, SHORT_NAMES
from mast.pilot.core.xds.session import Session
from mast.pilot.core.xds.watch import Instant, SyncState, Watch
from mastapi.status.v1.status_pb2 import ProxyStatus, TypeStatus

_STATES: Final = {
    SyncState.NOT_SENT: TypeStatus.NOT_SENT,
    SyncState.SYNCED: TypeStatus.SYNCED,
    SyncState.STALE: TypeStatus.STALE,
    SyncState.ERROR: TypeStatus.ERROR,
}

_SYNC_NAMES: Final = {
    CDS: "cluster",
    LDS: "listener",
    RDS: "route",
    EDS: "endpoint",
    ECDS: "extensionconfig",
}


@dataclass(frozen=True)
class Stream:
    """What is known of a connection beside its session; `wall` dates instants of its clock."""

    name: str
    proxy: Proxy
    connected_at: datetime
    address: str
    identity: str
    wall: Callable[[Instant], datetime]


@dataclass(frozen=True)
class Replica:
    """The Pilot that holds the connection."""

    name: str
    version: str


def control_plane(replica: Replica) -> bytes:
    """A serialised ControlPlane, which every response carries (pilot.md B22)."""
    identifier = {
        "Component": "pilot",
        "ID": replica.name,
        "Info": {"version": replica.version},
    }
    return ControlPlane(identifier=json.dumps(identifier)).SerializeToString()


def version_text(proxy: Proxy) -> str:
    """The version a proxy told, empty if it told none."""
    return "" if proxy.version == NEWEST else ".".join(map(str, proxy.version))


def proxy_status(stream: Stream, session: Session, replica: Replica) -> ProxyStatus:
    """What is published under `status/proxies/NODE-ID`."""
    proxy = stream.proxy
    return ProxyStatus(
        node_id=proxy.node_id,
        connection_id=stream.name,
        pilot=replica.name,
        pilot_version=replica.version,
        proxy_version=version_text(proxy),
        cluster=proxy.cluster_id,
        namespace=proxy.namespace,
        connected_at=_timestamp(stream.connected_at),
        address=stream.address,
        identity=stream.identity,
        types=[_type_status(watch, stream.wall) for watch in session.watches.values()],
    )


def _type_status(watch: Watch, wall: Callable[[Instant], datetime]) -> TypeStatus:
    made = TypeStatus(
        type_url=watch.type_url,
        state=_STATES[watch.state],
        sent_version=watch.sent_version,
        acked_version=watch.acked_version,
        resources=watch.resources,
        last_error=watch.error,
        rejections=watch.rejections,
    )
    for name, refusal in sorted(watch.trial.refused.items()):
        made.refused.add(
            name=name,
            version=refusal.version,
            reason=refusal.reason,
            by_another=refusal.by_another,
        )
    if watch.sent_at is not None:
        made.sent_at.CopyFrom(_timestamp(wall(watch.sent_at)))
    if watch.acked_at is not None:
        made.acked_at.CopyFrom(_timestamp(wall(watch.acked_at)))
    return made


def sync_row(stream: Stream, session: Session) -> Mapping[str, str]:
    """A row of `/debug/syncz`: nonces sent and acknowledged, by type (pilot.md M1)."""
    proxy = stream.proxy
    row = {
        "proxy": proxy.id,
        "proxy_type": str(proxy.type),
        "cluster_id": proxy.cluster_id,
        "istio_version": version_text(proxy),
    }
    for url, name in _SYNC_NAMES.items():
        watch = session.watches.get(url)
        row[f"{name}_sent"] = watch.nonce if watch else ""
        row[f"{name}_acked"] = watch.acked_nonce if watch else ""
    return row


def distribution_row(stream: Stream, session: Session, revision: int) -> Mapping[str, Any]:
    """A row of `/debug/config_distribution`: how far a proxy is that was brought to a revision.

    `behind` names the types that it has not acknowledged, or that are held back for now, and
    `rejected` those of which it refuses something. With neither it has all of that revision.
    """
    states = {SHORT_NAMES.get(url, url): watch.state for url, watch in session.watches.items()}
    behind = sorted(name for name, state in states.items() if state is SyncState.STALE)
    if session.deadline is not None and not behind:
        behind = ["held"]
    return {
        "proxy": stream.proxy.id,
        "revision": revision,
        "behind": behind,
        "rejected": sorted(name for name, state in states.items() if state is SyncState.ERROR),
    }


def connection_row(stream: Stream) -> Mapping[str, Any]:
    """A client of `/debug/connections`."""
    return {
        "connectionId": stream.name,
        "connectedAt": stream.connected_at.isoformat(),
        "address": stream.address,
    }


def client_row(stream: Stream, session: Session) -> Mapping[str, Any]:
    """A client of `/debug/adsz` (pilot.md M1)."""
    proxy = stream.proxy
    return {
        **connection_row(stream),
        "labels": dict(proxy.labels),
        "metadata": dict(proxy.metadata),
        "locality": str(proxy.locality),
        "watches": {
            SHORT_NAMES.get(url, url): sorted(watch.names) for url, watch in session.watches.items()
        },
    }


def rejection_rows(stream: Stream, session: Session) -> Mapping[str, str]:
    """Reasons of types that the proxy rejects now, by short name of the type."""
    return {
        SHORT_NAMES.get(url, url): watch.error
        for url, watch in session.watches.items()
        if watch.error
    }


def _timestamp(at: datetime) -> Timestamp:
    made = Timestamp()
    made.FromDatetime(at)
    return made
