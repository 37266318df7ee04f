"""What destinations of routes mean for a proxy: clusters, and what goes with them."""

from istio.networking.v1alpha3.sidecar_pb2 import OutboundTrafficPolicy
from istio.networking.v1alpha3.virtual_service_pb2 import Destination
from mast.pilot.core import hosts, names
from mast.pilot.core.egress import Egress
from mast.pilot.core.extensions import Extensions, Spot
from mast.pilot.core.model import Service
from mast.pilot.core.route_actions import Backend
from mast.pilot.core.scope import Scope


def outbound_backend(
    destination: Destination, spot: Spot, egress: Egress, scope: Scope, extensions: Extensions
) -> Backend:
    """The cluster of a destination and what its DestinationRule and service add (pilot.md F).

    A host that is no service keeps its cluster name: whether that exists is Envoy's to find out.
    """
    service = egress.service(destination.host)
    host = service.host if service else destination.host
    port = destination_port(destination, service, spot.port)
    additions = extensions.destination(spot, host, service)
    return Backend(
        cluster=names.outbound_cluster(port, destination.subset, host), additions=additions
    )


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
