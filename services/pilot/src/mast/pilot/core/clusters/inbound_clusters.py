"""Clusters that lead to the proxy's own workload, and those that every proxy has (E14, E15)."""

from collections.abc import Iterator, Sequence
from typing import Final

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import Address, BindConfig, ExtraSourceAddress, SocketAddress
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.duration_pb2 import Duration

from istio.networking.v1alpha3.destination_rule_pb2 import ConnectionPoolSettings, TrafficPolicy
from istio.networking.v1alpha3.sidecar_pb2 import IstioIngressListener
from mast.pilot.core import names
from mast.pilot.core.clusters.cluster_metadata import describe
from mast.pilot.core.clusters.clusters import apply_original_destination
from mast.pilot.core.clusters.destination_rules import rule_for, traffic_policy
from mast.pilot.core.clusters.dns import apply_forward_proxy
from mast.pilot.core.clusters.endpoints import address
from mast.pilot.core.clusters.pools import (
    apply_http_options,
    apply_pool,
    default_thresholds,
    passthrough_http_options,
    upstream_protocol,
)
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import NO_LABELS, Target
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.ports.inbound_ports import Served, served_ports
from mast.pilot.core.ports.sockets import captures
from mast.pilot.core.scope.scope import Scope

LOOP_GUARD_V4: Final = "127.0.0.6"
LOOP_GUARD_V6: Final = "::6"
"""Source addresses of inbound connections: iptables does not capture those from there."""

_PASSTHROUGH_IDLE: Final = Duration(seconds=300)


def fixed_clusters(mesh: Mesh, proxy: Proxy, *, inbound: bool) -> Sequence[Cluster]:
    """`BlackHoleCluster`, `PassthroughCluster` and, for sidecars, `InboundPassthroughCluster`.

    Where traffic is not captured nobody has dialled a destination that could be passed on: all
    there is of it is the host of an HTTP request, which the proxy resolves.
    Differs from Istio: there such requests fail.
    """
    black_hole = Cluster(
        name=names.BLACK_HOLE,
        type=Cluster.STATIC,
        alt_stat_name=f"{names.BLACK_HOLE};",
        connect_timeout=mesh.connect_timeout,
    )
    passthrough = _passthrough(names.PASSTHROUGH, mesh)
    if captures(proxy):
        apply_original_destination(passthrough)
    else:
        apply_forward_proxy(passthrough, proxy)
    if not inbound:
        return (black_hole, passthrough)
    own = _passthrough(names.INBOUND_PASSTHROUGH, mesh)
    apply_original_destination(own)
    own.upstream_bind_config.CopyFrom(_loop_guard(proxy))
    return (black_hole, passthrough, own)


def inbound_clusters(scope: Scope, proxy: Proxy, targets: Sequence[Target]) -> Iterator[Cluster]:
    """One cluster for each port that the sidecar takes traffic for."""
    for each in served_ports(scope, proxy, targets):
        yield _inbound_cluster(each, scope, proxy)


def _inbound_cluster(served: Served, scope: Scope, proxy: Proxy) -> Cluster:
    cluster = Cluster(name=names.inbound_cluster(served.number))
    ingress = _ingress(served, scope)
    cluster.alt_stat_name = _statistics_name(cluster.name, served, ingress, scope.mesh)
    if (where := _application(served, ingress, scope.mesh, proxy)) is not None:
        _apply_static(cluster, where)
    else:
        apply_original_destination(cluster)
        cluster.upstream_bind_config.CopyFrom(_loop_guard(proxy))
    pool = connection_pool(served, scope)
    apply_pool(cluster, scope.mesh, TrafficPolicy(connection_pool=pool))
    apply_http_options(cluster, upstream_protocol(scope.mesh, served.protocol, pool), pool)
    describe(cluster, [served.service] if served.service else [])
    return cluster


