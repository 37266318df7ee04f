"""Tracing of HTTP connection managers: tracer, sampling and tags (pilot.md E9, K5)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.http_service_pb2 import HttpService
from envoy.config.core.v3.http_uri_pb2 import HttpUri
from envoy.config.trace.v3.datadog_pb2 import DatadogConfig
from envoy.config.trace.v3.http_tracer_pb2 import Tracing as EnvoyTracing
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.config.trace.v3.skywalking_pb2 import ClientConfig, SkyWalkingConfig
from envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3.dynatrace_resource_detector_pb2 import (  # noqa: E501
    DynatraceResourceDetectorConfig,
)
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3.environment_resource_detector_pb2 import (  # noqa: E501
    EnvironmentResourceDetectorConfig,
)
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3.static_config_resource_detector_pb2 import (  # noqa: E501
    StaticConfigResourceDetectorConfig,
)
from envoy.extensions.tracers.opentelemetry.samplers.v3.dynatrace_sampler_pb2 import (
    DynatraceSamplerConfig,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.packing import packed, typed_extension
from mast.pilot.core.telemetry.providers import Collector, Provider, Providers
from mast.pilot.core.telemetry.workload import canonical_name, canonical_revision

ZIPKIN_PATH: Final = "/api/v2/spans"
OTLP_PATH: Final = "/v1/traces"

Http = EnvoyTracing.Http
Tracer = Callable[[str, Provider, Providers, Proxy], Http | None]
HttpHeader = MeshConfig.ExtensionProvider.HttpHeader

_DETECTORS: Final = "envoy.tracers.opentelemetry.resource_detectors"
_DEFAULT_TIMEOUT_SECONDS: Final = 10


def tracer(name: str, providers: Providers, proxy: Proxy) -> Http | None:
    """The tracer of a provider; None, and noted in `providers`, if it cannot be used."""
    provider = providers.named(name)
    if provider is None:
        return None
    make = _TRACERS.get(provider.WhichOneof("provider") or "")
    if make is None:
        providers.unusable(name, "is no tracer that Envoy has")
        return None
    return make(name, provider, providers, proxy)


def max_tag_length(provider: Provider | None) -> int:
    """How long the path tag may be; 0: open."""
    kind = provider.WhichOneof("provider") if provider else None
    return getattr(getattr(provider, kind), "max_tag_length", 0) if kind else 0


def spawns_spans(provider: Provider | None) -> bool:
    """Whether requests to the next hop have spans of their own: SkyWalking's model wants it."""
    return provider is not None and provider.WhichOneof("provider") == "skywalking"


def _zipkin(name: str, provider: Provider, providers: Providers, proxy: Proxy) -> Http | None:
    settings = provider.zipkin
    collector = providers.collector(name, settings.service, settings.port)
    if collector is None:
        return None
    config = ZipkinConfig(
        collector_cluster=collector.cluster,
        collector_endpoint=settings.path or ZIPKIN_PATH,
        collector_endpoint_version=ZipkinConfig.HTTP_JSON,
        collector_hostname=collector.service.host,
        trace_id_128bit=not settings.enable_64bit_trace_id,
        shared_span_context=BoolValue(value=False),
    )
    if settings.trace_context_option == settings.USE_B3_WITH_W3C_PROPAGATION:
        config.trace_context_option = ZipkinConfig.USE_B3_WITH_W3C_PROPAGATION
    if settings.headers or settings.HasField("timeout"):
        for field in ("collector_cluster", "collector_endpoint", "collector_hostname"):
            config.ClearField(field)
        config.collector_service.CopyFrom(
            _http_service(collector, settings.path or ZIPKIN_PATH, settings)
        )
    return _http("envoy.tracers.zipkin", config)


def _datadog(name: str, provider: Provider, providers: Providers, proxy: Proxy) -> Http | None:
    settings = provider.datadog
    collector = providers.collector(name, settings.service, settings.port)
    if collector is None:
        return None
    config = DatadogConfig(
        collector_cluster=collector.cluster,
        collector_hostname=collector.service.host,
        service_name=_service_name(proxy),
    )
    return _http("envoy.tracers.datadog", config)


def _skywalking(name: str, provider: Provider, providers: Providers, proxy: Proxy) -> Http | None:
    settings = provider.skywalking
    collector = providers.collector(name, settings.service, settings.port)
    if collector is None:
        return None
    config = SkyWalkingConfig(
        grpc_service=collector.grpc(),
        client_config=ClientConfig(
            service_name=_service_name(proxy), backend_token=settings.access_token
        ),
    )
    return _http("envoy.tracers.skywalking", config)


