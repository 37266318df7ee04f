"""Access logs that MeshConfig asks for (pilot.md E17)."""

import json
from typing import Any, Final

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, ResponseFlagFilter
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.struct_pb2 import Struct

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.filters.format_strings import format_string
from mast.pilot.core.model.mesh import Mesh
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


def access_logs(mesh: Mesh) -> list[AccessLog]:
    """Loggers of HTTP connection managers and TCP proxies: none unless `accessLogFile` is set."""
    if not mesh.config.access_log_file:
        return []
    return [
        AccessLog(name="envoy.access_loggers.file", typed_config=packed(_file_log(mesh.config)))
    ]


def listener_access_logs(mesh: Mesh) -> list[AccessLog]:
    """Loggers of listeners, for connections that no filter chain takes (flag NR)."""
    if mesh.config.disable_envoy_listener_log:
        return []
    loggers = access_logs(mesh)
    for each in loggers:
        each.filter.CopyFrom(
            AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=[_NO_ROUTE]))
        )
    return loggers


def _file_log(config: MeshConfig) -> FileAccessLog:
    if config.access_log_encoding == MeshConfig.JSON:
        line = SubstitutionFormatString(json_format=_json_format(config.access_log_format))
    else:
        text = format_string(config.access_log_format) or TEXT_FORMAT
        line = SubstitutionFormatString(text_format_source=DataSource(inline_string=text))
    return FileAccessLog(path=config.access_log_file, log_format=line)


def _json_format(text: str) -> Struct:
    """The JSON object that `accessLogFormat` holds; the usual keys if it holds none."""
    try:
        return ParseDict(_formatted(json.loads(text)), Struct())
    except (ValueError, ParseError):
        return ParseDict(_FIELDS, Struct())


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
