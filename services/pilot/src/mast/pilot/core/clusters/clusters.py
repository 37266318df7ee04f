"""Outbound clusters: one for each port of a service, and for each of its subsets (pilot.md G)."""

from collections.abc import Iterator
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import UInt32Value

from istio.networking.v1alpha3.destination_rule_pb2 import LoadBalancerSettings, TrafficPolicy
from mast.pilot.core import names
from mast.pilot.core.clusters import dns, locality
from mast.pilot.core.clusters.balancers import (
    apply_balancer,
    apply_locality,
    apply_outlier_detection,
)
from mast.pilot.core.clusters.client_tls import apply_client_tls, needs_auto_sni, verifies_name
from mast.pilot.core.clusters.cluster_metadata import describe
from mast.pilot.core.clusters.destination_rules import Rule, traffic_policy
from mast.pilot.core.clusters.endpoints import Destination, load_assignment
from mast.pilot.core.clusters.pools import apply_http_options, apply_pool, upstream_protocol
from mast.pilot.core.mixer import replicas
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Protocol, Resolution, Service
from mast.pilot.core.model.proxy import Proxy, ProxyType
from mast.pilot.core.scope.scope import Scope

EDS_FETCH_TIMEOUT: Final = Duration(seconds=15)
"""How long a new or changed cluster waits for its endpoints (pilot.md B16)."""


def service_clusters(
    service: Service, rule: Rule | None, scope: Scope, proxy: Proxy
) -> Iterator[Cluster]:
    """Every cluster of a service for proxies that follow a rule: ports times subsets, and all."""
    for destination in _destinations(service, rule):
        if (cluster := outbound_cluster(destination, scope, proxy)) is not None:
            yield cluster


def sni_dnat_clusters(
    service: Service, rule: Rule | None, scope: Scope, proxy: Proxy
) -> Iterator[Cluster]:
    """The same for mutual TLS that a gateway passes on unopened, by server name (pilot.md C)."""
    for destination in _destinations(service, rule):
        if (cluster := outbound_cluster(destination, scope, proxy)) is not None:
            yield _passing_on(cluster, destination)


def outbound_cluster(destination: Destination, scope: Scope, proxy: Proxy) -> Cluster | None:
    """The cluster of a destination, None if it would resolve no name at all (pilot.md G8)."""
    service, port = destination.service, destination.port
    policy = traffic_policy(scope.mesh, destination.rule, destination.subset, port.number)
    cluster = Cluster(name=names.outbound_cluster(port.number, destination.subset, service.host))
    cluster.alt_stat_name = _statistics_name(cluster.name, destination, scope)
    if not _apply_discovery(cluster, destination, policy, scope, proxy):
        scope.report(_unresolvable(cluster.name, service))
        return None
    if cluster.lb_policy != Cluster.CLUSTER_PROVIDED:
        apply_balancer(cluster, policy.load_balancer)
        apply_locality(cluster, locality.preference(scope.mesh, policy, service))
        _apply_stickiness(cluster, service)
    apply_outlier_detection(cluster, policy)
    apply_pool(cluster, scope.mesh, policy)
    if service.host in replicas.hosts(scope.mesh.config):
        replicas.prefer_working(cluster, policy)
    upstream = upstream_protocol(
        scope.mesh, port.protocol, policy.connection_pool, router=proxy.type is ProxyType.ROUTER
    )
    apply_http_options(
        cluster,
        upstream,
        policy.connection_pool,
        auto_sni=needs_auto_sni(policy),
        verify_name=verifies_name(policy),
        errors=policy.outlier_detection.outlier_detection_http_error_codes,
    )
    describe(cluster, [service], port=port.number, subset=destination.subset, rule=destination.rule)
    apply_client_tls(cluster, destination, policy, upstream, scope, proxy)
    return cluster


def ads_source(timeout: Duration) -> ConfigSource:
    """Resources of this very stream; `timeout` bounds how long Envoy waits for the first."""
    return ConfigSource(
        ads=AggregatedConfigSource(),
        initial_fetch_timeout=timeout,
        resource_api_version=ApiVersion.V3,
    )


