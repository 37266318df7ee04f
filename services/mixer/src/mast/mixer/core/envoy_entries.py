"""What differs from one access-log entry to the next, taken out of it (mixer_proxy.md C.5, K).

What is left of entries of one kind is the same, byte for byte: all else that attributes are made of
is worked out once for each kind. Of the messages only an excerpt is read, which costs less too:
`mastapi.mixer.v1.access_log`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from functools import lru_cache
from typing import Any, TypeAlias

from envoy.config.core.v3.base_pb2 import Metadata, RequestMethod

from mast.mixer.core.engine import Reads
from mast.mixer.core.envoy_attributes import MARKS, put_path
from mast.mixer.core.envoy_metadata import sources
from mast.mixer.core.values import NANOS, Duration, Timestamp, Value
from mastapi.mixer.v1.access_log_pb2 import (
    AccessLogMessage,
    HttpEntry,
    RequestProperties,
    ResponseProperties,
)

VERDICT = "envoy.filters.http.ext_authz"

METHODS: Mapping[int, str] = {number: name for name, number in RequestMethod.items() if number}
"""Names of methods by their number; METHOD_UNSPECIFIED has none."""

_GRPC = "application/grpc"
_METADATA = 1024  # different ones remembered

# Metadata of a check that no attribute is made of, but for their being there.
_OF_ONE_CHECK = frozenset({"check", "grants", "ext_authz_duration", "response_remove"})
_OF_ONE_REQUEST = frozenset({"request", "asks"})

Take: TypeAlias = Callable[[dict[str, Value], HttpEntry], None]


def excerpt(data: bytes) -> AccessLogMessage:
    """What is of use of a StreamAccessLogsMessage; raises DecodeError."""
    found = AccessLogMessage.FromString(data)
    found.DiscardUnknownFields()
    return found


def takes(reads: Reads | None) -> tuple[Take, ...]:
    """What to take out of entries: functions that put what is read of it among attributes.

    None means that everything is read.
    """

    def wanted(*names: str) -> bool:
        return reads is None or any(name in reads for name in names)

    chosen: list[Take] = [_sizes]
    if wanted("response.duration"):
        chosen.append(_duration)
    if wanted("request.time", "response.time"):
        chosen.append(_times)
    if wanted("request.path", "request.url_path", "request.query_params"):
        chosen.append(lambda found, entry: put_path(found, _path(entry.request)))
    if wanted("request.headers"):
        chosen.append(_headers)
    if wanted("request.referer", "request.id", "request.total_size"):
        chosen.append(_details)
    if wanted("response.headers", "response.grpc_status", "response.grpc_message"):
        chosen.append(_response_headers)
    return (*chosen, _rest(None if reads is None else sources(reads.attributes)))


def _sizes(found: dict[str, Value], entry: HttpEntry) -> None:
    response = entry.response
    size = response.response_body_bytes
    found["request.size"] = entry.request.request_body_bytes
    found["response.size"] = size
    found["response.total_size"] = response.response_headers_bytes + size


def _duration(found: dict[str, Value], entry: HttpEntry) -> None:
    length = entry.common_properties.duration
    found["response.duration"] = Duration(length.seconds * NANOS + length.nanos)


def _times(found: dict[str, Value], entry: HttpEntry) -> None:
    common = entry.common_properties
    start, length = common.start_time, common.duration
    begun = start.seconds * NANOS + start.nanos
    found["request.time"] = Timestamp(begun)
    found["response.time"] = Timestamp(begun + length.seconds * NANOS + length.nanos)


def _path(request: RequestProperties) -> str:
    return request.original_path or request.path


def _headers(found: dict[str, Value], entry: HttpEntry) -> None:
    """Those that are logged (K), the usual ones under their names."""
    request = entry.request
    usual = {
        ":authority": request.authority,
        ":method": METHODS.get(request.request_method, ""),
        ":path": _path(request),
        "referer": request.referer,
        "user-agent": request.user_agent,
        "x-forwarded-for": request.forwarded_for,
        "x-request-id": request.request_id,
    }
    logged = dict(request.request_headers)
    found["request.headers"] = logged | {name: text for name, text in usual.items() if text}


def _details(found: dict[str, Value], entry: HttpEntry) -> None:
    request = entry.request
    if request.referer:
        found["request.referer"] = request.referer
    if request.request_id:
        found["request.id"] = request.request_id
    found["request.total_size"] = request.request_headers_bytes + request.request_body_bytes


def _response_headers(found: dict[str, Value], entry: HttpEntry) -> None:
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


def _rest(filters: frozenset[str] | None) -> Take:
    """Clear the fields, of the request's headers all that do not tell its protocol, and metadata.

    Kept is metadata of these filters, None for all.
    """
    kept = lru_cache(_METADATA)(lambda data: _kept(data, filters))

    def take(_: dict[str, Value], entry: HttpEntry) -> None:
        common = entry.common_properties
        common.ClearField("start_time")
        common.ClearField("duration")
        common.custom_tags.sort()  # Envoy sends maps in any order.
        if common.metadata:
            common.metadata = kept(common.metadata)
        _clear_request(entry.request)
        _clear_response(entry.response)

    return take


def _clear_request(request: RequestProperties) -> None:
    clear = request.ClearField
    clear("path")
    clear("original_path")
    clear("referer")
    clear("forwarded_for")
    clear("request_id")
    clear("request_headers_bytes")
    clear("request_body_bytes")
    headers = request.request_headers
    if headers:
        content_type = headers.get("content-type", "")
        headers.clear()
        if content_type.startswith(_GRPC):
            headers["content-type"] = content_type


def _clear_response(response: ResponseProperties) -> None:
    clear = response.ClearField
    clear("response_headers")
    clear("response_trailers")
    clear("response_headers_bytes")
    clear("response_body_bytes")


def _kept(data: bytes, filters: frozenset[str] | None) -> bytes:
    """Metadata without that of other filters, and without what is another one for every check."""
    whole = Metadata.FromString(data)
    whole.ClearField("typed_filter_metadata")
    metadata: MutableMapping[str, Any] = whole.filter_metadata
    for name in tuple(metadata):
        if name == MARKS:
            _forget(metadata[name].fields, _OF_ONE_REQUEST)
        elif name == VERDICT:
            _forget(metadata[name].fields, _OF_ONE_CHECK)
        elif filters is not None and name not in filters:
            del metadata[name]
    return whole.SerializeToString(deterministic=True)


def _forget(fields: MutableMapping[str, Any], names: frozenset[str]) -> None:
    """Leave nothing of the values but that they were there."""
    for name in names.intersection(fields):
        fields[name].Clear()
