"""Where Envoy sends spans, statistics and access logs: clusters and sinks of the bootstrap."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import ApiVersion
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.metrics.v3.metrics_service_pb2 import MetricsServiceConfig
from envoy.config.metrics.v3.stats_pb2 import StatsdSink, StatsSink
from envoy.config.trace.v3.datadog_pb2 import DatadogConfig
from envoy.config.trace.v3.http_tracer_pb2 import Tracing
from envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig, RemoteService
from istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings
from mast.agent.core import messages, tls

METRICS: Final = "envoy_metrics_service"
ACCESS_LOG: Final = "envoy_accesslog_service"
GONE: Final = frozenset({"lightstep", "stackdriver", "open_census_agent"})
"""Tracers of ProxyConfig that Envoy no longer has: they are left out (B5)."""

_CONNECT: Final = timedelta(seconds=1)


@dataclass(slots=True)
class Collectors:
    """Parts of the bootstrap that name collectors."""

    clusters: list[Cluster] = field(default_factory=list)
    sinks: list[StatsSink] = field(default_factory=list)
    tracing: Tracing | None = None


def collectors(config: ProxyConfig, cluster: str, env: Mapping[str, str]) -> Collectors:
    """Clusters, sinks and tracer of ProxyConfig; ``cluster`` is ``node.cluster``.

    Addresses are HOST:PORT and may name variables of ``env`` as ``$(HOST_IP)``. Raises
    ValueError that names the field of an address without a port.
    """
    found = Collectors()
    _add_tracer(found, config, cluster, env)
    metrics = config.envoy_metrics_service
    if metrics.address or config.envoy_metrics_service_address:
        address = metrics.address or config.envoy_metrics_service_address
        found.clusters.append(_grpc_cluster(METRICS, address, metrics, env))
        service = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=METRICS))
        sink = MetricsServiceConfig(transport_api_version=ApiVersion.V3, grpc_service=service)
        found.sinks.append(_sink("envoy.stat_sinks.metrics_service", sink))
    if logs := config.envoy_access_log_service.address:
        service_config = config.envoy_access_log_service
        found.clusters.append(_grpc_cluster(ACCESS_LOG, logs, service_config, env))
    if config.statsd_udp_address:
        host, port = _host_port("statsdUdpAddress", config.statsd_udp_address, env)
        statsd = StatsdSink(address=messages.socket(host, port))
        found.sinks.append(_sink("envoy.stat_sinks.statsd", statsd))
    return found


def _add_tracer(
    found: Collectors, config: ProxyConfig, cluster: str, env: Mapping[str, str]
) -> None:
    kind = config.tracing.WhichOneof("tracer")
    address = config.tracing.zipkin.address or ("" if kind else config.zipkin_address)
    if address:
        zipkin = _dns_cluster("zipkin", "tracing.zipkin.address", address, env)
        zipkin.dns_refresh_rate.CopyFrom(messages.duration(timedelta(seconds=30)))
        _add_tls(zipkin, config.tracing.tls_settings)
        found.clusters.append(zipkin)
        tracer: Message = ZipkinConfig(
            collector_cluster="zipkin",
            collector_endpoint="/api/v2/spans",
            collector_endpoint_version=ZipkinConfig.HTTP_JSON,
            trace_id_128bit=True,
            shared_span_context=BoolValue(value=False),
        )
        found.tracing = _tracing("envoy.tracers.zipkin", tracer)
    elif kind == "datadog":
        agent = config.tracing.datadog.address
        found.clusters.append(_dns_cluster("datadog_agent", "tracing.datadog.address", agent, env))
        tracer = DatadogConfig(collector_cluster="datadog_agent", service_name=cluster)
        found.tracing = _tracing("envoy.tracers.datadog", tracer)


def _tracing(name: str, config: Message) -> Tracing:
    return Tracing(http=Tracing.Http(name=name, typed_config=messages.packed(config)))


def _sink(name: str, config: Message) -> StatsSink:
    return StatsSink(name=name, typed_config=messages.packed(config))


def _grpc_cluster(
    name: str, address: str, service: RemoteService, env: Mapping[str, str]
) -> Cluster:
    cluster = _dns_cluster(name, f"{name}.address", address, env)
    messages.speak_http2(cluster)
    _add_tls(cluster, service.tls_settings)
    if service.HasField("tcp_keepalive"):
        wanted = service.tcp_keepalive
        messages.keep_alive(
            cluster,
            wanted.time.seconds or 300,
            interval=wanted.interval.seconds,
            probes=wanted.probes,
        )
    return cluster


def _dns_cluster(name: str, where: str, address: str, env: Mapping[str, str]) -> Cluster:
    host, port = _host_port(where, address, env)
    cluster = messages.cluster(
        name, messages.socket(host, port), timeout=_CONNECT, discovery=Cluster.STRICT_DNS
    )
    cluster.respect_dns_ttl = True
    return cluster


def _host_port(where: str, address: str, env: Mapping[str, str]) -> tuple[str, int]:
    for name, value in env.items():
        address = address.replace(f"$({name})", value)
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal():
        raise ValueError(f"ProxyConfig {where} {address!r}: want HOST:PORT")
    return host.strip("[]"), int(port)


def _add_tls(cluster: Cluster, settings: ClientTLSSettings) -> None:
    context = tls.upstream_context(settings)
    if context is not None:
        cluster.transport_socket.CopyFrom(
            TransportSocket(
                name="envoy.transport_sockets.tls", typed_config=messages.packed(context)
            )
        )
