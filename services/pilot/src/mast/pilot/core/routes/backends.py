"""What destinations of routes mean for a proxy: clusters, and what goes with them."""

from dataclasses import dataclass
from typing import Final

from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.type.v3.hash_policy_pb2 import HashPolicy
from google.protobuf.any_pb2 import Any

from istio.networking.v1alpha3.destination_rule_pb2 import (
    ClientTLSSettings,
    TrafficPolicy,
)
from istio.networking.v1alpha3.sidecar_pb2 import OutboundTrafficPolicy
from istio.networking.v1alpha3.virtual_service_pb2 import Destination
from mast.pilot.core import names
from mast.pilot.core.clusters.destination_rules import rule_for, traffic_policy
from mast.pilot.core.clusters.pools import Upstream, upstream_protocol
from mast.pilot.core.filters import alpn
from mast.pilot.core.filters.extensions import Additions, Extensions, Spot
from mast.pilot.core.filters.persistent_sessions import session_config
from mast.pilot.core.model import hosts
from mast.pilot.core.model.mesh import Mesh
from mast.pilot.core.model.model import Service
from mast.pilot.core.routes.retries import DEFAULT_RETRY
from mast.pilot.core.routes.route_actions import Backend, Setting
from mast.pilot.core.routes.tcp_routes import TcpRoute, weighted
from mast.pilot.core.scope.egress import Egress
from mast.pilot.core.scope.scope import Scope

_NO_POLICY: Final = TrafficPolicy()
_OWN_TLS: Final = (ClientTLSSettings.SIMPLE, ClientTLSSettings.MUTUAL)


@dataclass(frozen=True)
class Backends:
    """Where requests and connections of one egress listener can go."""

    scope: Scope
    egress: Egress
    extensions: Extensions

    def http(self, destination: Destination, spot: Spot) -> Backend:
        """The cluster of a destination, and what its DestinationRule and service add (pilot.md F).

        A host that is no service keeps its cluster name: whether that exists is Envoy's to find.
        """
        service = self.egress.service(destination.host)
        host = service.host if service else destination.host
        number = destination_port(destination, service, spot.port)
        policy = self._policy(service, number, destination.subset, spot)
        balancer = policy.load_balancer
        own = Additions(
            typed_per_filter_config=_filter_config(service, number, policy, self.scope.mesh)
        )
        return Backend(
            cluster=names.outbound_cluster(number, destination.subset, host),
            hash=balancer.consistent_hash if balancer.HasField("consistent_hash") else None,
            additions=own.also(self.extensions.destination(spot, host, service)),
        )

    def setting(self, spot: Spot) -> Setting:
        """What surrounds the HTTP routes of a spot: these backends, the retries of the mesh."""
        mesh = self.scope.mesh.config
        return Setting(
            port=spot.port,
            backend=lambda destination: self.http(destination, spot),
            retry=(
                mesh.default_http_retry_policy
                if mesh.HasField("default_http_retry_policy")
                else DEFAULT_RETRY
            ),
        )

    def tcp(self, route: TcpRoute, spot: Spot) -> TcpProxy | None:
        """The TCP proxy of a route, None if no destination has weight (pilot.md F6).

        Idle timeout, tunnel and hash are those of the first destination's DestinationRule.
        """
        chosen = weighted(route.destinations)
        if not chosen:
            return None
        proxy = TcpProxy()
        if len(chosen) == 1:
            proxy.cluster = self._cluster(chosen[0].destination, spot)
            proxy.stat_prefix = proxy.cluster
        else:
            proxy.stat_prefix = route.prefix
            for each in chosen:
                proxy.weighted_clusters.clusters.add(
                    name=self._cluster(each.destination, spot), weight=each.weight
                )
        first = chosen[0].destination
        service = self.egress.service(first.host)
        number = destination_port(first, service, spot.port)
        _apply_policy(proxy, self._policy(service, number, first.subset, spot))
        return proxy

    def _cluster(self, destination: Destination, spot: Spot) -> str:
        service = self.egress.service(destination.host)
        number = destination_port(destination, service, spot.port)
        host = service.host if service else destination.host
        return names.outbound_cluster(number, destination.subset, host)

    def _policy(self, service: Service | None, port: int, subset: str, spot: Spot) -> TrafficPolicy:
        if service is None:
            return _NO_POLICY
        rule = rule_for(self.scope, service, spot.proxy.labels)
        return traffic_policy(self.scope.mesh, rule, subset, port)


def destination_port(destination: Destination, service: Service | None, listener_port: int) -> int:
    """Port of a destination: its own, else the only one of the service, else the listener's."""
    if destination.port.number:
        return destination.port.number
    if service and len(service.ports) == 1:
        return service.ports[0].number
    return listener_port


def passthrough_cluster(scope: Scope) -> str | None:
    """Where traffic for unknown hosts goes, None if it is refused (pilot.md E1)."""
    policy = scope.outbound_policy
    if policy.mode != OutboundTrafficPolicy.ALLOW_ANY:
        return None
    if not policy.HasField("egress_proxy"):
        return names.PASSTHROUGH
    proxy = policy.egress_proxy
    host = hosts.expand(proxy.host, scope.key.sidecar_namespace, scope.mesh.domain)
    service = scope.service(host)
    port = destination_port(proxy, service, 0)
    return names.outbound_cluster(port, proxy.subset, service.host if service else host)


def _filter_config(
    service: Service | None, number: int, policy: TrafficPolicy, mesh: Mesh
) -> dict[str, Any]:
    if service is None:
        return {}
    config = dict(session_config(service))
    port = service.port(number)
    if port and policy.tls.mode not in _OWN_TLS:
        upstream = upstream_protocol(mesh, port.protocol, policy.connection_pool)
        if upstream is Upstream.AS_DOWNSTREAM:
            config.update(alpn.AS_DOWNSTREAM)
    return config


def _apply_policy(proxy: TcpProxy, policy: TrafficPolicy) -> None:
    tcp = policy.connection_pool.tcp
    if tcp.HasField("idle_timeout"):
        proxy.idle_timeout.CopyFrom(tcp.idle_timeout)
    if tcp.HasField("max_connection_duration"):
        proxy.max_downstream_connection_duration.CopyFrom(tcp.max_connection_duration)
    if policy.load_balancer.consistent_hash.use_source_ip:
        proxy.hash_policy.append(HashPolicy(source_ip=HashPolicy.SourceIp()))
    if policy.HasField("tunnel"):
        tunnel = policy.tunnel
        proxy.tunneling_config.hostname = f"{tunnel.target_host}:{tunnel.target_port}"
        proxy.tunneling_config.use_post = tunnel.protocol.upper() == "POST"
