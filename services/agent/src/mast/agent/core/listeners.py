"""The two listeners of every bootstrap: readiness and metrics (citadel-and-agent.md B5)."""

from typing import Final

from envoy.config.core.v3.base_pb2 import RuntimeFeatureFlag
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route, RouteAction, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.compression.brotli.compressor.v3.brotli_pb2 import Brotli
from envoy.extensions.compression.gzip.compressor.v3.gzip_pb2 import Gzip
from envoy.extensions.compression.zstd.compressor.v3.zstd_pb2 import Zstd
from envoy.extensions.filters.http.compressor.v3.compressor_pb2 import Compressor
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm,
)
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue

from mast.agent.core import messages

ADMIN_CLUSTER: Final = "prometheus_stats"
AGENT_CLUSTER: Final = "agent"
READY_PATH: Final = "/healthz/ready"
METRICS_PATH: Final = "/stats/prometheus"

_COMPRESSORS: Final[dict[str, Message]] = {"brotli": Brotli(), "zstd": Zstd(), "gzip": Gzip()}


def status(bind: str, port: int) -> Listener:
    """``/healthz/ready``, answered by the agent."""
    return _listener(bind, port, "agent", READY_PATH, AGENT_CLUSTER, [])


def prometheus(bind: str, port: int, *, compressed: bool = True) -> Listener:
    """``/stats/prometheus``, answered by Envoy's own admin port, compressed if asked.

    Without ``compressed`` it is as it is, whatever a scraper accepts.
    """
    offered = _COMPRESSORS if compressed else {}
    filters = [_compressor(name, library) for name, library in offered.items()]
    return _listener(bind, port, "stats", METRICS_PATH, ADMIN_CLUSTER, filters)


def _listener(
    bind: str, port: int, stat_prefix: str, path: str, cluster: str, filters: list[hcm.HttpFilter]
) -> Listener:
    route = Route(match=RouteMatch(prefix=path), route=RouteAction(cluster=cluster))
    backend = VirtualHost(name="backend", domains=["*"], routes=[route])
    manager = hcm.HttpConnectionManager(
        codec_type=hcm.HttpConnectionManager.AUTO,
        stat_prefix=stat_prefix,
        route_config=RouteConfiguration(virtual_hosts=[backend]),
        http_filters=[*filters, _http_filter("envoy.filters.http.router", Router())],
    )
    network_filter = Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=messages.packed(manager)
    )
    return Listener(
        address=messages.socket(bind, port),
        filter_chains=[FilterChain(filters=[network_filter])],
        ignore_global_conn_limit=True,
        bypass_overload_manager=True,
    )


def _compressor(name: str, library: Message) -> hcm.HttpFilter:
    enabled = RuntimeFeatureFlag(default_value=BoolValue(value=True), runtime_key="")
    direction = Compressor.ResponseDirectionConfig(
        common_config=Compressor.CommonDirectionConfig(enabled=enabled),
        disable_on_etag_header=True,
    )
    config = Compressor(
        response_direction_config=direction,
        compressor_library=TypedExtensionConfig(
            name=f"envoy.compression.{name}.compressor", typed_config=messages.packed(library)
        ),
    )
    return _http_filter(f"envoy.filters.http.compressor.{name}", config)


def _http_filter(name: str, config: Message) -> hcm.HttpFilter:
    return hcm.HttpFilter(name=name, typed_config=messages.packed(config))
