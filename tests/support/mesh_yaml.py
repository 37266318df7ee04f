"""Meshes for Pilot's tests, written as the YAML that users and registries would give.

Istio kinds stand as in Kubernetes. Registry objects have apiVersion `registry.mast/v1`, kind
Service, Workload or EndpointShard, and the fields of that message (mastapi.registry.v1) as spec.
Objects without a creationTimestamp are as old as their place in the text: the first is the oldest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from istio.mcp.v1alpha1.resource_pb2 import Resource
from mast.common import keys, kinds
from mast.pilot.core.model.finding import Finding
from mast.pilot.core.model.proxy import Proxy, parse
from mast.pilot.core.scope.memo import Reads
from mast.pilot.core.scope.scope import Scope, applicable_sidecar
from mast.pilot.core.world.world import World
from mastapi.kubernetes.v1.credentials_pb2 import Secret
from mastapi.registry.v1 import registry_pb2 as registry
from tests.support.credentials import SEALING_KEY, sealed_secret

REGISTRY = "registry.mast/v1"
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Put:
    """A key of the store and the bytes under it."""

    key: str
    value: bytes | None


def world(*texts: str) -> World:
    """A world that holds the objects of the texts; every one of them is accepted."""
    made = World(sealing_key=SEALING_KEY)
    rejections = made.apply(changes(*texts))
    assert not rejections, rejections
    return made


def scope(proxy: Proxy, *texts: str) -> Scope:
    """What a proxy sees of a mesh that holds the objects of the texts."""
    snapshot = world(*texts).snapshot(1)
    everything = snapshot.scope(proxy.namespace)
    sidecar = applicable_sidecar(everything, proxy.labels)
    return Scope(snapshot.index, snapshot.results, Reads(), proxy.namespace, sidecar)


def reviewed(made: World, revision: int = 1) -> Sequence[Finding]:
    """What is wrong with the objects of a world, sorted."""
    snapshot = made.snapshot(revision)
    for step in snapshot.review():
        step()
    return sorted(snapshot.findings(), key=lambda each: each.order)


def reported(seen: Scope, make: Callable[[Scope], object]) -> Sequence[Finding]:
    """What comes to light while something is made for whoever sees that, sorted."""
    reads = Reads()
    make(seen.noting(reads))
    return sorted(reads.findings, key=lambda each: each.order)


def sidecar_proxy(
    namespace: str = "shop",
    *,
    ip: str = "10.1.0.7",
    labels: Mapping[str, str] | None = None,
    **metadata: object,
) -> Proxy:
    """A sidecar named `client-1` with labels and further node metadata."""
    node = Node(id=f"sidecar~{ip}~client-1.{namespace}~{namespace}.svc.cluster.local")
    node.metadata.update({"NAMESPACE": namespace, "LABELS": dict(labels or {}), **metadata})
    return parse(node)


def changes(*texts: str) -> Iterator[Put]:
    """The store keys and values of the objects of YAML texts."""
    read = (each for text in texts for each in yaml.load_all(text, yaml.CSafeLoader))
    documents = [each for each in read if each]
    for age, document in enumerate(documents):
        created = document["metadata"].get("creationTimestamp") or _EPOCH + timedelta(hours=age)
        if document["apiVersion"] == REGISTRY:
            yield _registered(document, created)
        else:
            yield _configured(document, created)


def _configured(document: Mapping[str, Any], created: datetime) -> Put:
    group, _, _ = document["apiVersion"].rpartition("/")
    kind = kinds.BY_GROUP_KIND[group, document["kind"]]
    metadata = document["metadata"]
    namespace = "" if kind.cluster_scoped else metadata.get("namespace", "default")
    key = keys.config_key(kind.collection, namespace, metadata["name"])
    resource = Resource()
    resource.body.Pack(_specification(document, kind, key))
    resource.metadata.name = f"{namespace}/{metadata['name']}"
    resource.metadata.version = "1"
    resource.metadata.create_time.FromDatetime(created)
    resource.metadata.labels.update(metadata.get("labels", {}))
    resource.metadata.annotations.update(metadata.get("annotations", {}))
    return Put(key, resource.SerializeToString())


def _specification(document: Mapping[str, Any], kind: kinds.Kind, key: str) -> Message:
    content = document.get("spec", {})
    if kind.flat:
        names = kind.message.DESCRIPTOR.fields_by_name
        content = {name: value for name, value in document.items() if name in names}
    found = ParseDict(content, kind.message())
    return sealed_secret(found, key) if isinstance(found, Secret) else found


def _registered(document: Mapping[str, Any], created: datetime) -> Put:
    spec = document.get("spec", {})
    match document["kind"]:
        case "Service":
            service = ParseDict(spec, registry.Service())
            service.create_time.FromDatetime(created)
            return Put(
                keys.service_key(service.namespace, service.host, service.cluster),
                service.SerializeToString(),
            )
        case "Workload":
            workload = ParseDict(spec, registry.Workload())
            return Put(
                keys.workload_key(workload.cluster, workload.namespace, workload.name),
                workload.SerializeToString(),
            )
        case "EndpointShard":
            shard = ParseDict(spec, registry.EndpointShard())
            return Put(
                keys.endpoints_key(shard.namespace, shard.host, shard.shard),
                shard.SerializeToString(),
            )
    raise ValueError(f"{document['kind']}: want Service, Workload or EndpointShard")
