"""What is known of the whole mesh, as JSON in Istio's shapes (pilot.md M1)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from google.protobuf.json_format import MessageToDict

from mast.common import kinds
from mast.pilot.core.gateway_api.status import statuses
from mast.pilot.core.model import collection_names
from mast.pilot.core.model.finding import Finding
from mast.pilot.core.model.index import Index
from mast.pilot.core.model.model import Config
from mast.pilot.core.scope import networks
from mast.pilot.core.world.snapshot import MeshSnapshot


def configs(index: Index) -> Sequence[Mapping[str, Any]]:
    """Every configuration object, as it would be written in YAML."""
    return [config(each) for found in index.collections.values() for each in found]


def config(each: Config[Any]) -> Mapping[str, Any]:
    """A configuration object as it would be written in YAML."""
    meta = each.meta
    return {
        "apiVersion": f"{meta.group}/{meta.api_version}",
        "kind": meta.kind,
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "labels": dict(meta.labels),
            "annotations": dict(meta.annotations),
            "resourceVersion": meta.version,
        },
        "spec": MessageToDict(each.spec),
    }


def services(index: Index) -> Sequence[Mapping[str, Any]]:
    """All services."""
    return [_plain(asdict(each)) for found in index.services.values() for each in found]


def endpoints(index: Index) -> Sequence[Mapping[str, Any]]:
    """All endpoints by service."""
    return [
        {
            "svc": key.host,
            "namespace": key.namespace,
            "ep": [_plain(asdict(each)) for each in found],
        }
        for key, found in index.endpoints.items()
    ]


def resource_kinds() -> Sequence[Mapping[str, str]]:
    """Every kind and version of configuration that is understood."""
    return [
        {"group": kind.group, "version": version, "kind": kind.name}
        for kind in kinds.KINDS
        for version in kind.versions
    ]


def authorization(index: Index) -> Mapping[str, Any]:
    """Authorization policies by namespace, in the order in which they are looked at."""
    policies = _by_namespace(index, collection_names.AUTHORIZATION_POLICIES)
    return {
        "authorization_policies": {
            "namespace_to_policies": policies,
            "root_namespace": index.mesh.root_namespace,
        }
    }


def telemetry(index: Index) -> Mapping[str, Any]:
    """Telemetry objects by namespace."""
    return {
        "telemetries": {
            "namespace_to_telemetries": _by_namespace(index, collection_names.TELEMETRIES),
            "root_namespace": index.mesh.root_namespace,
        }
    }


def clusters(index: Index) -> Sequence[Mapping[str, Any]]:
    """Clusters that report workloads or endpoints, and how many."""
    workloads = Counter(
        each.cluster
        for each in {
            each.origin: each for at in index.workloads_at.values() for each in at
        }.values()
    )
    served = Counter(each.cluster for found in index.endpoints.values() for each in found)
    return [
        {
            "id": each,
            "secretName": "",
            "syncStatus": "synced",
            "workloads": workloads[each],
            "endpoints": served[each],
        }
        for each in sorted({*workloads, *served} - {""})
    ]


def network_gateways(snapshot: MeshSnapshot) -> Sequence[Mapping[str, Any]]:
    """The ways into other networks."""
    scope = snapshot.scope(snapshot.index.mesh.root_namespace)
    return [
        {
            "Network": network,
            "Cluster": each.cluster,
            "Addr": each.address,
            "Port": each.port,
            "Locality": str(each.locality),
        }
        for network in networks.known_networks(scope)
        for each in networks.gateways(scope, network)
    ]


def gateway_statuses(snapshot: MeshSnapshot) -> Sequence[Mapping[str, Any]]:
    """Statuses of Gateway API objects, as their controller would write them (pilot.md I8)."""
    return [
        {
            "apiVersion": f"{each.meta.group}/{each.meta.api_version}",
            "kind": each.meta.kind,
            "metadata": {"name": each.meta.name, "namespace": each.meta.namespace},
            "status": each.status,
        }
        for each in statuses(snapshot.translation)
    ]


def push_context(snapshot: MeshSnapshot) -> Mapping[str, Any]:
    """What a push works with, beside services and configuration."""
    by_network: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for each in network_gateways(snapshot):
        by_network[each["Network"]].append(each)
    known = snapshot.scope(snapshot.index.mesh.root_namespace).mesh.networks.networks
    return {
        "AuthorizationPolicies": authorization(snapshot.index)["authorization_policies"],
        "NetworkGateways": by_network,
        "UnresolvedGateways": sorted(set(known) - by_network.keys()),
    }


def conflicts(findings: Iterable[Finding]) -> Mapping[str, Any]:
    """What is wrong, by metric and by what it is about, with the names of loser and winner."""
    found: dict[str, dict[str, Mapping[str, str]]] = defaultdict(dict)
    for each in sorted(findings, key=lambda each: each.order):
        names = {"subject": each.subject, "winner": each.winner}
        found[each.fault][each.key] = {
            "message": each.message,
            **{role: str(name) for role, name in names.items() if name is not None},
        }
    return found


def mesh_settings(index: Index) -> Mapping[str, Any]:
    """Settings of the mesh, defaults included."""
    return MessageToDict(index.mesh.config)


def _by_namespace(index: Index, collection: str) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    return {
        namespace: [
            {
                "name": each.meta.name,
                "namespace": namespace,
                "annotations": dict(each.meta.annotations),
                "spec": MessageToDict(each.spec),
            }
            for each in found
        ]
        for (kept, namespace), found in sorted(index.configs.items())
        if kept == collection
    }


def _plain(value: Any) -> Any:
    """The value in terms of JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Iterable):
        return [_plain(each) for each in value]
    return value
