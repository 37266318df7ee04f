"""Attributes of what Envoy's access logs tell (mixer_proxy.md C.5, K, K8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from envoy.config.core.v3.base_pb2 import Node, RequestMethod
from envoy.data.accesslog.v3.accesslog_pb2 import (
    AccessLogCommon,
    HTTPAccessLogEntry,
    HTTPRequestProperties,
    HTTPResponseProperties,
    ResponseFlags,
)
from google.protobuf.duration_pb2 import Duration as DurationMessage
from google.protobuf.struct_pb2 import Struct

from mast.mixer.core.envoy_attributes import (
    INBOUND,
    MARKS,
    OUTBOUND,
    Find,
    Reporter,
    protocol,
    put_own,
    put_path,
    put_principals,
    put_source,
)
from mast.mixer.core.values import NANOS, Duration, Timestamp, Value
from mast.mixer.core.workloads import UID_PREFIX, packed_ip

PEER_TAG = "peer"
_SERVICE = "destination.service."
_VERDICT = "envoy.filters.http.ext_authz"
_TCP_VERDICT = "envoy.filters.network.ext_authz"
_RBAC = ("envoy.filters.http.rbac", "envoy.filters.network.rbac")
_OURS = frozenset({MARKS, _VERDICT, _TCP_VERDICT})
_METHODS = {number: name for name, number in RequestMethod.items()}

_FLAGS = {
    "failed_local_healthcheck": "LH",
    "no_healthy_upstream": "UH",
    "upstream_request_timeout": "UT",
    "local_reset": "LR",
    "upstream_remote_reset": "UR",
    "upstream_connection_failure": "UF",
    "upstream_connection_termination": "UC",
    "upstream_overflow": "UO",
    "no_route_found": "NR",
    "delay_injected": "DI",
    "fault_injected": "FI",
    "rate_limited": "RL",
    "unauthorized_details": "UAEX",
    "rate_limit_service_error": "RLSE",
    "downstream_connection_termination": "DC",
    "upstream_retry_limit_exceeded": "URX",
    "stream_idle_timeout": "SI",
    "invalid_envoy_request_headers": "IH",
    "downstream_protocol_error": "DPE",
    "upstream_max_stream_duration_reached": "UMSDR",
    "response_from_cache_filter": "RFCF",
    "no_filter_config_found": "NFCF",
    "duration_timeout": "DT",
    "upstream_protocol_error": "UPE",
    "no_cluster_found": "NC",
    "overload_manager": "OM",
    "dns_resolution_failure": "DF",
    "downstream_remote_reset": "DR",
}
_NO_FLAGS = "-"
_ALWAYS = frozenset({"request.host", "request.path", "request.scheme"})
"""Of texts only these are there when they are empty (K8)."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What all entries of one access-log stream have in common: its first message says it (K6)."""

    reporter: Reporter
    node_id: str = ""

    @classmethod
    def of(cls, node: Node, log_name: str) -> Stream:
        """The log name is the direction of the listeners; the node id has the address and name."""
        parts = node.id.split("~")
        address, name = (parts[1], parts[2]) if len(parts) == 4 else ("", "")
        metadata = node.metadata.fields
        return cls(
            Reporter(
                kind=OUTBOUND if log_name == OUTBOUND else INBOUND,
                uid=f"{UID_PREFIX}{name}" if name else "",
                version=_text(metadata, "ISTIO_VERSION"),
                address=packed_ip(address),
                mesh=_text(metadata, "MESH_ID"),
            ),
            node.id,
        )


def _text(fields: Mapping[str, object], name: str) -> str:
    return getattr(fields[name], "string_value", "") if name in fields else ""


def http_attributes(entry: HTTPAccessLogEntry, stream: Stream, find: Find) -> dict[str, Value]:
    """The attributes of a finished request (C.5, "HTTP report adds")."""
    common, request, response = entry.common_properties, entry.request, entry.response
    found: dict[str, Value] = {}
    put_common(found, common, stream, find)
    headers = request.request_headers
    found["context.protocol"] = protocol(headers.get("content-type", ""))
    _put_request(found, request, dict(headers))
    _put_response(found, response)
    _put_times(found, common)
    _put_policy(found, common, stream)
    return {
        name: value for name, value in found.items() if name in _ALWAYS or value not in ("", b"")
    }


