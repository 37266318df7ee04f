"""The bootstrap of one Envoy: who it is, where it asks for the rest, what it answers itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from envoy.config.bootstrap.v3.bootstrap_pb2 import (
    Admin,
    Bootstrap,
    ClusterManager,
    LayeredRuntime,
    RuntimeLayer,
)
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Locality as EnvoyLocality
from envoy.config.core.v3.base_pb2 import Node as EnvoyNode
from envoy.config.core.v3.config_source_pb2 import (
    AggregatedConfigSource,
    ApiConfigSource,
    ApiVersion,
    ConfigSource,
)
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.config.overload.v3.overload_pb2 import OverloadManager, ResourceMonitor
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.bootstrap.internal_listener.v3.internal_listener_pb2 import InternalListener
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from istio.mesh.v1alpha1.proxy_pb2 import ProxyConfig
from mast.agent.core import listeners, messages, paths, tls
from mast.agent.core.collectors import collectors
from mast.agent.core.node import Node
from mast.agent.core.stats import intervals, stats_config

XDS_CLUSTER: Final = "xds-grpc"
FILES_CLUSTER: Final = "sds-files-grpc"
MAX_CONNECTIONS: Final = 2147483647
RUNTIME: Final[Mapping[str, Any]] = {
    "re2.max_program_size.error_level": "32768",
    "envoy.reloadable_features.http_reject_path_with_fragment": False,
    "envoy.reloadable_features.fixed_heap_use_allocated": True,
    "envoy.reloadable_features.coalesce_lb_rebuilds_on_batch_update": False,
}
"""Runtime of every proxy (citadel-and-agent.md B5, pilot.md A7)."""

LOG_FORMAT: Final = {
    "level": "%l",
    "logger": "%n",
    "thread": "%t",
    "source": "%g:%#",
    "message": "%j",
}
"""Envoy's application log, a JSON object a line: the agent reads it and logs it as its own."""

_SECOND: Final = timedelta(seconds=1)
_QUARTER: Final = timedelta(milliseconds=250)
_NO_WAIT: Final = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where Envoy and the agent listen; paths are relative to the working directory.

    ``bind`` is the address of the status and metrics listeners, ``local`` that of the admin port
    and of the agent's status server as Envoy reaches them.
    """

    bind: str = "0.0.0.0"  # noqa: S104 - status and metrics are for the kubelet and Prometheus
    local: str = "127.0.0.1"
    admin_port: int = 15000
    agent_port: int = 15020
    status_port: int = 15021
    prometheus_port: int = 15090
    xds_socket: str = paths.XDS_SOCKET
    sds_socket: str = f"{paths.WORKLOAD_SOCKETS}/socket"
    files_socket: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def bootstrap(
    node: Node,
    config: ProxyConfig,
    places: Places,
    *,
    exit_on_zero: bool = False,
    delta: bool = True,
    outlier_log: str = "",
) -> Bootstrap:
    """Envoy's bootstrap (citadel-and-agent.md B5, pilot.md A6); ``delta`` is the ADS variant,
    ``outlier_log`` the file that gets ejections and returns of endpoints.

    Raises ValueError that names the field of ProxyConfig or the annotation that cannot be used.
    """
    collecting = collectors(config, node.cluster, places.env)
    annotations = node.metadata.get("ANNOTATIONS", {})
    result = Bootstrap(
        node=_node(node),
        layered_runtime=_runtime(config),
        bootstrap_extensions=[_internal_listener()],
        stats_config=stats_config(config, annotations, exit_on_zero=exit_on_zero),
        stats_sinks=collecting.sinks,
        tracing=collecting.tracing,
        admin=_admin(places),
        dynamic_resources=_dynamic_resources(delta=delta),
        overload_manager=_overload_manager(config),
        cluster_manager=ClusterManager(enable_deferred_cluster_creation=True),
    )
    result.static_resources.clusters.extend([*_clusters(places), *collecting.clusters])
    result.static_resources.listeners.extend(
        [
            listeners.prometheus(
                places.bind,
                places.prometheus_port,
                compressed=not config.HasField("stats_compression")
                or config.stats_compression.value,
            ),
            listeners.status(places.bind, places.status_port),
        ]
    )
    every = intervals(annotations)
    if every.flush is not None:
        result.stats_flush_interval.CopyFrom(messages.duration(every.flush))
    if every.eviction is not None:
        result.stats_eviction_interval.CopyFrom(messages.duration(every.eviction))
    if outlier_log:
        result.cluster_manager.outlier_detection.event_log_path = outlier_log
    result.deferred_stat_options.enable_deferred_creation_stats = True
    ParseDict(LOG_FORMAT, result.application_log_config.log_format.json_format)
    return result


def as_json(message: Bootstrap) -> dict[str, Any]:
    """The bootstrap as the JSON object that Envoy reads, with the names of its fields."""
    fields: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return fields


def _node(node: Node) -> EnvoyNode:
    metadata = Struct()
    metadata.update(node.metadata)
    return EnvoyNode(
        id=node.id,
        cluster=node.cluster,
        locality=EnvoyLocality(
            region=node.locality.region, zone=node.locality.zone, sub_zone=node.locality.subzone
        ),
        metadata=metadata,
    )


def _runtime(config: ProxyConfig) -> LayeredRuntime:
    """Our values under ProxyConfig's: its "" removes a key, its "true" is a boolean."""
    values = dict(RUNTIME)
    for key, text in config.runtime_values.items():
        values.pop(key, None)
        if text:
            values[key] = {"true": True, "false": False}.get(text, text)
    layer = Struct()
    layer.update(values)
    return LayeredRuntime(
        layers=[
            RuntimeLayer(name="global config", static_layer=layer),
            RuntimeLayer(name="admin", admin_layer=RuntimeLayer.AdminLayer()),
        ]
    )


