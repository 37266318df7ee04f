"""Load assignments: the endpoints of a cluster as one class of callers should use them (H)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from envoy.config.core.v3 import base_pb2
from envoy.config.core.v3.address_pb2 import Address, Pipe, SocketAddress
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.config.endpoint.v3.endpoint_components_pb2 import LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.wrappers_pb2 import UInt32Value

from istio.networking.v1alpha3.destination_rule_pb2 import ClientTLSSettings, TrafficPolicy
from mast.pilot.core.clusters import locality
from mast.pilot.core.clusters.destination_rules import Rule, traffic_policy
from mast.pilot.core.model import hosts
from mast.pilot.core.model.finding import Fault, Finding
from mast.pilot.core.model.model import Endpoint, Health, Labels, Port, Service, selects
from mast.pilot.core.model.proxy import HOSTNAME, Locality, Proxy
from mast.pilot.core.scope import networks
from mast.pilot.core.scope.scope import Scope
from mast.pilot.core.security.peer_authentication import Mode, called_policies

TLS_MODE: Final = "tlsMode"
ISTIO: Final = "istio"
MATCH: Final = "envoy.transport_socket_match"

_SYSTEM: Final = "kube-system"
_API: Final = ("default", "kubernetes")
"""What every Kubernetes cluster has for itself: its system, and its API server."""

_CANONICAL_NAME: Final = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_CANONICAL_REVISION: Final = (
    "service.istio.io/canonical-revision",
    "app.kubernetes.io/version",
    "version",
)


@dataclass(frozen=True)
class Destination:
    """A port of a service and one of its subsets, "" for all, under the rule of the callers."""

    service: Service
    port: Port
    subset: str = ""
    rule: Rule | None = None

    @property
    def subset_labels(self) -> Mapping[str, str]:
        """Labels of the endpoints in the subset; none if it is not defined."""
        if self.rule is None or self.subset not in self.rule.subsets:
            return {}
        return self.rule.subsets[self.subset].labels


def load_assignment(
    name: str, destination: Destination, scope: Scope, caller: Proxy
) -> ClusterLoadAssignment:
    """Endpoints of a destination for callers of a class; empty if there are none (pilot.md H5)."""
    policy = traffic_policy(
        scope.mesh, destination.rule, destination.subset, destination.port.number
    )
    usable = networks.reachable(
        scope, _usable(destination, scope, caller), caller.network, destination.port.number
    )
    wish = locality.preference(scope.mesh, policy, destination.service)
    known = locality.grouped(locality.bounded(_dialable(usable, destination.service, caller)))
    groups = locality.arranged(known, wish, caller.locality, caller.labels)
    context = _Context(destination, policy, scope)
    return ClusterLoadAssignment(
        cluster_name=name, endpoints=[context.locality_endpoints(each) for each in groups]
    )


def is_usable(endpoint: Endpoint, service: Service) -> bool:
    """Whether an endpoint gets requests at all, by its health (pilot.md D6)."""
    if endpoint.health is Health.HEALTHY:
        return True
    if endpoint.health is Health.DRAINING:
        return service.persistent_session
    return endpoint.health is Health.UNHEALTHY and service.publish_not_ready


def _usable(destination: Destination, scope: Scope, caller: Proxy) -> Iterable[Endpoint]:
    """Endpoints that callers of the class may use (pilot.md D7, H3)."""
    service, number = destination.service, destination.port.number
    labels = destination.subset_labels
    local = is_cluster_local(scope, service)
    node = caller.labels.get(HOSTNAME, "") if service.node_local else ""
    seen = _network_view(caller)
    for each in scope.endpoints(service.key):
        if not is_usable(each, service):
            scope.report(_not_ready(each, service))
        elif (
            number in each.ports
            and selects(labels, each.labels)
            and not (local and each.cluster and each.cluster != caller.cluster_id)
            and (not service.node_local or each.node == node)
            and (not seen or networks.network_of(scope, each) in seen)
        ):
            yield each


def _not_ready(endpoint: Endpoint, service: Service) -> Finding:
    return Finding(
        fault=Fault.NOT_READY,
        key=f"{service.host} {endpoint.address}",
        message=f"{endpoint.address} of {service.host} gets no requests: it is {endpoint.health}.",
        subject=service.object_name,
    )


def _dialable(endpoints: Iterable[Endpoint], service: Service, caller: Proxy) -> Sequence[Endpoint]:
    """Endpoints with those of their addresses that callers can dial.

    Only DNS clusters resolve names. Those that are known by their network alone have none, unless a
    gateway stands for them. Addresses of a family that callers lack are of no use to them.
    """
    by_name = service.resolution.is_dns
    found = []
    for each in endpoints:
        if each.address if by_name else each.is_dialable:
            usable = tuple(text for text in each.addresses if caller.speaks(text))
            if usable == each.addresses:
                found.append(each)
            elif usable:
                found.append(replace(each, address=usable[0], additional_addresses=usable[1:]))
    return found


def is_cluster_local(scope: Scope, service: Service) -> bool:
    """Clients only use endpoints of their own cluster (MeshConfig, "serviceSettings").

    As in Istio that is so for what every cluster has for itself, unless the settings say otherwise.
    """
    told = [
        entry.settings.cluster_local
        for entry in scope.mesh.config.service_settings
        if any(hosts.matches(pattern, service.host) for pattern in entry.hosts)
    ]
    if told or not service.from_kubernetes:
        return any(told)
    return service.namespace == _SYSTEM or (service.namespace, service.name) == _API


def _network_view(caller: Proxy) -> frozenset[str]:
    """Networks whose endpoints the proxy wants, none for all."""
    text = caller.text("REQUESTED_NETWORK_VIEW")
    return frozenset(each.strip() for each in text.split(",") if each.strip())


@dataclass(frozen=True)
class _Context:
    """What turns endpoints into Envoy's form."""

    destination: Destination
    policy: TrafficPolicy
    scope: Scope

    def locality_endpoints(self, group: locality.Group) -> LocalityLbEndpoints:
        return LocalityLbEndpoints(
            locality=_locality(group.locality),
            lb_endpoints=[self.endpoint(each) for each in group.endpoints],
            load_balancing_weight=UInt32Value(value=group.weight),
            priority=group.priority,
        )

    def endpoint(self, endpoint: Endpoint) -> LbEndpoint:
        result = LbEndpoint(load_balancing_weight=UInt32Value(value=endpoint.weight))
        number = endpoint.ports[self.destination.port.number]
        result.endpoint.address.CopyFrom(address(endpoint.address, number))
        for each in endpoint.additional_addresses:
            result.endpoint.additional_addresses.add().address.CopyFrom(address(each, number))
        if endpoint.health is Health.DRAINING:
            result.health_status = HealthStatus.DRAINING
        if self.uses_mtls(endpoint, number):
            result.metadata.filter_metadata[MATCH].CopyFrom(_struct(TLS_MODE, ISTIO))
        if not self.destination.service.external and (told := _workload(endpoint)):
            result.metadata.filter_metadata[ISTIO].CopyFrom(_struct("workload", told))
        return result

    def uses_mtls(self, endpoint: Endpoint, number: int) -> bool:
        """Whether the cluster's mutual TLS applies to this endpoint (pilot.md H2)."""
        if self.policy.HasField("tls"):
            return self.policy.tls.mode == ClientTLSSettings.ISTIO_MUTUAL
        if not endpoint.mtls or self.destination.service.external:
            return False
        if not endpoint.namespace:
            return True
        service, port = self.destination.service, self.destination.port
        policies = called_policies(self.scope, endpoint.namespace)
        return policies.on(endpoint.labels, number, service, port) is not Mode.DISABLE