def _opentelemetry(
    name: str, provider: Provider, providers: Providers, proxy: Proxy
) -> Http | None:
    settings = provider.opentelemetry
    collector = providers.collector(name, settings.service, settings.port)
    if collector is None:
        return None
    # By OpenTelemetry's conventions the namespace is an attribute of its own.
    name_of_service = canonical_name(proxy) if _by_convention(settings) else _service_name(proxy)
    config = OpenTelemetryConfig(service_name=name_of_service)
    if settings.HasField("http"):
        service = _http_service(collector, settings.http.path or OTLP_PATH, settings.http)
        config.http_service.CopyFrom(service)
    else:
        config.grpc_service.CopyFrom(collector.grpc())
        if settings.grpc.HasField("timeout"):
            config.grpc_service.timeout.CopyFrom(settings.grpc.timeout)
        config.grpc_service.initial_metadata.extend(
            HeaderValue(key=each.name, value=_header_value(each))
            for each in settings.grpc.initial_metadata
        )
    config.resource_detectors.extend(_detectors(settings, proxy))
    if settings.HasField("dynatrace_sampler"):
        sampler = _dynatrace(name, settings.dynatrace_sampler, providers)
        if sampler is None:
            return None
        config.sampler.CopyFrom(sampler)
    return _http("envoy.tracers.opentelemetry", config)


_TRACERS: Final[Mapping[str, Tracer]] = {
    "zipkin": _zipkin,
    "datadog": _datadog,
    "skywalking": _skywalking,
    "opentelemetry": _opentelemetry,
}


def _detectors(
    settings: Provider.OpenTelemetryTracingProvider, proxy: Proxy
) -> Iterator[TypedExtensionConfig]:
    wanted = settings.resource_detectors
    if wanted.HasField("environment"):
        yield typed_extension(f"{_DETECTORS}.environment", EnvironmentResourceDetectorConfig())
    if wanted.HasField("dynatrace"):
        yield typed_extension(f"{_DETECTORS}.dynatrace", DynatraceResourceDetectorConfig())
    if _by_convention(settings):
        attributes = {
            "service.namespace": proxy.namespace,
            "service.version": canonical_revision(proxy),
        }
        yield typed_extension(
            f"{_DETECTORS}.static_config",
            StaticConfigResourceDetectorConfig(attributes=attributes),
        )


def _service_name(proxy: Proxy) -> str:
    """`node.cluster`, which the agent sets; tracers refuse an empty name."""
    return proxy.cluster or f"{canonical_name(proxy)}.{proxy.namespace}"


def _by_convention(settings: Provider.OpenTelemetryTracingProvider) -> bool:
    conventions = MeshConfig.ExtensionProvider.OTEL_SEMANTIC_CONVENTIONS
    return settings.service_attribute_enrichment == conventions


def _dynatrace(
    name: str,
    sampler: Provider.OpenTelemetryTracingProvider.DynatraceSampler,
    providers: Providers,
) -> TypedExtensionConfig | None:
    api = sampler.http_service
    collector = providers.collector(name, api.service, api.port)
    if collector is None:
        return None
    config = DynatraceSamplerConfig(
        tenant=sampler.tenant,
        cluster_id=sampler.cluster_id,
        root_spans_per_minute=sampler.root_spans_per_minute,
        http_service=_http_service(collector, api.http.path, api.http),
    )
    return typed_extension("envoy.tracers.opentelemetry.samplers.dynatrace", config)


def _http_service(
    collector: Collector,
    path: str,
    settings: Provider.ZipkinTracingProvider | MeshConfig.ExtensionProvider.HttpService,
) -> HttpService:
    timeout = Duration(seconds=_DEFAULT_TIMEOUT_SECONDS)
    if settings.HasField("timeout"):
        timeout.CopyFrom(settings.timeout)
    uri = HttpUri(
        uri=f"http://{collector.authority}{path}", cluster=collector.cluster, timeout=timeout
    )
    return HttpService(
        http_uri=uri,
        request_headers_to_add=[
            HeaderValueOption(
                header=HeaderValue(key=each.name, value=_header_value(each)),
                append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
            )
            for each in settings.headers
        ],
    )


def _header_value(header: HttpHeader) -> str:
    """A fixed value with percent signs escaped, or that of a variable of the proxy's.

    Differs from Istio, where the variable is one of the control plane's: every tenant could read
    those.
    """
    if header.WhichOneof("header_value") == "env_name":
        return f"%ENVIRONMENT({header.env_name})%"
    return header.value.replace("%", "%%")


def _http(name: str, config: Message) -> Http:
    return Http(name=name, typed_config=packed(config))