def _internal_listener() -> TypedExtensionConfig:
    config = InternalListener(buffer_size_kb=UInt32Value(value=64))
    return TypedExtensionConfig(
        name="envoy.bootstrap.internal_listener", typed_config=messages.packed(config)
    )


def _admin(places: Places) -> Admin:
    admin = Admin(
        address=messages.socket(places.local, places.admin_port),
        profile_path="/var/lib/istio/data/envoy.prof",
    )
    sink = FileAccessLog(path="/dev/null")
    admin.access_log.add(name="envoy.access_loggers.file", typed_config=messages.packed(sink))
    return admin


def _dynamic_resources(*, delta: bool) -> Bootstrap.DynamicResources:
    ads = ConfigSource(
        ads=AggregatedConfigSource(),
        initial_fetch_timeout=messages.duration(_NO_WAIT),
        resource_api_version=ApiVersion.V3,
    )
    service = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=XDS_CLUSTER))
    return Bootstrap.DynamicResources(
        lds_config=ads,
        cds_config=ads,
        ads_config=ApiConfigSource(
            api_type=ApiConfigSource.DELTA_GRPC if delta else ApiConfigSource.GRPC,
            transport_api_version=ApiVersion.V3,
            set_node_on_first_message_only=True,
            grpc_services=[service],
        ),
    )


def _overload_manager(config: ProxyConfig) -> OverloadManager:
    limit = config.connection_settings.global_downstream_connection_limit.value or MAX_CONNECTIONS
    monitor = downstream_connections_pb2.DownstreamConnectionsConfig(
        max_active_downstream_connections=limit
    )
    return OverloadManager(
        resource_monitors=[
            ResourceMonitor(
                name="envoy.resource_monitors.global_downstream_max_connections",
                typed_config=messages.packed(monitor),
            )
        ]
    )


def _clusters(places: Places) -> list[Cluster]:
    xds = messages.cluster(XDS_CLUSTER, messages.pipe(places.xds_socket), timeout=_SECOND)
    messages.speak_http2(xds, requests_per_connection=1)
    messages.unlimited(xds)
    messages.keep_alive(xds, 300)
    pipes = {tls.SDS_CLUSTER: places.sds_socket, FILES_CLUSTER: places.files_socket}
    local = {listeners.ADMIN_CLUSTER: places.admin_port, listeners.AGENT_CLUSTER: places.agent_port}
    found = [
        messages.cluster(name, messages.socket(places.local, port), timeout=_QUARTER)
        for name, port in local.items()
    ]
    for name, path in pipes.items():
        if path is not None:
            secrets = messages.cluster(name, messages.pipe(path), timeout=_SECOND)
            messages.speak_http2(secrets)
            found.append(secrets)
    return [*found, xds]
