"""Clusters and endpoints of a proxy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from envoy.admin.v3.clusters_pb2 import HostStatus
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Locality
from envoy.config.core.v3.health_check_pb2 import HealthStatus
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster

from mast.cli.inspect.dump import Dump
from mast.cli.inspect.tables import Table, address_text, origin

CLUSTER_COLUMNS: Final = ("SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE")
ENDPOINT_COLUMNS: Final = ("ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER")
EDS_COLUMNS: Final = ("NAME", "STATUS", "LOCALITY", "CLUSTER")


@dataclass(frozen=True)
class Named:
    """The parts of a cluster's name; only ``host`` is set if it has no parts."""

    host: str
    port: str = "-"
    subset: str = "-"
    direction: str = "-"

    @classmethod
    def parse(cls, name: str) -> Named:
        """From ``outbound|80|v1|web.shop.svc`` or its server name form (pilot.md C)."""
        for separator in ("|", "_."):
            parts = name.split(separator, 3)
            if len(parts) == 4 and parts[0] in {"inbound", "outbound"}:
                direction, port, subset, host = parts
                return cls(host, port, subset or "-", direction)
        return cls(name)


def clusters(
    dump: Dump, *, fqdn: str = "", port: int = 0, subset: str = "", direction: str = ""
) -> Table:
    """One row per cluster, by service, port, subset and direction."""
    table = Table(CLUSTER_COLUMNS)
    found = sorted(
        ((Named.parse(name), cluster) for name, cluster in dump.clusters.items()),
        key=lambda each: (each[0].host, _number(each[0].port), each[0].subset, each[0].direction),
    )
    for named, cluster in found:
        if (
            (not fqdn or named.host == fqdn)
            and (not port or named.port == str(port))
            and (not subset or named.subset == subset)
            and (not direction or named.direction == direction.lower())
        ):
            row = (named.host, named.port, named.subset, named.direction)
            table.add(cluster, (*row, cluster_type(cluster), origin(cluster.metadata)))
    return table


def cluster_type(cluster: Cluster) -> str:
    """How a cluster finds its endpoints, in Envoy's words."""
    if not cluster.HasField("cluster_type"):
        return Cluster.DiscoveryType.Name(cluster.type)
    dns = DnsCluster()
    if cluster.cluster_type.typed_config.Unpack(dns):
        return "LOGICAL_DNS" if dns.all_addresses_in_single_endpoint else "STRICT_DNS"
    return cluster.cluster_type.name.removeprefix("envoy.clusters.").upper()


@dataclass(frozen=True)
class Host:
    """An endpoint of a cluster as the proxy sees it."""

    address: str
    status: str
    outlier: str
    cluster: str


def endpoints(
    dump: Dump, *, address: str = "", port: int = 0, cluster: str = "", status: str = ""
) -> Table:
    """One row per endpoint and cluster, by cluster and address."""
    table = Table(ENDPOINT_COLUMNS)
    for host in sorted(_hosts(dump), key=lambda each: (each.cluster, each.address)):
        ip, _, number = host.address.rpartition(":")
        if (
            (not address or ip.strip("[]") == address.strip("[]"))
            and (not port or number == str(port))
            and (not cluster or host.cluster == cluster)
            and (not status or host.status.lower() == status.lower())
        ):
            table.rows.append([host.address, host.status, host.outlier, host.cluster])
            table.data.append(
                {
                    "endpoint": host.address,
                    "status": host.status,
                    "outlierCheck": host.outlier,
                    "cluster": host.cluster,
                }
            )
    return table


def assignments(dump: Dump, *, cluster: str = "") -> Table:
    """One row per endpoint that the proxy was told by EDS, by cluster and address."""
    table = Table(EDS_COLUMNS)
    for name, assignment in sorted(dump.endpoints.items()):
        if cluster and name != cluster:
            continue
        rows = [
            (address_text(each.endpoint.address), _health(each.health_status), place, name)
            for locality in assignment.endpoints
            for place in [_place(locality.locality)]
            for each in locality.lb_endpoints
        ]
        table.add(assignment, *sorted(rows))
    return table


def _place(locality: Locality) -> str:
    parts = (locality.region, locality.zone, locality.sub_zone)
    return "/".join(part for part in parts if part) or "-"


def _hosts(dump: Dump) -> Iterator[Host]:
    """From ``/clusters``, which knows what became of each; else from what the proxy was told."""
    if dump.hosts is not None:
        for each in dump.hosts.cluster_statuses:
            for host in each.host_statuses:
                yield Host(address_text(host.address), _status(host), _outlier(host), each.name)
        return
    assigned = {name: each.load_assignment for name, each in dump.clusters.items()}
    assigned |= dump.endpoints
    for name, assignment in assigned.items():
        for locality in assignment.endpoints:
            for endpoint in locality.lb_endpoints:
                text = address_text(endpoint.endpoint.address)
                yield Host(text, _health(endpoint.health_status), "-", name)


def _status(host: HostStatus) -> str:
    health = host.health_status
    if health.failed_active_health_check:
        return "UNHEALTHY"
    return _health(health.eds_health_status)


def _health(health: HealthStatus.ValueType) -> str:
    return "HEALTHY" if health == HealthStatus.UNKNOWN else HealthStatus.Name(health)


def _outlier(host: HostStatus) -> str:
    return "FAILED" if host.health_status.failed_outlier_check else "OK"


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
