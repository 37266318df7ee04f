"""The HTTP connection manager of a filter chain (pilot.md E9)."""

from dataclasses import dataclass
from typing import Final

from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
    Rds,
)
from envoy.extensions.request_id.uuid.v3.uuid_pb2 import UuidRequestIdConfig
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.mesh.v1alpha1.proxy_pb2 import ForwardClientCertDetails, Topology
from mast.pilot.core.clusters.dynamic_hosts import host_resolution
from mast.pilot.core.filters.extensions import Direction, Extensions, Guard, Spot, Traced
from mast.pilot.core.filters.http_filters import http_filters
from mast.pilot.core.filters.idle_timeouts import idle_timeout
from mast.pilot.core.filters.proxy_headers import apply_headers
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Protocol
from mast.pilot.core.packing import packed

HTTP_CONNECTION_MANAGER: Final = "envoy.filters.network.http_connection_manager"

_SERVER_NAME: Final = "istio-envoy"
_FORWARDING: Final = {
    ForwardClientCertDetails.SANITIZE: HttpConnectionManager.SANITIZE,
    ForwardClientCertDetails.FORWARD_ONLY: HttpConnectionManager.FORWARD_ONLY,
    ForwardClientCertDetails.APPEND_FORWARD: HttpConnectionManager.APPEND_FORWARD,
    ForwardClientCertDetails.ALWAYS_FORWARD_ONLY: HttpConnectionManager.ALWAYS_FORWARD_ONLY,
}


@dataclass(frozen=True, kw_only=True)
class HttpChain:
    """What tells one connection manager from another.

    `routes` is the name of a route configuration that Envoy subscribes, or the configuration
    itself. `absolute_urls` is for forward proxies, whose clients send whole URLs, and may open
    tunnels in HTTP/1.0 (as Python's do before 3.12); `dynamic_hosts` tells that a service among the
    routes leaves it to the proxy to resolve hosts; `quic` that the chain speaks HTTP/3. `edge` is
    what stands before the edge of the mesh, if the chain is there.
    """

    stat_prefix: str
    routes: str | RouteConfiguration
    protocol: Protocol = Protocol.HTTP
    absolute_urls: bool = False
    dynamic_hosts: bool = False
    quic: bool = False
    edge: Topology | None = None


def http_connection_manager(
    chain: HttpChain, spot: Spot, mesh: Mesh, extensions: Extensions
) -> Filter:
    """The network filter that speaks HTTP on a chain."""
    proxy = spot.proxy
    last = [host_resolution(proxy)] if chain.dynamic_hosts else []
    manager = HttpConnectionManager(
        codec_type=HttpConnectionManager.AUTO,
        stat_prefix=chain.stat_prefix,
        http_filters=http_filters(spot, chain.protocol, extensions, last),
        access_log=extensions.http_access_logs(spot),
        stream_idle_timeout=Duration(),
        upgrade_configs=[HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        use_remote_address=BoolValue(value=False),
        proxy_100_continue=True,
        # Rules of access compare hosts without the dot of the root (decision 0022).
        strip_trailing_host_dot=bool(extensions.guards(spot, Guard.CUSTOM)),
    )
    if isinstance(chain.routes, str):
        manager.rds.CopyFrom(rds(chain.routes))
    else:
        manager.route_config.CopyFrom(chain.routes)
    if chain.absolute_urls:
        manager.http_protocol_options.allow_absolute_url.value = True
    if proxy.flag("HTTP10") or chain.absolute_urls:
        manager.http_protocol_options.accept_http_10 = True
    if idle := idle_timeout(proxy):
        manager.common_http_protocol_options.idle_timeout.FromTimedelta(idle)
    if chain.quic:
        manager.codec_type = HttpConnectionManager.HTTP3
        manager.http3_protocol_options.SetInParent()
    if spot.direction is Direction.INBOUND:
        _identify_peers(manager)
    if chain.edge is not None:
        _face_strangers(manager, chain.edge)
    apply_headers(manager, extensions.proxy_headers(), spot.direction)
    _normalize_paths(manager, mesh)
    _trace(manager, extensions.tracing(spot))
    return Filter(name=HTTP_CONNECTION_MANAGER, typed_config=packed(manager))


def rds(name: str) -> Rds:
    """A route configuration from the stream that the listener came on, waited for without limit."""
    source = ConfigSource(
        ads=AggregatedConfigSource(),
        resource_api_version=ApiVersion.V3,
        initial_fetch_timeout=Duration(),
    )
    return Rds(route_config_name=name, config_source=source)


def _identify_peers(manager: HttpConnectionManager) -> None:
    manager.server_name = _SERVER_NAME
    manager.forward_client_cert_details = HttpConnectionManager.APPEND_FORWARD
    details = manager.set_current_client_cert_details
    details.subject.value = True
    details.dns = True
    details.uri = True


def _face_strangers(manager: HttpConnectionManager, topology: Topology) -> None:
    """The edge of the mesh: what clients say of themselves counts only as far as is known."""
    manager.server_name = _SERVER_NAME
    manager.use_remote_address.value = True
    manager.xff_num_trusted_hops = topology.num_trusted_proxies
    manager.forward_client_cert_details = _FORWARDING.get(
        topology.forward_client_cert_details, HttpConnectionManager.SANITIZE_SET
    )
    details = manager.set_current_client_cert_details
    details.subject.value = True
    details.cert = True
    details.dns = True
    details.uri = True


def _normalize_paths(manager: HttpConnectionManager, mesh: Mesh) -> None:
    normalization = mesh.config.path_normalization.normalization
    kind = MeshConfig.ProxyPathNormalization
    manager.normalize_path.value = normalization != kind.NONE
    manager.merge_slashes = normalization in (
        kind.MERGE_SLASHES,
        kind.DECODE_AND_MERGE_SLASHES,
    )
    if normalization == kind.DECODE_AND_MERGE_SLASHES:
        manager.path_with_escaped_slashes_action = HttpConnectionManager.UNESCAPE_AND_FORWARD


def _trace(manager: HttpConnectionManager, traced: Traced | None) -> None:
    """Trace requests, if at all; request IDs tell those who follow what was sampled."""
    identities = UuidRequestIdConfig()
    if traced is not None:
        manager.tracing.CopyFrom(traced.config)
        if not traced.request_ids_tell:
            identities.use_request_id_for_trace_sampling.value = False
    manager.request_id_extension.typed_config.CopyFrom(packed(identities))
