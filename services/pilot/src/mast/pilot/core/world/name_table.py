"""The name table that agents answer DNS from (istio.networking.nds.v1, pilot.md D10)."""

from collections.abc import Iterable, Sequence
from typing import Final

from istio.networking.nds.v1.nds_pb2 import NameTable
from mast.pilot.core.clusters.endpoints import is_usable
from mast.pilot.core.model import hosts
from mast.pilot.core.model.model import Endpoint, Service
from mast.pilot.core.model.proxy import Proxy
from mast.pilot.core.scope.scope import Scope

POD_NAME: Final = "statefulset.kubernetes.io/pod-name"


def name_table(scope: Scope, proxy: Proxy) -> NameTable:
    """Addresses of every host that callers of a class may look up.

    A service gives its VIPs, an automatic one if there is no other; a headless one the ready
    endpoints of the own cluster and network, and the names of its pods. Kubernetes services hide
    ServiceEntries of the same host, which the scope sees to.
    """
    table = NameTable()
    for service in scope.services():
        if service.headless:
            _add_headless(table, service, _near(scope, service, proxy), proxy)
        elif addresses := _dialable(service.vips(proxy.cluster_id, automatic=True), proxy):
            _add(table, service, service.host, addresses)
            for alias in service.aliases:
                _add(table, service, alias, addresses)
    return table


def _add(table: NameTable, service: Service, host: str, addresses: Iterable[str]) -> None:
    entry = table.table[host]
    entry.ips.extend(addresses)
    entry.registry = service.registry
    if (parts := hosts.kubernetes_parts(host)) is not None:
        entry.shortname, entry.namespace = parts[0], parts[1]


def _add_headless(
    table: NameTable, service: Service, endpoints: Sequence[Endpoint], proxy: Proxy
) -> None:
    """The addresses of all endpoints, and `POD.SERVICE.NAMESPACE.svc.DOMAIN` of each pod."""
    addresses = sorted({text for each in endpoints for text in _dialable(each.addresses, proxy)})
    if not addresses:
        return
    _add(table, service, service.host, addresses)
    pods: dict[str, set[str]] = {}
    for each in endpoints:
        if pod := each.labels.get(POD_NAME):
            pods.setdefault(pod, set()).update(_dialable(each.addresses, proxy))
    for pod in sorted(pods):
        entry = table.table[f"{pod}.{service.host}"]
        entry.ips.extend(sorted(pods[pod]))
        entry.registry = service.registry
        if (parts := hosts.kubernetes_parts(service.host)) is not None:
            entry.shortname, entry.namespace = f"{pod}.{parts[0]}", parts[1]


def _near(scope: Scope, service: Service, proxy: Proxy) -> Sequence[Endpoint]:
    """Ready endpoints with an IP address in the proxy's cluster and network."""
    return [
        each
        for each in scope.endpoints(service.key)
        if each.is_ip
        and is_usable(each, service)
        and (not each.cluster or each.cluster == proxy.cluster_id)
        and (not each.network or each.network == proxy.network)
    ]


def _dialable(addresses: Iterable[str], proxy: Proxy) -> list[str]:
    """Single addresses of the families that the proxy has."""
    return [
        each
        for each in addresses
        if hosts.is_single_address(each) and (proxy.ipv6 if ":" in each else proxy.ipv4)
    ]
