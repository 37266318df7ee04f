"""The other side of a cluster: its endpoints, and how it talks to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.json_format import MessageToDict

from mast.cli.inspect.tables import address_text
from mast.pilot.core.names import SDS_CERTIFICATE

_MATCH = "envoy.transport_socket_match"
_TAKES = {HealthStatus.UNKNOWN, HealthStatus.HEALTHY, HealthStatus.DEGRADED}


@dataclass(frozen=True)
class Upstream:
    """An endpoint, its place in the order of preference, and how a connection to it is secured.

    ``tls`` is None if it is not.
    """

    endpoint: LbEndpoint
    priority: int
    locality: str
    tls: UpstreamTlsContext | None

    @property
    def takes_requests(self) -> bool:
        """Nobody said that it is unwell."""
        return self.endpoint.health_status in _TAKES

    @property
    def text(self) -> str:
        """One line about it."""
        health = self.endpoint.health_status
        state = "HEALTHY" if health == HealthStatus.UNKNOWN else HealthStatus.Name(health)
        parts = [address_text(self.endpoint.endpoint.address), state, f"priority {self.priority}"]
        if self.locality:
            parts.append(f"locality {self.locality}")
        if self.endpoint.HasField("load_balancing_weight"):
            parts.append(f"weight {self.endpoint.load_balancing_weight.value}")
        if workload := self._workload():
            parts.append(workload)
        return "  ".join(parts)

    def _workload(self) -> str:
        metadata = self.endpoint.metadata.filter_metadata
        if "istio" not in metadata:
            return ""
        parts = metadata["istio"].fields["workload"].string_value.split(";")
        return ".".join(filter(None, parts[:2]))


def upstreams(cluster: Cluster, assignment: ClusterLoadAssignment | None) -> Sequence[Upstream]:
    """The endpoints of a cluster, those preferred first."""
    found = [
        Upstream(
            endpoint,
            locality.priority,
            "/".join(
                filter(
                    None,
                    (
                        locality.locality.region,
                        locality.locality.zone,
                        locality.locality.sub_zone,
                    ),
                )
            ),
            client_tls(cluster, endpoint),
        )
        for locality in (assignment.endpoints if assignment else ())
        for endpoint in locality.lb_endpoints
    ]
    return sorted(found, key=lambda each: (each.priority, not each.takes_requests))


def client_tls(cluster: Cluster, endpoint: LbEndpoint | None) -> UpstreamTlsContext | None:
    """TLS towards an endpoint: the first transport socket whose criteria its metadata meets."""
    wanted: dict[str, Any] = {}
    if endpoint is not None and _MATCH in endpoint.metadata.filter_metadata:
        wanted = MessageToDict(endpoint.metadata.filter_metadata[_MATCH])
    for each in cluster.transport_socket_matches:
        criteria = MessageToDict(each.match)
        if criteria.items() <= wanted.items():
            return _context(each.transport_socket)
    return _context(cluster.transport_socket) if cluster.HasField("transport_socket") else None


def _context(socket: TransportSocket) -> UpstreamTlsContext | None:
    context = UpstreamTlsContext()
    return context if socket.typed_config.Unpack(context) else None


def presents_identity(context: UpstreamTlsContext) -> bool:
    """Whether the certificate of the mesh is shown to the other side."""
    certificates = context.common_tls_context.tls_certificate_sds_secret_configs
    return any(each.name == SDS_CERTIFICATE for each in certificates)


def tls_text(context: UpstreamTlsContext | None) -> str:
    """How a connection is secured, in words."""
    if context is None:
        return "plain text"
    common = context.common_tls_context
    names = [each.name for each in common.tls_certificate_sds_secret_configs]
    kind = f"mutual TLS with certificate {names[0]}" if names else "TLS"
    sni = f", server name {context.sni}" if context.sni else ""
    return f"{kind}{sni}"


def policies(cluster: Cluster) -> Iterator[str]:
    """What a cluster does besides sending."""
    if cluster.type != Cluster.ORIGINAL_DST:
        yield f"load balancing {Cluster.LbPolicy.Name(cluster.lb_policy)}"
    for each in cluster.circuit_breakers.thresholds:
        limits = {
            "connections": each.max_connections,
            "pending requests": each.max_pending_requests,
            "requests": each.max_requests,
            "retries": each.max_retries,
        }
        bounded = [
            f"{limit.value} {name}" for name, limit in limits.items() if 0 < limit.value < 2**32 - 1
        ]
        if bounded:
            yield f"at most {', '.join(bounded)}"
    if cluster.HasField("outlier_detection"):
        found = cluster.outlier_detection
        yield f"outlier detection after {found.consecutive_5xx.value or 5} errors in a row"
    if cluster.HasField("connect_timeout"):
        yield f"connect timeout {cluster.connect_timeout.ToTimedelta().total_seconds():g}s"
