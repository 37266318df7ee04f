"""What ServiceEntries, WorkloadEntries and registry messages say, as services and workloads."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from istio.networking.v1alpha3.service_entry_pb2 import ServiceEntry, ServicePort
from istio.networking.v1alpha3.workload_entry_pb2 import WorkloadEntry
from mast.pilot.core.model import hosts, proxy
from mast.pilot.core.model.model import (
    EXTERNAL,
    KUBERNETES,
    TRAFFIC_DISTRIBUTION,
    Config,
    Endpoint,
    Health,
    Labels,
    Port,
    Protocol,
    Resolution,
    Service,
    Workload,
    visibility,
)
from mast.pilot.core.model.proxy import Locality
from mastapi.registry.v1 import registry_pb2 as registry

K = TypeVar("K")

TLS_MODE: Final = "security.istio.io/tlsMode"
AUTO_ALLOCATE: Final = "networking.istio.io/enable-autoallocate-ip"
EXPORT_TO: Final = "networking.istio.io/exportTo"
SPIFFE_IDS: Final = "alpha.istio.io/canonical-serviceaccounts"
ACCOUNTS: Final = "alpha.istio.io/kubernetes-serviceaccounts"
"""Annotations of services of the platform: lists separated by commas (pilot.md D7)."""
_SERVER_FIRST_PORTS: Final = frozenset({25, 53, 3306, 27017})


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """A service as one source describes it, with what that source says about its endpoints.

    `endpoints` are given explicitly; `selector` selects workloads of the namespace, with
    `selects_platform` also those the platform reports (else their endpoints come in shards).
    `wants_address` tells whether it takes an automatic address if there is no other.
    """

    service: Service
    endpoints: tuple[Endpoint, ...] = ()
    selector: Labels | None = None
    selects_platform: bool = True
    wants_address: bool = False


def protocol(name: str, port: int) -> Protocol:
    """The protocol of a port from its declared name; unknown ones are sniffed (pilot.md D5).

    Ports of protocols whose server speaks first are TCP unless they are declared.
    """
    try:
        declared = Protocol(name.upper().replace("_", "-"))
    except ValueError:
        declared = Protocol.AUTO
    if declared is Protocol.AUTO and port in _SERVER_FIRST_PORTS:
        return Protocol.TCP
    return declared


def from_service_entry(
    config: Config[ServiceEntry], default_export_to: Sequence[str]
) -> tuple[Contribution, ...]:
    """One service for each host of a ServiceEntry (pilot.md D1).

    Raises ValueError for a resolution that is not known.
    """
    spec, meta = config.spec, config.meta
    ports = tuple(_port(each) for each in spec.ports)
    resolution = _known(_ENTRY_RESOLUTIONS, spec.resolution, "resolution")
    found = []
    for host in dict.fromkeys(spec.hosts):
        addresses = _addresses((*spec.addresses, *_own_address(host)))
        service = Service(
            host=host,
            namespace=meta.namespace,
            name=_short_name(host),
            origin=meta.name,
            ports=ports,
            addresses=addresses,
            resolution=resolution,
            external=spec.location == ServiceEntry.MESH_EXTERNAL,
            registry=EXTERNAL,
            visible_to=visibility(spec.export_to, meta.namespace, default_export_to),
            labels=meta.labels,
            annotations=meta.annotations,
            selector=dict(spec.workload_selector.labels),
            subject_alt_names=tuple(spec.subject_alt_names),
            traffic_distribution=meta.annotations.get(TRAFFIC_DISTRIBUTION, ""),
            created=meta.created,
        )
        wants_address = (
            not addresses
            and resolution is not Resolution.PASSTHROUGH
            and meta.labels.get(AUTO_ALLOCATE) != "false"
        )
        found.append(
            Contribution(
                service=service,
                endpoints=tuple(_entry_endpoints(spec, service)),
                selector=service.selector if spec.HasField("workload_selector") else None,
                wants_address=wants_address,
            )
        )
    return tuple(found)


def from_registry(message: registry.Service, default_export_to: Sequence[str]) -> Contribution:
    """The service that a platform reports; ValueError for a resolution that is not known."""
    annotations = message.annotations
    export_to = list(message.export_to) or _listed(annotations, EXPORT_TO)
    resolution = _known(_REGISTRY_RESOLUTIONS, message.resolution, "resolution")
    kubernetes = message.registry == KUBERNETES
    service = Service(
        host=message.host,
        namespace=message.namespace,
        name=message.name,
        origin=message.name,
        ports=tuple(_port(each) for each in message.ports),
        addresses=_addresses(message.addresses),
        external_addresses=tuple(message.external_addresses),
        resolution=resolution,
        external=message.location == registry.LOCATION_MESH_EXTERNAL,
        registry=message.registry or EXTERNAL,
        headless=message.headless,
        publish_not_ready=message.publish_not_ready,
        visible_to=visibility(export_to, message.namespace, default_export_to),
        labels=dict(message.labels),
        annotations=dict(annotations),
        selector=dict(message.selector),
        subject_alt_names=(*message.subject_alt_names, *_listed(annotations, SPIFFE_IDS)),
        service_accounts=tuple(
            (message.namespace, each) for each in _listed(annotations, ACCOUNTS)
        ),
        traffic_distribution=annotations.get(TRAFFIC_DISTRIBUTION, ""),
        node_local=message.node_local,
        alias_of=message.alias_of,
        cluster=message.cluster,
        created=nanoseconds(message.create_time),
    )
    addressable = resolution not in {Resolution.PASSTHROUGH, Resolution.ALIAS}
    wants_address = (
        addressable and not service.addresses and not message.headless and not kubernetes
    )
    return Contribution(
        service=service,
        selector=service.selector or None,
        selects_platform=not kubernetes,
        wants_address=wants_address,
    )


def from_workload_entry(origin: str, config: Config[WorkloadEntry]) -> Workload:
    """The workload that a WorkloadEntry describes."""
    spec, meta = config.spec, config.meta
    labels = {**meta.labels, **spec.labels}
    return Workload(
        origin=origin,
        name=meta.name,
        namespace=meta.namespace,
        addresses=(spec.address,) if spec.address else (),
        labels=labels,
        annotations=meta.annotations,
        service_account=spec.service_account,
        locality=Locality.parse(spec.locality),
        network=spec.network or labels.get(proxy.NETWORK, ""),
        weight=spec.weight or 1,
        mtls=_accepts_mtls(spec),
        workload_name=meta.name,
        ports=dict(spec.ports),
        created=meta.created,
    )


def from_registry_workload(origin: str, message: registry.Workload) -> Workload:
    """The workload that a platform reports or that registered itself."""
    return Workload(
        origin=origin,
        name=message.name,
        namespace=message.namespace,
        addresses=tuple(message.addresses),
        labels=dict(message.labels),
        annotations=dict(message.annotations),
        service_account=message.service_account,
        locality=Locality.parse(message.locality),
        network=message.network or message.labels.get(proxy.NETWORK, ""),
        cluster=message.cluster,
        node=message.node,
        weight=message.weight or 1,
        health=_HEALTHS.get(message.health, Health.UNHEALTHY),
        mtls=(message.tls_mode or message.labels.get(TLS_MODE)) == "istio",
        workload_name=message.workload_name or message.name,
        ports=dict(message.ports),
        platform=not message.registration_group,
        created=nanoseconds(message.create_time),
    )


def from_shard(message: registry.EndpointShard, service: Service) -> tuple[Endpoint, ...]:
    """Endpoints of a service that one shard reports; ports the service lacks are left out."""
    return tuple(
        Endpoint(
            address=each.address,
            additional_addresses=tuple(each.additional_addresses),
            ports={
                port.number: each.ports[port.name]
                for port in service.ports
                if port.name in each.ports
            },
            namespace=each.namespace or message.namespace,
            labels=dict(each.labels),
            service_account=each.service_account,
            locality=Locality.parse(each.locality),
            network=each.network,
            cluster=each.labels.get(proxy.CLUSTER, "") or message.shard,
            weight=each.weight or 1,
            health=_HEALTHS.get(each.health, Health.UNHEALTHY),
            mtls=(each.tls_mode or each.labels.get(TLS_MODE)) == "istio",
            workload_name=each.workload_name,
            node=each.node,
        )
        for each in message.endpoints
    )


def endpoint_of(workload: Workload, service: Service) -> Endpoint:
    """The endpoint that a selected workload is for a service; ports map by name (pilot.md D3)."""
    return Endpoint(
        address=workload.addresses[0],
        additional_addresses=workload.addresses[1:],
        ports=_served(service.ports, workload.addresses[0], workload.ports),
        namespace=workload.namespace,
        labels=workload.labels,
        service_account=workload.service_account,
        locality=workload.locality,
        network=workload.network,
        cluster=workload.cluster,
        weight=workload.weight,
        health=workload.health,
        mtls=workload.mtls,
        workload_name=workload.workload_name,
        node=workload.node,
    )


def nanoseconds(time: Timestamp) -> int:
    """A timestamp as nanoseconds since 1970."""
    return time.seconds * 1_000_000_000 + time.nanos


def _listed(annotations: Labels, name: str) -> list[str]:
    """The values that an annotation lists, separated by commas."""
    return [each.strip() for each in annotations.get(name, "").split(",") if each.strip()]


def _entry_endpoints(spec: ServiceEntry, service: Service) -> Iterable[Endpoint]:
    for each in spec.endpoints:
        yield Endpoint(
            address=each.address,
            ports=_served(service.ports, each.address, each.ports),
            namespace=service.namespace,
            labels=dict(each.labels),
            service_account=each.service_account,
            locality=Locality.parse(each.locality),
            network=each.network or each.labels.get(proxy.NETWORK, ""),
            weight=each.weight or 1,
            mtls=_accepts_mtls(each),
        )
    names_itself = service.resolution.is_dns and not service.host.startswith("*")
    if names_itself and not spec.endpoints and not spec.HasField("workload_selector"):
        yield Endpoint(
            address=service.host,
            ports=_served(service.ports, service.host, {}),
            namespace=service.namespace,
        )


def _served(ports: Iterable[Port], address: str, by_name: Mapping[str, int]) -> Mapping[int, int]:
    """Number on the address by number of the service port; 0 for a Unix socket."""
    if address.startswith("unix:"):
        return {port.number: 0 for port in ports}
    return {port.number: by_name.get(port.name, port.target_port) for port in ports}


def _accepts_mtls(entry: WorkloadEntry) -> bool:
    """A service account implies a sidecar unless the label says otherwise (pilot.md D3)."""
    mode = entry.labels.get(TLS_MODE, "istio" if entry.service_account else "")
    return mode == "istio"


def _port(port: ServicePort | registry.Port) -> Port:
    return Port(
        name=port.name,
        number=port.number,
        target_port=port.target_port or port.number,
        protocol=protocol(port.protocol, port.number),
    )


def _known(table: Mapping[int, K], number: int, field: str) -> K:
    """Translate an enum value; numbers of later API versions are refused."""
    if number not in table:
        raise ValueError(f"{field}: value {number} is unknown, allowed are {sorted(table)}")
    return table[number]


def _short_name(host: str) -> str:
    """NAME of a host in Kubernetes' form, whatever registry it comes from."""
    parts = hosts.kubernetes_parts(host)
    return parts[0] if parts else ""