def put_common(
    found: dict[str, Value], common: AccessLogCommon, stream: Stream, find: Find
) -> None:
    """Connection, both sides and the service, as HTTP and TCP entries tell them."""
    remote = packed_ip(common.downstream_direct_remote_address.socket_address.address)
    found["origin.ip"] = remote
    put_tls(found, common)
    tags = common.custom_tags
    found.update({name: tags[name] for name in tags if name.startswith(_SERVICE) and tags[name]})
    reporter = stream.reporter
    if reporter.kind == INBOUND:
        local = common.downstream_local_address.socket_address
        found["destination.ip"] = reporter.address or packed_ip(local.address)
        found["destination.port"] = local.port_value
        put_own(found, reporter, reporter.known(find, packed_ip(local.address)), "destination")
        forwarded = common.custom_tags.get(PEER_TAG, "")
        ours = forwarded if forwarded.startswith(UID_PREFIX) else ""
        put_source(found, remote, (ours, "" if ours else forwarded), find)
        return
    put_own(found, reporter, reporter.known(find, remote), "source")
    _put_upstream(found, common, find)


def _put_upstream(found: dict[str, Value], common: AccessLogCommon, find: Find) -> None:
    """The endpoint that a request was sent to, and its service, which one of several may be."""
    upstream = common.upstream_remote_address
    if upstream.HasField("socket_address"):
        address = packed_ip(upstream.socket_address.address)
        found["destination.ip"] = address
        found["destination.port"] = upstream.socket_address.port_value
        pod = find("", address)
        if pod is not None:
            found["destination.uid"] = pod.uid
    _put_cluster(found, common.upstream_cluster)


def _put_cluster(found: dict[str, Value], cluster: str) -> None:
    parts = cluster.split("|", 3)
    if len(parts) != 4 or parts[0] != OUTBOUND:
        return
    host = parts[3]
    if found.get("destination.service.host") == host:
        return
    for name in [each for each in found if each.startswith(_SERVICE)]:
        del found[name]
    found["destination.service.host"] = host
    labels = host.split(".")
    found["destination.service.name"] = labels[0]
    if labels[2:3] == ["svc"]:
        found["destination.service.namespace"] = labels[1]
        found["destination.service.uid"] = f"istio://{labels[1]}/services/{labels[0]}"


def put_tls(found: dict[str, Value], common: AccessLogCommon) -> None:
    """Identities and server name of the downstream connection."""
    tls = common.tls_properties
    found["connection.mtls"] = tls.HasField("peer_certificate_properties") and bool(
        tls.peer_certificate_properties.subject_alt_name or tls.peer_certificate_properties.subject
    )
    found["connection.requested_server_name"] = tls.tls_sni_hostname
    peer = next((n.uri for n in tls.peer_certificate_properties.subject_alt_name if n.uri), "")
    own = next((n.uri for n in tls.local_certificate_properties.subject_alt_name if n.uri), "")
    put_principals(found, peer, own)


def _put_request(
    found: dict[str, Value], request: HTTPRequestProperties, headers: dict[str, str]
) -> None:
    found["request.host"] = request.authority
    found["request.scheme"] = request.scheme or "http"
    method = _METHODS.get(request.request_method, "")
    found["request.method"] = "" if method == "METHOD_UNSPECIFIED" else method
    found["request.useragent"] = request.user_agent
    found["request.referer"] = request.referer
    found["request.id"] = request.request_id
    found["request.size"] = request.request_body_bytes
    found["request.total_size"] = request.request_headers_bytes + request.request_body_bytes
    put_path(found, request.original_path or request.path)
    for name, value in (
        (":authority", request.authority),
        (":method", found["request.method"]),
        (":path", request.original_path or request.path),
        ("user-agent", request.user_agent),
        ("referer", request.referer),
        ("x-request-id", request.request_id),
        ("x-forwarded-for", request.forwarded_for),
    ):
        if value:
            headers[name] = str(value)
    found["request.headers"] = headers


