"""Attributes that access-log entries share: who called whom, over what connection (K)."""

from __future__ import annotations

from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogCommon

from mast.mixer.core.envoy_attributes import (
    INBOUND,
    OUTBOUND,
    Registry,
    Reporter,
    put_own,
    put_principals,
    put_source,
)
from mast.mixer.core.values import Value
from mast.mixer.core.workloads import UID_PREFIX, packed_ip

PEER_TAG = "peer"
_SERVICE = "destination.service."
_UID_TAG = f"{_SERVICE}uid"
_HOST_TAG = f"{_SERVICE}host"


def shared_attributes(
    common: AccessLogCommon, reporter: Reporter, registry: Registry
) -> dict[str, Value]:
    """What HTTP and TCP entries tell alike; nothing that is absent or empty (K8)."""
    found: dict[str, Value] = {}
    remote = packed_ip(common.downstream_direct_remote_address.socket_address.address)
    found["origin.ip"] = remote
    _put_tls(found, common)
    tags = common.custom_tags
    found.update({name: tags[name] for name in tags if name.startswith(_SERVICE)})
    if reporter.kind == INBOUND:
        _put_callee(found, common, reporter, registry)
        forwarded = tags.get(PEER_TAG, "")
        ours = forwarded if forwarded.startswith(UID_PREFIX) else ""
        put_source(found, remote, (ours, "" if ours else forwarded), registry)
    else:
        put_own(found, reporter, reporter.known(registry, remote), "source")
        _put_upstream(found, common, registry)
    return {name: value for name, value in found.items() if value not in ("", b"")}


def _put_callee(
    found: dict[str, Value], common: AccessLogCommon, reporter: Reporter, registry: Registry
) -> None:
    local = common.downstream_local_address.socket_address
    address = packed_ip(local.address)
    put_own(found, reporter, reporter.known(registry, address), "destination")
    found["destination.ip"] = reporter.address or address
    found["destination.port"] = local.port_value


def _put_upstream(found: dict[str, Value], common: AccessLogCommon, registry: Registry) -> None:
    """The endpoint that a request was sent to, and its service, which one of several may be."""
    upstream = common.upstream_remote_address
    if upstream.HasField("socket_address"):
        address = packed_ip(upstream.socket_address.address)
        found["destination.ip"] = address
        found["destination.port"] = upstream.socket_address.port_value
        pod = registry.find("", address)
        if pod is not None:
            found["destination.uid"] = pod.uid
    parts = common.upstream_cluster.split("|", 3)
    if len(parts) == 4 and parts[0] == OUTBOUND and found.get(_HOST_TAG) != parts[3]:
        _put_service(found, parts[3])


def _put_service(found: dict[str, Value], host: str) -> None:
    """The service of a host instead of the one that the route names."""
    for name in [each for each in found if each.startswith(_SERVICE)]:
        del found[name]
    labels = host.split(".")
    found[_HOST_TAG] = found[f"{_SERVICE}name"] = host
    if labels[2:3] == ["svc"]:
        found[f"{_SERVICE}name"] = labels[0]
        found[f"{_SERVICE}namespace"] = labels[1]
        found[_UID_TAG] = f"istio://{labels[1]}/services/{labels[0]}"


def _put_tls(found: dict[str, Value], common: AccessLogCommon) -> None:
    """Identities and server name of the downstream connection."""
    tls = common.tls_properties
    peer, own = tls.peer_certificate_properties, tls.local_certificate_properties
    found["connection.mtls"] = bool(peer.subject_alt_name or peer.subject)
    found["connection.requested_server_name"] = tls.tls_sni_hostname
    put_principals(
        found,
        next((name.uri for name in peer.subject_alt_name if name.uri), ""),
        next((name.uri for name in own.subject_alt_name if name.uri), ""),
    )