def _own_address(host: str) -> tuple[str, ...]:
    """A host that is an IP address is its own address."""
    try:
        return (str(ip_address(host)),)
    except ValueError:
        return ()


def _addresses(texts: Iterable[str]) -> tuple[str, ...]:
    """Usable VIPs and CIDRs, each once; a CIDR of one address is that address."""
    found: dict[str, None] = {}
    for text in texts:
        try:
            network = ip_network(text, strict=False)
        except ValueError:
            continue
        if network.num_addresses > 1:
            found[str(network)] = None
        elif not network.network_address.is_unspecified:
            found[str(network.network_address)] = None
    return tuple(found)


_ENTRY_RESOLUTIONS: Final[Mapping[int, Resolution]] = {
    ServiceEntry.NONE: Resolution.PASSTHROUGH,
    ServiceEntry.STATIC: Resolution.STATIC,
    ServiceEntry.DNS: Resolution.DNS,
    ServiceEntry.DNS_ROUND_ROBIN: Resolution.DNS_ROUND_ROBIN,
    ServiceEntry.DYNAMIC_DNS: Resolution.DYNAMIC_DNS,
}
_REGISTRY_RESOLUTIONS: Final[Mapping[int, Resolution]] = {
    registry.RESOLUTION_STATIC: Resolution.STATIC,
    registry.RESOLUTION_DNS: Resolution.DNS,
    registry.RESOLUTION_DNS_ROUND_ROBIN: Resolution.DNS_ROUND_ROBIN,
    registry.RESOLUTION_PASSTHROUGH: Resolution.PASSTHROUGH,
    registry.RESOLUTION_DYNAMIC_DNS: Resolution.DYNAMIC_DNS,
    registry.RESOLUTION_ALIAS: Resolution.ALIAS,
}
_HEALTHS: Final[Mapping[int, Health]] = {
    registry.HEALTH_UNSPECIFIED: Health.HEALTHY,
    registry.HEALTH_HEALTHY: Health.HEALTHY,
    registry.HEALTH_UNHEALTHY: Health.UNHEALTHY,
    registry.HEALTH_DRAINING: Health.DRAINING,
    registry.HEALTH_TERMINATING: Health.TERMINATING,
}