def _put_response(found: dict[str, Value], response: HTTPResponseProperties) -> None:
    code = response.response_code.value if response.HasField("response_code") else 0
    found["response.code"] = code or 500
    found["response.size"] = response.response_body_bytes
    found["response.total_size"] = response.response_headers_bytes + response.response_body_bytes
    headers = {**response.response_headers, **response.response_trailers}
    if headers:
        found["response.headers"] = headers
        found["response.grpc_status"] = headers.get("grpc-status", "")
        found["response.grpc_message"] = headers.get("grpc-message", "")


def _put_times(found: dict[str, Value], common: AccessLogCommon) -> None:
    start = common.start_time.seconds * NANOS + common.start_time.nanos
    found["request.time"] = Timestamp(start)
    length = nanoseconds(common.duration) if common.HasField("duration") else 0
    length = length or nanoseconds(common.time_to_last_downstream_tx_byte)
    found["response.duration"] = Duration(length)
    found["response.time"] = Timestamp(start + length)


def nanoseconds(length: DurationMessage) -> int:
    """A protobuf duration in nanoseconds."""
    return length.seconds * NANOS + length.nanos


def _put_policy(found: dict[str, Value], common: AccessLogCommon, stream: Stream) -> None:
    """What filters left in the request's metadata, ours and others' (C.5, C9)."""
    metadata = common.metadata.filter_metadata
    flags = flag_text(common.response_flags) if common.HasField("response_flags") else ""
    marks = metadata[MARKS].fields if MARKS in metadata else {}
    verdict = metadata[_VERDICT].fields if _VERDICT in metadata else {}
    hit = "cache_hit" in marks
    for fields in (marks, verdict):
        put_error(found, fields)
    if hit and "error_code" in marks and "UAEX" not in flags.split(","):
        flags = ",".join(filter(None, (flags, "UAEX")))
    found["context.proxy_error_code"] = flags or _NO_FLAGS
    if hit or verdict:
        found["check.cache_hit"] = hit
        if "quota_cache_hit" in marks:
            found["quota.cache_hit"] = True
        elif "grants" in verdict:
            found["quota.cache_hit"] = False
    put_rbac(found, metadata)
    for name in metadata:
        if name not in _OURS:
            texts = string_map(metadata[name])
            if texts:
                found[name] = texts


def put_error(found: dict[str, Value], fields: Mapping[str, object]) -> None:
    """Status of the check, if it was not OK."""
    code = fields.get("error_code")
    if code is not None:
        found["check.error_code"] = int(code.number_value)  # type: ignore[attr-defined]
        found["check.error_message"] = fields["error_message"].string_value  # type: ignore[attr-defined]


def put_rbac(found: dict[str, Value], metadata: Mapping[str, Struct]) -> None:
    """What shadow rules of RBAC would have said."""
    for name in _RBAC:
        if name in metadata:
            fields = metadata[name].fields
            found["rbac.permissive.response_code"] = _text(fields, "shadow_engine_result")
            found["rbac.permissive.effective_policy_id"] = _text(
                fields, "shadow_effective_policy_id"
            )


def string_map(metadata: Struct) -> dict[str, str]:
    """Texts and lists of texts of a filter's metadata, lists joined by commas."""
    found: dict[str, str] = {}
    for name, value in metadata.fields.items():
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            found[name] = value.string_value
        elif kind == "list_value":
            texts = [each.string_value for each in value.list_value.values]
            if texts and all(texts):
                found[name] = ",".join(texts)
    return found


def flag_text(flags: ResponseFlags) -> str:
    """Short codes of response flags, joined by commas."""
    return ",".join(_FLAGS[field.name] for field, _ in flags.ListFields() if field.name in _FLAGS)
