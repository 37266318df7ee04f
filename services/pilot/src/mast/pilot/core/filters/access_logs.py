"""Formats of access logs, and conditions under which they log (pilot.md E17)."""

import json
from collections.abc import Mapping
from typing import Any, Final

from envoy.config.accesslog.v3.accesslog_pb2 import (
    AccessLog,
    AccessLogFilter,
    AndFilter,
    ResponseFlagFilter,
)
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.format_strings import format_string
from mast.pilot.core.packing import packed

_FIELDS: Final = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "authority": "%REQ(:AUTHORITY)%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "route_name": "%ROUTE_NAME%",
}
"""Keys of the JSON format and what stands behind them (pilot.md E17)."""

_QUOTED: Final = frozenset(
    {
        "upstream_transport_failure_reason",
        "x_forwarded_for",
        "user_agent",
        "request_id",
        "authority",
        "upstream_host",
    }
)


def _text_format() -> str:
    rest = dict(_FIELDS)
    request = " ".join(rest.pop(key) for key in ("method", "path", "protocol"))
    start = rest.pop("start_time")
    values = [f'"{value}"' if key in _QUOTED else value for key, value in rest.items()]
    return " ".join([f"[{start}]", f'"{request}"', *values]) + "\n"


TEXT_FORMAT: Final = _text_format()
"""The format of text lines unless `accessLogFormat` has another (pilot.md E17)."""

_NO_ROUTE: Final = "NR"


def mesh_file_log(config: MeshConfig) -> AccessLog:
    """The logger of `accessLogFile`, with its format and encoding."""
    labels = None
    if config.access_log_encoding == MeshConfig.JSON:
        labels = _json_labels(config.access_log_format)
    made = file_log(config.access_log_file, text=config.access_log_format, labels=labels)
    return AccessLog(name="envoy.access_loggers.file", typed_config=packed(made))


def file_log(
    path: str, *, text: str = "", labels: Mapping[str, Any] | None = None, omit_empty: bool = False
) -> FileAccessLog:
    """Lines of text or, with `labels`, JSON objects; empty ones stand for Istio's formats (E17).

    `omit_empty` leaves out what has no value.
    """
    if labels is not None:
        line = SubstitutionFormatString(
            json_format=ParseDict(_formatted(labels or _FIELDS), Struct())
        )
    else:
        line = SubstitutionFormatString(
            text_format_source=DataSource(inline_string=format_string(text) or TEXT_FORMAT)
        )
    line.omit_empty_values = omit_empty
    return FileAccessLog(path=path, log_format=line)


def unrouted(logger: AccessLog) -> AccessLog:
    """The same for listeners: connections that no filter chain takes (flag NR)."""
    flags = AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[_NO_ROUTE]))
    return filtered(logger, flags)


def filtered(logger: AccessLog, condition: AccessLogFilter) -> AccessLog:
    """The same for what meets a condition besides its own."""
    result = AccessLog()
    result.CopyFrom(logger)
    if logger.HasField("filter"):
        both = AndFilter(filters=[condition, logger.filter])
        result.filter.CopyFrom(AccessLogFilter(and_filter=both))
    else:
        result.filter.CopyFrom(condition)
    return result


def _json_labels(text: str) -> Mapping[str, Any]:
    """The JSON object that `accessLogFormat` holds; an empty one if it holds none."""
    try:
        found = json.loads(text)
        ParseDict(found, Struct())
    except (ValueError, ParseError, AttributeError):
        return {}
    return found if isinstance(found, dict) else {}


def _formatted(value: Any) -> Any:
    """The JSON value with all its texts as Envoy takes them."""
    match value:
        case str():
            return format_string(value)
        case list():
            return [_formatted(each) for each in value]
        case dict():
            return {key: _formatted(each) for key, each in value.items()}
    return value
