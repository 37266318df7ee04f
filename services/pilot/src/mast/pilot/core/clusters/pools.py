"""Limits and protocols of connections to a cluster (DestinationRule connectionPool)."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster, UpstreamConnectionOptions
from envoy.config.common.matcher.v3.matcher_pb2 import HttpHeadersMatch, MatchPredicate
from envoy.config.core.v3.address_pb2 import TcpKeepalive
from envoy.config.core.v3.protocol_pb2 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    KeepaliveSettings,
)
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.v3.percent_pb2 import Percent
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.networking.v1alpha3.destination_rule_pb2 import ConnectionPoolSettings, TrafficPolicy
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Protocol
from mast.pilot.core.packing import packed

UNLIMITED: Final = 2**32 - 1
HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

_TcpKeepalive = ConnectionPoolSettings.TCPSettings.TcpKeepalive
_Upgrade = ConnectionPoolSettings.HTTPSettings


class Upstream(StrEnum):
    """What a cluster speaks to its endpoints."""

    TCP = "tcp"
    HTTP_1 = "http/1.1"
    HTTP_2 = "h2"
    AS_DOWNSTREAM = "as downstream"


def upstream_protocol(
    mesh: Mesh, protocol: Protocol, pool: ConnectionPoolSettings, *, router: bool = False
) -> Upstream:
    """What a cluster for a port of that protocol speaks (pilot.md G, protocol).

    A gateway speaks HTTP/1.1 on sniffed ports: it always carries HTTP there.
    """
    if protocol.is_tcp:
        return Upstream.TCP
    if pool.http.use_client_protocol:
        return Upstream.AS_DOWNSTREAM
    if protocol.is_http2 or _is_upgraded(mesh, protocol, pool):
        return Upstream.HTTP_2
    if protocol is Protocol.AUTO:
        return Upstream.HTTP_1 if router else Upstream.AS_DOWNSTREAM
    return Upstream.HTTP_1


def apply_pool(cluster: Cluster, mesh: Mesh, policy: TrafficPolicy) -> None:
    """Timeouts, keepalive and circuit breakers (pilot.md G, breakers, tcp, retryBudget)."""
    pool = policy.connection_pool
    cluster.connect_timeout.CopyFrom(
        pool.tcp.connect_timeout if pool.tcp.HasField("connect_timeout") else mesh.connect_timeout
    )
    cluster.circuit_breakers.thresholds.append(_thresholds(policy))
    for source in (mesh.config, pool.tcp):
        if source.HasField("tcp_keepalive"):
            options = UpstreamConnectionOptions(tcp_keepalive=_keepalive(source.tcp_keepalive))
            cluster.upstream_connection_options.CopyFrom(options)


def apply_http_options(
    cluster: Cluster,
    upstream: Upstream,
    pool: ConnectionPoolSettings,
    *,
    auto_sni: bool = False,
    verify_name: bool = False,
    errors: Collection[int] = (),
) -> None:
    """HTTP options of a cluster that does not only carry TCP (pilot.md G, http, protocol).

    `auto_sni` sends the host of the request as server name, `verify_name` demands a certificate
    for it. Outlier detection counts statuses in `errors` as failures, besides all 5xx.
    """
    if upstream is Upstream.TCP:
        return
    options = HttpProtocolOptions()
    _add_protocol(options, upstream, pool.http)
    common = options.common_http_protocol_options
    if pool.http.HasField("idle_timeout"):
        common.idle_timeout.CopyFrom(pool.http.idle_timeout)
    if pool.http.max_requests_per_connection > 0:
        common.max_requests_per_connection.value = pool.http.max_requests_per_connection
    if pool.tcp.HasField("max_connection_duration"):
        common.max_connection_duration.CopyFrom(pool.tcp.max_connection_duration)
    if auto_sni:
        options.upstream_http_protocol_options.auto_sni = True
        options.upstream_http_protocol_options.auto_san_validation = verify_name
    if errors:
        options.outlier_detection.error_matcher.CopyFrom(_failures(errors))
    cluster.typed_extension_protocol_options[HTTP_OPTIONS].CopyFrom(packed(options))


def passthrough_http_options(cluster: Cluster, idle: Duration) -> None:
    """Whatever protocol the client speaks, with a limit for idle connections."""
    pool = ConnectionPoolSettings()
    pool.http.idle_timeout.CopyFrom(idle)
    apply_http_options(cluster, Upstream.AS_DOWNSTREAM, pool)


def default_thresholds() -> CircuitBreakers.Thresholds:
    """No limits, but counted."""
    return CircuitBreakers.Thresholds(
        max_connections=UInt32Value(value=UNLIMITED),
        max_pending_requests=UInt32Value(value=UNLIMITED),
        max_requests=UInt32Value(value=UNLIMITED),
        max_retries=UInt32Value(value=UNLIMITED),
        track_remaining=True,
    )


def _thresholds(policy: TrafficPolicy) -> CircuitBreakers.Thresholds:
    found = default_thresholds()
    pool = policy.connection_pool
    if pool.tcp.max_connections > 0:
        found.max_connections.value = pool.tcp.max_connections
    if pool.http.http1_max_pending_requests > 0:
        found.max_pending_requests.value = pool.http.http1_max_pending_requests
    if pool.http.http2_max_requests > 0:
        found.max_requests.value = pool.http.http2_max_requests
    if pool.http.max_retries > 0:
        found.max_retries.value = pool.http.max_retries
    if policy.HasField("retry_budget"):
        budget = policy.retry_budget
        percent = budget.percent.value if budget.HasField("percent") else 20.0
        found.retry_budget.budget_percent.CopyFrom(Percent(value=percent))
        found.retry_budget.min_retry_concurrency.value = budget.min_retry_concurrency or 3
    return found


def _keepalive(settings: _TcpKeepalive) -> TcpKeepalive:
    found = TcpKeepalive()
    if settings.probes:
        found.keepalive_probes.value = settings.probes
    if settings.HasField("time"):
        found.keepalive_time.value = _whole_seconds(settings.time)
    if settings.HasField("interval"):
        found.keepalive_interval.value = _whole_seconds(settings.interval)
    return found


def _whole_seconds(duration: Duration) -> int:
    """Rounded up: the kernel takes no less than a second."""
    return duration.seconds + (1 if duration.nanos else 0)


def _failures(statuses: Collection[int]) -> MatchPredicate:
    regex = "|".join(("5[0-9][0-9]", *map(str, sorted(set(statuses)))))
    status = HeaderMatcher(
        name=":status", string_match=StringMatcher(safe_regex=RegexMatcher(regex=regex))
    )
    return MatchPredicate(http_response_headers_match=HttpHeadersMatch(headers=[status]))


def _is_upgraded(mesh: Mesh, protocol: Protocol, pool: ConnectionPoolSettings) -> bool:
    """HTTP/1.1 ports may be upgraded, by the rule or, unless it forbids it, by the mesh."""
    if protocol is not Protocol.HTTP:
        return False
    wish = pool.http.h2_upgrade_policy
    if wish == _Upgrade.DEFAULT:
        return mesh.config.h2_upgrade_policy == MeshConfig.UPGRADE
    return wish == _Upgrade.UPGRADE


def _add_protocol(options: HttpProtocolOptions, upstream: Upstream, http: _Upgrade) -> None:
    two = Http2ProtocolOptions()
    if http.max_concurrent_streams > 0:
        two.max_concurrent_streams.value = http.max_concurrent_streams
    if http.HasField("http2_keep_alive"):
        keepalive = http.http2_keep_alive
        two.connection_keepalive.CopyFrom(
            KeepaliveSettings(interval=keepalive.interval, timeout=keepalive.timeout)
        )
    if upstream is Upstream.HTTP_2:
        options.explicit_http_config.http2_protocol_options.CopyFrom(two)
    elif upstream is Upstream.AS_DOWNSTREAM:
        both = options.use_downstream_protocol_config
        both.http_protocol_options.CopyFrom(Http1ProtocolOptions())
        both.http2_protocol_options.CopyFrom(two)
    else:
        options.explicit_http_config.http_protocol_options.CopyFrom(Http1ProtocolOptions())
