"""Attributes of what Envoy's access logs tell of requests (mixer_proxy.md C.5, K, K8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from envoy.config.core.v3.base_pb2 import Node, RequestMethod
from envoy.data.accesslog.v3.accesslog_pb2 import (
    HTTPAccessLogEntry,
    HTTPRequestProperties,
)
from google.protobuf.struct_pb2 import Struct

from mast.mixer.core.engine import Reads
from mast.mixer.core.envoy_attributes import (
    INBOUND,
    MARKS,
    OUTBOUND,
    Registry,
    Reporter,
    protocol,
    put_path,
)
from mast.mixer.core.envoy_connections import Connections
from mast.mixer.core.envoy_flags import flag_text
from mast.mixer.core.envoy_metadata import (
    put_authentication,
    put_error,
    put_rbac,
    string_map,
)
from mast.mixer.core.metric_overrides import put_overrides
from mast.mixer.core.values import NANOS, Duration, Timestamp, Value
from mast.mixer.core.workloads import UID_PREFIX, packed_ip

_VERDICT = "envoy.filters.http.ext_authz"
_OURS = frozenset({MARKS, _VERDICT})
_METHODS = {number: name for name, number in RequestMethod.items() if number}
_AUTHENTICATION = "request.auth."
_NO_FLAGS = "-"
_UNAUTHORIZED = "UAEX"

Extract = Callable[[dict[str, Value], HTTPAccessLogEntry], None]


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
                version=metadata["ISTIO_VERSION"].string_value,
                address=packed_ip(address),
                mesh=metadata["MESH_ID"].string_value,
            ),
            node.id,
        )


class HttpReports:
    """Turns the entries of one stream into attributes, those that the configuration reads."""

    def __init__(self, stream: Stream, registry: Registry) -> None:
        self._connections = Connections(stream.reporter, registry)
        self._reads: Reads | None = None
        self._extracts: tuple[Extract, ...] = _extracts(None)

    def attributes(self, entry: HTTPAccessLogEntry, reads: Reads | None = None) -> dict[str, Value]:
        """The attributes of a finished request (C.5, "HTTP report adds").

        ``reads`` may leave out what is expensive and of no use; None means everything.
        """
        if reads is not self._reads:
            self._reads, self._extracts = reads, _extracts(reads)
        found = self._connections.attributes(entry.common_properties)
        put_overrides(found, entry.common_properties.custom_tags)
        for extract in self._extracts:
            extract(found, entry)
        return found


def _extracts(reads: Reads | None) -> tuple[Extract, ...]:
    """What is worth reading: always the cheap and usual, the rest only if it is read."""

    def wanted(*names: str) -> bool:
        return reads is None or any(name in reads for name in names)

    chosen: list[Extract] = [_put_usual]
    if wanted("request.path", "request.url_path", "request.query_params"):
        chosen.append(lambda found, entry: put_path(found, _path(entry.request)))
    if wanted("request.headers"):
        chosen.append(_put_headers)
    if wanted("request.referer", "request.id", "request.method", "request.total_size"):
        chosen.append(_put_details)
    if wanted("response.headers", "response.grpc_status", "response.grpc_message"):
        chosen.append(_put_response_headers)
    if wanted("request.time", "response.time", "response.duration"):
        chosen.append(_put_times)
    names = None if reads is None else frozenset(reads.keys) | reads.names
    chosen.append(_policy(names))
    return tuple(chosen)


def _put_usual(found: dict[str, Value], entry: HTTPAccessLogEntry) -> None:
    request, response = entry.request, entry.response
    found["request.host"] = request.authority
    found["request.scheme"] = request.scheme or "http"
    if request.user_agent:
        found["request.useragent"] = request.user_agent
    found["context.protocol"] = protocol(request.request_headers.get("content-type", ""))
    found["request.size"] = request.request_body_bytes
    found["response.code"] = response.response_code.value or 500
    size = response.response_body_bytes
    found["response.size"] = size
    found["response.total_size"] = response.response_headers_bytes + size


def _put_details(found: dict[str, Value], entry: HTTPAccessLogEntry) -> None:
    request = entry.request
    texts = {
        "request.method": _METHODS.get(request.request_method, ""),
        "request.referer": request.referer,
        "request.id": request.request_id,
    }
    found.update({name: text for name, text in texts.items() if text})
    found["request.total_size"] = request.request_headers_bytes + request.request_body_bytes


def _path(request: HTTPRequestProperties) -> str:
    return request.original_path or request.path


def _put_headers(found: dict[str, Value], entry: HTTPAccessLogEntry) -> None:
    """Those that are logged (K), the usual ones under their names."""
    request = entry.request
    usual = {
        ":authority": request.authority,
        ":method": _METHODS.get(request.request_method, ""),
        ":path": _path(request),
        "referer": request.referer,
        "user-agent": request.user_agent,
        "x-forwarded-for": request.forwarded_for,
        "x-request-id": request.request_id,
    }
    logged = dict(request.request_headers)
    found["request.headers"] = logged | {name: text for name, text in usual.items() if text}


def _put_response_headers(found: dict[str, Value], entry: HTTPAccessLogEntry) -> None:
    response = entry.response
    headers = {**response.response_headers, **response.response_trailers}
    if not headers:
        return
    found["response.headers"] = headers
    for attribute, name in (
        ("response.grpc_status", "grpc-status"),
        ("response.grpc_message", "grpc-message"),
    ):
        if headers.get(name):
            found[attribute] = headers[name]


def _put_times(found: dict[str, Value], entry: HTTPAccessLogEntry) -> None:
    common = entry.common_properties
    start = common.start_time
    begun = start.seconds * NANOS + start.nanos
    length = common.duration
    lasted = length.seconds * NANOS + length.nanos
    found["request.time"] = Timestamp(begun)
    found["response.duration"] = Duration(lasted)
    found["response.time"] = Timestamp(begun + lasted)


def _policy(names: frozenset[str] | None) -> Extract:
    """What filters left in the metadata of a request, ours and others' (C.5, C9).

    ``names`` are those of all attributes that are read, None for any.
    """
    authentication = names is None or any(name.startswith(_AUTHENTICATION) for name in names)

    def put(found: dict[str, Value], entry: HTTPAccessLogEntry) -> None:
        common = entry.common_properties
        flags = flag_text(common.response_flags) if common.HasField("response_flags") else ""
        metadata = common.metadata.filter_metadata
        if metadata:
            flags = _put_verdict(found, metadata, flags)
            put_rbac(found, metadata)
            if authentication:
                put_authentication(found, metadata)
            for name in metadata:
                if name not in _OURS and (names is None or name in names):
                    texts = string_map(metadata[name])
                    if texts:
                        found[name] = texts
        found["context.proxy_error_code"] = flags or _NO_FLAGS

    return put


def _put_verdict(found: dict[str, Value], metadata: Mapping[str, Struct], flags: str) -> str:
    """What the check cache and ext_authz say of the check; gives the flags with that of a denial.

    Envoy has no flag for requests that a script denied.
    """
    marks: Mapping[str, Any] = metadata[MARKS].fields if MARKS in metadata else {}
    verdict: Mapping[str, Any] = metadata[_VERDICT].fields if _VERDICT in metadata else {}
    hit = "cache_hit" in marks
    if not (hit or verdict):
        return flags
    put_error(found, marks if hit else verdict)
    found["check.cache_hit"] = hit
    if "quota_cache_hit" in marks:
        found["quota.cache_hit"] = True
    elif "grants" in verdict:
        found["quota.cache_hit"] = False
    if hit and "error_code" in marks and _UNAUTHORIZED not in flags.split(","):
        return f"{flags},{_UNAUTHORIZED}" if flags else _UNAUTHORIZED
    return flags
