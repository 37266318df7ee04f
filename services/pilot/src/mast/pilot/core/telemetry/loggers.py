"""Access loggers of providers (pilot.md E17, K5)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, ExtensionFilter
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.access_loggers.filters.cel.v3.cel_pb2 import ExpressionFilter
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import (
    CommonGrpcAccessLogConfig,
    HttpGrpcAccessLogConfig,
    TcpGrpcAccessLogConfig,
)
from envoy.extensions.access_loggers.open_telemetry.v3.logs_service_pb2 import (
    OpenTelemetryAccessLogConfig,
)
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from xds.type.v3.typed_struct_pb2 import TypedStruct

from mast.pilot.core.filters.access_logs import file_log, filtered, mesh_file_log
from mast.pilot.core.format_strings import format_string
from mast.pilot.core.packing import packed
from mast.pilot.core.telemetry.policies import FILE, SERVICE, Logger
from mast.pilot.core.telemetry.providers import Provider, Providers

BOOTSTRAP_CLUSTER: Final = "envoy_accesslog_service"
"""Cluster of the bootstrap for ProxyConfig's `envoyAccessLogService`."""

_FILE_LOGGER: Final = "envoy.access_loggers.file"
_HTTP_LOGGER: Final = "envoy.access_loggers.http_grpc"
_TCP_LOGGER: Final = "envoy.access_loggers.tcp_grpc"
_OTEL_LOGGER: Final = "envoy.access_loggers.open_telemetry"
_CEL: Final = "envoy.access_loggers.extension_filters.cel"

_HTTP_NAME: Final = "http_envoy_accesslog"
_TCP_NAME: Final = "tcp_envoy_accesslog"
_OTEL_NAME: Final = "otel_envoy_accesslog"


def access_loggers(
    wanted: Sequence[Logger], providers: Providers, *, http: bool, log_service: bool
) -> Sequence[AccessLog]:
    """The loggers of HTTP connection managers or, without `http`, of TCP proxies and listeners.

    Providers for the other kind are left out. `log_service` tells whether the bootstrap has the
    cluster of `envoyAccessLogService`: Envoy refuses listeners that name a cluster it has not.
    """
    found = []
    for each in wanted:
        logger = _logger(each.provider, providers, http=http, log_service=log_service)
        if logger is not None and each.filter:
            logger = filtered(logger, _expression(each.filter))
        if logger is not None:
            found.append(logger)
    return found


def _logger(name: str, providers: Providers, *, http: bool, log_service: bool) -> AccessLog | None:
    if name == FILE:
        return mesh_file_log(providers.scope.mesh.config)
    if name == SERVICE:
        service = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=BOOTSTRAP_CLUSTER))
        return _als(Provider(), service, http=http) if log_service else None
    provider = providers.named(name)
    kind = provider.WhichOneof("provider") if provider else None
    if provider is None or kind is None:
        return None
    if kind == "envoy_file_access_log":
        return AccessLog(name=_FILE_LOGGER, typed_config=packed(_file(provider)))
    if kind not in {"envoy_http_als", "envoy_tcp_als", "envoy_otel_als"}:
        providers.unusable(name, "is no provider of access logs")
        return None
    if kind == ("envoy_tcp_als" if http else "envoy_http_als"):
        return None
    settings = getattr(provider, kind)
    collector = providers.collector(name, settings.service, settings.port)
    if collector is None:
        return None
    if kind == "envoy_otel_als":
        config = _otel(provider.envoy_otel_als, collector.grpc())
        return AccessLog(name=_OTEL_LOGGER, typed_config=packed(config))
    return _als(provider, collector.grpc(), http=http)


def _file(provider: Provider) -> Message:
    settings = provider.envoy_file_access_log
    labels = MessageToDict(settings.log_format.labels)
    as_json = settings.log_format.WhichOneof("log_format") == "labels"
    return file_log(
        settings.path or "/dev/stdout",
        text=settings.log_format.text,
        labels=labels if as_json else None,
        omit_empty=settings.omit_empty_values,
    )


def _als(provider: Provider, service: GrpcService, *, http: bool) -> AccessLog:
    """A logger that calls Envoy's access log service; an empty provider has Istio's defaults."""
    if not http:
        tcp = provider.envoy_tcp_als
        common = _common(tcp.log_name or _TCP_NAME, service, tcp.filter_state_objects_to_log)
        tcp_config = TcpGrpcAccessLogConfig(common_config=common)
        return AccessLog(name=_TCP_LOGGER, typed_config=packed(tcp_config))
    settings = provider.envoy_http_als
    config = HttpGrpcAccessLogConfig(
        common_config=_common(
            settings.log_name or _HTTP_NAME, service, settings.filter_state_objects_to_log
        ),
        additional_request_headers_to_log=settings.additional_request_headers_to_log,
        additional_response_headers_to_log=settings.additional_response_headers_to_log,
        additional_response_trailers_to_log=settings.additional_response_trailers_to_log,
    )
    return AccessLog(name=_HTTP_LOGGER, typed_config=packed(config))


def _otel(settings: Provider.EnvoyOpenTelemetryLogProvider, service: GrpcService) -> TypedStruct:
    """Settings in JSON: Envoy warns of `common_config`, and the classes here know no other way."""
    config = OpenTelemetryAccessLogConfig()
    if settings.log_format.text:
        config.body.string_value = format_string(settings.log_format.text)
    labels: Mapping[str, Any] = MessageToDict(settings.log_format.labels)
    for key in sorted(labels):
        entry = config.attributes.values.add(key=key)
        entry.value.string_value = format_string(str(labels[key]))
    result = TypedStruct(type_url=packed(config).type_url)
    result.value.update(MessageToDict(config, preserving_proto_field_name=True))
    called = MessageToDict(service, preserving_proto_field_name=True)
    result.value.update({"grpc_service": called, "log_name": settings.log_name or _OTEL_NAME})
    return result


def _common(
    name: str, service: GrpcService, filter_state: Sequence[str]
) -> CommonGrpcAccessLogConfig:
    return CommonGrpcAccessLogConfig(
        log_name=name,
        grpc_service=service,
        transport_api_version=ApiVersion.V3,
        filter_state_objects_to_log=filter_state,
    )


def _expression(text: str) -> AccessLogFilter:
    config = ExpressionFilter(expression=text)
    return AccessLogFilter(extension_filter=ExtensionFilter(name=_CEL, typed_config=packed(config)))
