"""Access logs that reach Mixer as reports (mixer_proxy.md K, the columns of access-log entries)."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Final

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
    TcpGrpcAccessLogConfig,
)
from envoy.type.metadata.v3.metadata_pb2 import MetadataKey, MetadataKind
from envoy.type.tracing.v3.custom_tag_pb2 import CustomTag
from google.protobuf.wrappers_pb2 import UInt32Value

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.mixer.calls import AUTHORITY, MARKS
from mast.pilot.core.mixer.logged_headers import LoggedHeaders
from mast.pilot.core.mixer.peers import FILTER_STATE
from mast.pilot.core.packing import packed

REQUEST_HEADERS: Final = (
    "content-type",
    "x-api-key",
    "x-b3-flags",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-spanid",
    "x-b3-traceid",
    "x-client-trace-id",
    "x-forwarded-for",
)
"""Reports have these whatever Mixer's configuration reads; Envoy logs the common ones by itself."""

RESPONSE_HEADERS: Final = ("content-type", "grpc-message", "grpc-status")
RESPONSE_TRAILERS: Final = ("grpc-message", "grpc-status")
NO_OTHERS: Final = LoggedHeaders()

SERVICE_TAGS: Final = tuple(
    f"destination.service.{part}" for part in ("host", "name", "namespace", "uid")
)
PEER_TAG: Final = "peer"
CHECKED_TAG: Final = "checked"

_MAX_TIME: Final = timedelta(seconds=1)
_MAX_ENTRIES: Final = 100
_ENTRY_BYTES: Final = 512
_MOST_BYTES: Final = 512 * 1024
"""Half of the largest message that Mixer takes."""


def http_log(
    cluster: str,
    direction: Direction,
    mesh: MeshConfig,
    tags: Sequence[CustomTag] = (),
    headers: LoggedHeaders = NO_OTHERS,
) -> AccessLog:
    """The logger of an HTTP connection manager; `tags` and `headers` go with each entry."""
    config = HttpGrpcAccessLogConfig(
        common_config=_common(cluster, direction, mesh),
        additional_request_headers_to_log=_with(REQUEST_HEADERS, headers.request),
        additional_response_headers_to_log=_with(RESPONSE_HEADERS, headers.response),
        additional_response_trailers_to_log=_with(RESPONSE_TRAILERS, headers.response),
    )
    config.common_config.custom_tags.extend([*_tags(direction), *tags])
    return AccessLog(name="envoy.access_loggers.http_grpc", typed_config=packed(config))


def tcp_log(
    cluster: str,
    direction: Direction,
    mesh: MeshConfig,
    tags: Sequence[CustomTag] = (),
    *,
    checked: bool,
) -> AccessLog:
    """The logger of a TCP proxy; when it logs is said in the proxy. `tags` go with each entry.

    Connections are opened before they are checked: Mixer must know that a verdict follows (K3).
    """
    config = TcpGrpcAccessLogConfig(common_config=_common(cluster, direction, mesh))
    if checked:
        tag = CustomTag(tag=CHECKED_TAG, literal=CustomTag.Literal(value="true"))
        config.common_config.custom_tags.append(tag)
    config.common_config.custom_tags.extend(tags)
    return AccessLog(name="envoy.access_loggers.tcp_grpc", typed_config=packed(config))


def _with(usual: Sequence[str], others: Sequence[str]) -> Sequence[str]:
    """Each once."""
    return [*usual, *(each for each in others if each not in usual)]


def _common(cluster: str, direction: Direction, mesh: MeshConfig) -> CommonGrpcAccessLogConfig:
    """One stream per direction: the log name tells Mixer who reports (`context.reporter.kind`).

    A report has 100 entries unless `reportBatchMaxEntries` says so (C13). Envoy counts bytes,
    not entries: they are translated at the usual size of one.
    """
    config = CommonGrpcAccessLogConfig(
        log_name=direction.value,
        grpc_service=GrpcService(
            envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=cluster, authority=AUTHORITY)
        ),
        transport_api_version=ApiVersion.V3,
    )
    if mesh.disable_report_batch:
        config.buffer_size_bytes.value = 0
        return config
    longest = mesh.report_batch_max_time.ToTimedelta() or _MAX_TIME
    config.buffer_flush_interval.FromTimedelta(longest)
    entries = mesh.report_batch_max_entries or _MAX_ENTRIES
    config.buffer_size_bytes.CopyFrom(UInt32Value(value=min(entries * _ENTRY_BYTES, _MOST_BYTES)))
    return config


def _tags(direction: Direction) -> Iterator[CustomTag]:
    for name in SERVICE_TAGS:
        yield CustomTag(
            tag=name,
            metadata=CustomTag.Metadata(
                kind=MetadataKind(route=MetadataKind.Route()),
                metadata_key=MetadataKey(key=MARKS, path=[MetadataKey.PathSegment(key=name)]),
            ),
        )
    if direction is Direction.INBOUND:
        yield CustomTag(tag=PEER_TAG, value=f"%FILTER_STATE({FILTER_STATE}:PLAIN)%")
