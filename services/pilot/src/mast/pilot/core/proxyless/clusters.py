"""Clusters as gRPC takes them: found by EDS or one DNS name, mutual TLS for all or nobody (B29)."""

from collections.abc import Iterator

from envoy.config.cluster.v3.circuit_breaker_pb2 import CircuitBreakers
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.cluster.v3.outlier_detection_pb2 import OutlierDetection as GrpcOutlierDetection
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from istio.networking.v1alpha3.destination_rule_pb2 import (
    ClientTLSSettings,
    OutlierDetection,
    TrafficPolicy,
)
from mast.pilot.core import names
from mast.pilot.core.clusters.balancers import apply_balancer
from mast.pilot.core.clusters.client_tls import all_accept, identities, is_automatic, modes
from mast.pilot.core.clusters.clusters import ads_source
from mast.pilot.core.clusters.destination_rules import traffic_policy
from mast.pilot.core.clusters.endpoints import Destination, load_assignment
from mast.pilot.core.clusters.pools import UNLIMITED
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.proxyless import tls
from mast.pilot.core.proxyless.names import is_callable
from mast.pilot.core.proxyless.unsupported import left_out
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.peer_authentication import Mode

_EJECTING_PERCENT = 99
"""An endpoint is ejected if more than so many percent of its calls fail."""


def cluster(destination: Destination, scope: Scope, proxy: Proxy) -> Cluster | None:
    """The cluster of a destination, None if gRPC cannot find its endpoints."""
    service, port = destination.service, destination.port
    if not is_callable(service, port):
        return None
    policy = traffic_policy(scope.mesh, destination.rule, destination.subset, port.number)
    made = Cluster(name=names.outbound_cluster(port.number, destination.subset, service.host))
    if service.resolution.is_dns:
        if not _resolve_name(made, destination, scope, proxy):
            return None
    else:
        made.type = Cluster.EDS
        made.eds_cluster_config.eds_config.CopyFrom(ads_source(Duration()))
        made.eds_cluster_config.service_name = made.name
    _balance(made, policy)
    made.circuit_breakers.thresholds.append(
        CircuitBreakers.Thresholds(
            max_requests=UInt32Value(
                value=max(0, policy.connection_pool.http.http2_max_requests) or UNLIMITED
            )
        )
    )
    if policy.HasField("outlier_detection"):
        _eject(made, policy.outlier_detection)
    _secure(made, destination, policy, scope)
    subject = destination.rule.origins[0].object_name if destination.rule else None
    if finding := left_out(made.name, subject, _unsupported(policy)):
        scope.report(finding)
    return made


def _resolve_name(made: Cluster, destination: Destination, scope: Scope, proxy: Proxy) -> bool:
    """Let gRPC resolve the first name, one being all it takes; false if there is none."""
    assignment = load_assignment(made.name, destination, scope, proxy)
    for group in assignment.endpoints:
        for each in group.lb_endpoints:
            if each.endpoint.address.HasField("socket_address"):
                made.type = Cluster.LOGICAL_DNS
                made.load_assignment.cluster_name = made.name
                kept = made.load_assignment.endpoints.add(locality=group.locality)
                kept.lb_endpoints.add().endpoint.address.CopyFrom(each.endpoint.address)
                return True
    return False


def _balance(made: Cluster, policy: TrafficPolicy) -> None:
    """A ring where requests are to stick, else all in turn: that is what every gRPC can do."""
    made.lb_policy = Cluster.ROUND_ROBIN
    if policy.load_balancer.HasField("consistent_hash"):
        apply_balancer(made, policy.load_balancer)
        made.lb_policy = Cluster.RING_HASH
        made.ClearField("maglev_lb_config")
        made.ring_hash_lb_config.hash_function = Cluster.RingHashLbConfig.XX_HASH


def _eject(made: Cluster, settings: OutlierDetection) -> None:
    """Errors in a row, which gRPC does not count, become as many calls that all fail.

    It looks at them once in each interval.
    """
    errors = (
        settings.consecutive_gateway_errors.value
        or settings.consecutive_5xx_errors.value
        or settings.consecutive_errors
    )
    if errors <= 0:
        return
    detection = GrpcOutlierDetection(
        enforcing_success_rate=UInt32Value(value=0),
        enforcing_failure_percentage=UInt32Value(value=100),
        failure_percentage_threshold=UInt32Value(value=_EJECTING_PERCENT),
        failure_percentage_minimum_hosts=UInt32Value(value=1),
        failure_percentage_request_volume=UInt32Value(value=errors),
    )
    if settings.HasField("interval"):
        detection.interval.CopyFrom(settings.interval)
    if settings.HasField("base_ejection_time"):
        detection.base_ejection_time.CopyFrom(settings.base_ejection_time)
        # The longest ejection must not be shorter.
        longest = max(settings.base_ejection_time.ToTimedelta().total_seconds(), 300)
        detection.max_ejection_time.FromMilliseconds(int(longest * 1000))
    if settings.max_ejection_percent > 0:
        detection.max_ejection_percent.value = settings.max_ejection_percent
    made.outlier_detection.CopyFrom(detection)


def _secure(made: Cluster, destination: Destination, policy: TrafficPolicy, scope: Scope) -> None:
    """Mutual TLS if the rule says so or every endpoint takes it (pilot.md G6).

    It counts for channels with `xds_channel_credentials` only; without it their fallback counts.
    """
    if policy.HasField("tls"):
        wanted = policy.tls.mode == ClientTLSSettings.ISTIO_MUTUAL
    else:
        wanted = is_automatic(scope, destination) and _takes_mutual_tls(destination, scope)
    if wanted:
        service, port = destination.service, destination.port
        sni = policy.tls.sni or names.sni(port.number, destination.subset, service.host)
        known = list(policy.tls.subject_alt_names) or identities(scope, service)
        made.transport_socket.CopyFrom(tls.client(sni, known))


def _takes_mutual_tls(destination: Destination, scope: Scope) -> bool:
    """Every endpoint does: gRPC cannot tell them apart.

    Proxies of a sniffed or TCP port take TLS without Istio's ALPN for the application's own, unless
    they demand mutual TLS (pilot.md E12).
    """
    if not all_accept(scope, destination):
        return False
    return destination.port.protocol.is_http or modes(scope, destination) == {Mode.STRICT}


def _unsupported(policy: TrafficPolicy) -> Iterator[str]:
    if policy.tls.mode in (ClientTLSSettings.SIMPLE, ClientTLSSettings.MUTUAL):
        yield f"tls.mode {ClientTLSSettings.TLSmode.Name(policy.tls.mode)}"
    if policy.HasField("proxy_protocol"):
        yield "proxyProtocol"
    if policy.HasField("tunnel"):
        yield "tunnel"
    if policy.load_balancer.HasField("warmup"):
        yield "loadBalancer.warmup"
    if policy.HasField("retry_budget"):
        yield "retryBudget"