def _ingress(served: Served, scope: Scope) -> IstioIngressListener | None:
    """The ingress listener of the Sidecar that the port comes from."""
    entries = scope.sidecar.spec.ingress if scope.sidecar else ()
    return next((each for each in entries if each.port.number == served.number), None)


def _application(
    served: Served, ingress: IstioIngressListener | None, mesh: Mesh, proxy: Proxy
) -> Address | None:
    """Where the application listens, None if where the client dialled (pilot.md E14).

    A proxy that does not capture traffic knows it from its own metadata.
    """
    if ingress is not None and ingress.default_endpoint:
        return _endpoint(ingress.default_endpoint, served.number, proxy)
    if served.number in proxy.app_endpoints:
        return _endpoint(proxy.app_endpoints[served.number], served.number, proxy)
    if mesh.inbound_to_localhost:
        return address("127.0.0.1" if proxy.ipv4 else "::1", served.number)
    return None


def _endpoint(text: str, port: int, proxy: Proxy) -> Address:
    """`HOST:PORT` or `unix:///path`; the unspecified address stands for the instance's own."""
    if text.startswith("unix:"):
        return address(text, 0)
    host, _, number = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        host = proxy.ip_addresses[0]
    return address(host, int(number) if number.isdecimal() else port)


def _apply_static(cluster: Cluster, where: Address) -> None:
    endpoint = LbEndpoint()
    endpoint.endpoint.address.CopyFrom(where)
    cluster.type = Cluster.STATIC
    cluster.load_assignment.CopyFrom(
        ClusterLoadAssignment(
            cluster_name=cluster.name, endpoints=[LocalityLbEndpoints(lb_endpoints=[endpoint])]
        )
    )


def connection_pool(served: Served, scope: Scope) -> ConnectionPoolSettings:
    """Limits of the port: the ingress listener's, the Sidecar's, else those of the service's rule.

    A rule that selects callers says nothing about the server.
    """
    ingress = _ingress(served, scope)
    if ingress is not None and ingress.HasField("connection_pool"):
        return ingress.connection_pool
    sidecar = scope.sidecar
    if sidecar is not None and sidecar.spec.HasField("inbound_connection_pool"):
        return sidecar.spec.inbound_connection_pool
    if served.service is None:
        return ConnectionPoolSettings()
    rule = rule_for(scope, served.service, NO_LABELS)
    return traffic_policy(scope.mesh, rule, "", served.service_port).connection_pool


def _statistics_name(
    cluster: str, served: Served, ingress: IstioIngressListener | None, mesh: Mesh
) -> str:
    """The name that the mesh's template gives to the port of a service or of a Sidecar (C2)."""
    service = served.service
    template = mesh.config.inbound_cluster_stat_name if service or ingress else ""
    port = service.port(served.service_port) if service else None
    port_name = port.name if port else (ingress.port.name if ingress else "")
    return names.alt_stat_name(
        template,
        cluster=cluster,
        host=service.host if service else "",
        service=f"{service.name or service.host}.{service.namespace}" if service else "",
        port=served.service_port,
        port_name=port_name,
        target_port=served.number,
    )


def _passthrough(name: str, mesh: Mesh) -> Cluster:
    cluster = Cluster(name=name, alt_stat_name=f"{name};", connect_timeout=mesh.connect_timeout)
    cluster.circuit_breakers.thresholds.append(default_thresholds())
    passthrough_http_options(cluster, _PASSTHROUGH_IDLE)
    return cluster


def _loop_guard(proxy: Proxy) -> BindConfig:
    first = _any_port(LOOP_GUARD_V4 if proxy.ipv4 else LOOP_GUARD_V6)
    config = BindConfig(source_address=first)
    if proxy.ipv4 and proxy.ipv6:
        config.extra_source_addresses.append(ExtraSourceAddress(address=_any_port(LOOP_GUARD_V6)))
    return config


def _any_port(ip: str) -> SocketAddress:
    return SocketAddress(address=ip, port_value=0)