def address(text: str, port: int) -> Address:
    """An IP address or host name with a port, or a Unix socket `unix:///path`."""
    if text.startswith("unix:"):
        return Address(pipe=Pipe(path=text.removeprefix("unix://").removeprefix("unix:")))
    return Address(socket_address=SocketAddress(address=text, port_value=port))


def canonical(labels: Labels, names: Sequence[str], default: str) -> str:
    """The first of some labels that is set."""
    return next((labels[each] for each in names if labels.get(each)), default)


def _workload(endpoint: Endpoint) -> str:
    """`NAME;NAMESPACE;CANONICAL NAME;CANONICAL REVISION;CLUSTER` for telemetry (pilot.md H2)."""
    if not endpoint.workload_name and not endpoint.labels:
        return ""
    name = canonical(endpoint.labels, _CANONICAL_NAME, endpoint.workload_name)
    revision = canonical(endpoint.labels, _CANONICAL_REVISION, "")
    if revision == "latest":
        revision = ""
    parts = (endpoint.workload_name, endpoint.namespace, name, revision, endpoint.cluster)
    return ";".join(parts)


def _locality(place: Locality) -> base_pb2.Locality:
    return base_pb2.Locality(region=place.region, zone=place.zone, sub_zone=place.subzone)


def _struct(key: str, value: str) -> Struct:
    return Struct(fields={key: Value(string_value=value)})