def apply_original_destination(cluster: Cluster, port: int = 0) -> None:
    """Dial the address that the client dialled, on another port if one is given."""
    cluster.type = Cluster.ORIGINAL_DST
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    if port:
        cluster.original_dst_lb_config.upstream_port_override.CopyFrom(UInt32Value(value=port))


def _destinations(service: Service, rule: Rule | None) -> Iterator[Destination]:
    subsets = ("", *(rule.subsets if rule else ()))
    for port in service.ports:
        if port.protocol is not Protocol.UDP:
            for subset in subsets:
                yield Destination(service, port, subset, rule)


def _unresolvable(cluster: str, service: Service) -> Finding:
    return Finding(
        fault=Fault.DNS_WITHOUT_ENDPOINTS,
        key=cluster,
        message=f"There is no cluster {cluster}: {service.host} has no name to resolve for it.",
        subject=service.object_name,
    )


def _passing_on(cluster: Cluster, destination: Destination) -> Cluster:
    """The cluster under the server name it is chosen by, without TLS and HTTP of its own."""
    service, port = destination.service, destination.port
    if cluster.HasField("eds_cluster_config"):
        cluster.eds_cluster_config.service_name = cluster.name
    cluster.name = names.sni(port.number, destination.subset, service.host)
    cluster.alt_stat_name = f"{cluster.name};"
    cluster.ClearField("transport_socket")
    del cluster.transport_socket_matches[:]
    cluster.typed_extension_protocol_options.clear()
    return cluster


def _statistics_name(cluster: str, destination: Destination, scope: Scope) -> str:
    service, port = destination.service, destination.port
    short = f"{service.name}.{service.namespace}" if service.name else service.host
    return names.alt_stat_name(
        scope.mesh.config.outbound_cluster_stat_name,
        cluster=cluster,
        host=service.host,
        service=short,
        port=port.number,
        port_name=port.name,
        subset=destination.subset,
        target_port=port.target_port,
    )


def _apply_discovery(
    cluster: Cluster, destination: Destination, policy: TrafficPolicy, scope: Scope, proxy: Proxy
) -> bool:
    """How the endpoints are found (pilot.md D, table); false if there cannot be any."""
    service, port = destination.service, destination.port
    resolution = service.resolution
    if resolution is Resolution.DYNAMIC_DNS:
        dns.apply_forward_proxy(cluster, proxy)
    elif _dials_original(service, policy, proxy):
        declared = not service.headless and resolution is Resolution.PASSTHROUGH
        overridden = declared and port.target_port != port.number
        apply_original_destination(cluster, port.target_port if overridden else 0)
    elif resolution.is_dns:
        assignment = load_assignment(cluster.name, destination, scope, proxy)
        single = resolution is Resolution.DNS_ROUND_ROBIN
        if single:
            _keep_first(assignment)
        if not assignment.endpoints:
            return False
        cluster.load_assignment.CopyFrom(assignment)
        dns.apply_dns(cluster, scope.mesh, proxy, single_endpoint=single)
    else:
        cluster.type = Cluster.EDS
        cluster.eds_cluster_config.eds_config.CopyFrom(ads_source(EDS_FETCH_TIMEOUT))
    return True


def _dials_original(service: Service, policy: TrafficPolicy, proxy: Proxy) -> bool:
    """Gateways have no original destination to dial for headless services (pilot.md D, table)."""
    if policy.load_balancer.simple == LoadBalancerSettings.PASSTHROUGH:
        return True
    if service.resolution is not Resolution.PASSTHROUGH:
        return False
    return not service.headless or proxy.type is ProxyType.SIDECAR


def _keep_first(assignment: ClusterLoadAssignment) -> None:
    """Keep one endpoint, which is all that LOGICAL_DNS allows."""
    del assignment.endpoints[1:]
    for each in assignment.endpoints:
        del each.lb_endpoints[1:]


def _apply_stickiness(cluster: Cluster, service: Service) -> None:
    """Requests of a persistent session still reach draining endpoints (pilot.md D6)."""
    if service.persistent_session:
        statuses = (HealthStatus.UNKNOWN, HealthStatus.HEALTHY, HealthStatus.DRAINING)
        cluster.common_lb_config.override_host_status.statuses.extend(statuses)
