"""Small pieces of Envoy configuration that several parts of the bootstrap share."""

from datetime import timedelta
from typing import Final

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, Pipe, SocketAddress, TcpKeepalive
from envoy.config.core.v3.base_pb2 import RoutingPriority
from envoy.config.core.v3.protocol_pb2 import Http2ProtocolOptions, HttpProtocolOptions
from envoy.config.endpoint.v3.endpoint_components_pb2 import (
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import (
    HttpProtocolOptions as UpstreamHttp,
)
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

UPSTREAM_HTTP: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
MANY: Final = UInt32Value(value=100000)


def packed(message: Message) -> Any:
    """The message in an Any with its canonical type URL."""
    result = Any()
    result.Pack(message, deterministic=True)
    return result


def duration(length: timedelta) -> Duration:
    """The protobuf form of a length of time."""
    result = Duration()
    result.FromTimedelta(length)
    return result


def socket(host: str, port: int) -> Address:
    """A TCP address; the host is an IP address or, in DNS clusters, a name."""
    return Address(socket_address=SocketAddress(address=host, port_value=port))


def pipe(path: str) -> Address:
    """A Unix socket, relative to Envoy's working directory unless it begins with ``/``."""
    return Address(pipe=Pipe(path=path))


def cluster(
    name: str,
    address: Address,
    *,
    timeout: timedelta,
    discovery: Cluster.DiscoveryType.ValueType = Cluster.STATIC,
) -> Cluster:
    """A cluster of one endpoint. Its stats get the name that the tag pattern cuts at ``;``."""
    endpoint = LbEndpoint(endpoint=Endpoint(address=address))
    return Cluster(
        name=name,
        alt_stat_name=f"{name};",
        type=discovery,
        connect_timeout=duration(timeout),
        lb_policy=Cluster.ROUND_ROBIN,
        load_assignment=ClusterLoadAssignment(
            cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
        ),
    )


def speak_http2(target: Cluster, *, requests_per_connection: int = 0) -> None:
    """Make the cluster's upstream protocol HTTP/2; 0 requests mean without limit."""
    options = UpstreamHttp(
        explicit_http_config=UpstreamHttp.ExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions()
        )
    )
    if requests_per_connection:
        options.common_http_protocol_options.CopyFrom(
            HttpProtocolOptions(
                max_requests_per_connection=UInt32Value(value=requests_per_connection)
            )
        )
    target.typed_extension_protocol_options[UPSTREAM_HTTP].CopyFrom(packed(options))


def unlimited(target: Cluster) -> None:
    """Lift the circuit breakers of both priorities out of the way."""
    for priority in (RoutingPriority.DEFAULT, RoutingPriority.HIGH):
        target.circuit_breakers.thresholds.append(
            CircuitBreakers.Thresholds(
                priority=priority,
                max_connections=MANY,
                max_pending_requests=MANY,
                max_requests=MANY,
            )
        )


def keep_alive(target: Cluster, seconds: int, *, interval: int = 0, probes: int = 0) -> None:
    """Probe idle connections of the cluster after ``seconds``.

    0 leaves the seconds between two probes, and how many may fail, to the kernel.
    """
    options = TcpKeepalive(keepalive_time=UInt32Value(value=seconds))
    if interval:
        options.keepalive_interval.value = interval
    if probes:
        options.keepalive_probes.value = probes
    target.upstream_connection_options.tcp_keepalive.CopyFrom(options)
