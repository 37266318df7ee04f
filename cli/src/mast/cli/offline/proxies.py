"""Which proxies there are, from a node ID or from what the files say of workloads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, Final

from envoy.config.core.v3.base_pb2 import Node

from mast.pilot.core.model import collection_names
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.model import Workload, selects
from mast.pilot.core.model.proxy import ProxyType

SOME_ADDRESS: Final = "192.0.2.1"
"""Address (RFC 5737) of a proxy of a WorkloadGroup, whose instances have none yet."""


def node(node_id: str, metadata: Mapping[str, Any] | None = None, cluster: str = "") -> Node:
    """The node that a proxy of that ID presents."""
    made = Node(id=node_id, cluster=cluster)
    if metadata:
        made.metadata.update(metadata)
    return made


def workload_nodes(index: Index, domain: str) -> list[Node]:
    """Nodes of all workloads with an address, and one for each WorkloadGroup; sorted by ID.

    A workload that a Gateway selects is a router, any other one a sidecar.
    """
    found: dict[str, Node] = {}
    for each in (*_workloads(index), *_groups(index)):
        router = any(
            each.namespace in {gateway.meta.namespace, index.mesh.root_namespace}
            and selects(gateway.spec.selector, each.labels)
            for gateway in index.collections.get(collection_names.GATEWAYS, ())
            if gateway.spec.selector
        )
        kind = ProxyType.ROUTER if router else ProxyType.SIDECAR
        made = _node(each, kind, domain)
        found.setdefault(made.id, made)
    return [found[key] for key in sorted(found)]


def _workloads(index: Index) -> Iterator[Workload]:
    seen: set[str] = set()
    for workloads in index.workloads_at.values():
        for each in workloads:
            if each.origin not in seen and any(map(_is_ip, each.addresses)):
                seen.add(each.origin)
                yield each


def _groups(index: Index) -> Iterator[Workload]:
    for each in index.collections.get(collection_names.WORKLOAD_GROUPS, ()):
        template = each.spec.template
        yield Workload(
            origin="",
            name=each.meta.name,
            namespace=each.meta.namespace,
            addresses=(SOME_ADDRESS,),
            labels={**template.labels, **each.spec.metadata.labels},
            service_account=template.service_account,
            network=template.network,
            workload_name=each.meta.name,
        )


def _node(workload: Workload, kind: ProxyType, domain: str) -> Node:
    addresses = [each for each in workload.addresses if _is_ip(each)]
    namespace = workload.namespace
    metadata: dict[str, Any] = {
        "NAMESPACE": namespace,
        "NAME": workload.name,
        "WORKLOAD_NAME": workload.workload_name or workload.name,
        "INSTANCE_IPS": ",".join(addresses),
        "LABELS": dict(workload.labels),
        "SERVICE_ACCOUNT": workload.service_account,
        "CLUSTER_ID": workload.cluster,
        "NETWORK": workload.network,
        "NODE_NAME": workload.node,
    }
    return node(
        f"{kind}~{addresses[0]}~{workload.name}.{namespace}~{namespace}.svc.{domain}",
        {key: value for key, value in metadata.items() if value},
        f"{workload.labels.get('app', workload.name)}.{namespace}",
    )


def named(nodes: Iterable[Node], name: str, namespace: str) -> list[Node]:
    """Nodes of a workload: ``NAME``, ``NAME.NAMESPACE``, or the start of its name before a dash."""
    wanted = {name, f"{name}.{namespace}"}
    exact, close = [], []
    for each in nodes:
        proxy_id = each.id.split("~")[2]
        own_name, _, own_namespace = proxy_id.rpartition(".")
        if proxy_id in wanted or (own_name == name and own_namespace == namespace):
            exact.append(each)
        elif own_namespace == namespace and own_name.startswith(f"{name}-"):
            close.append(each)
    return exact or close


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
