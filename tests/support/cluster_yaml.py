"""A cluster for tests of service discovery, written as YAML, and what the registry has of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from mast.galley.core.discovery.converter import Converter
from mast.galley.core.discovery.objects import Item
from mast.galley.core.discovery.reading import read
from mast.galley.core.discovery.settings import Settings
from mastapi.registry.v1.registry_pb2 import Endpoint, EndpointShard, Service, Workload

HOST = "web.shop.svc.cluster.local"
SERVICE = f"registry/services/shop/{HOST}/Kubernetes"
SHARD = f"registry/endpoints/shop/{HOST}/Kubernetes"
POD = "registry/workloads/Kubernetes/shop/web-1"

WEB = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.0.0.9, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.1.0.1], targetRef: {kind: Pod, name: web-1}}]
"""
WEB_1 = """
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  labels: {app: web, security.istio.io/tlsMode: istio}
spec: {nodeName: n1, serviceAccountName: seller}
status: {podIP: 10.1.0.1, phase: Running, conditions: [{type: Ready, status: "True"}]}
"""
N1 = """
apiVersion: v1
kind: Node
metadata:
  name: n1
  labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1}
"""


def documents(*texts: str) -> Iterator[Mapping[str, Any]]:
    """The objects of YAML texts."""
    return (each for text in texts for each in yaml.safe_load_all(text) if each)


def items(*texts: str) -> Iterator[Item]:
    """The objects of YAML texts as discovery reads them; all of them must be right."""
    for each in documents(*texts):
        found = read(each)
        assert not found.findings, found.findings
        if found.item is not None:
            yield found.item


def registry_of(*texts: str, settings: Settings | None = None) -> Mapping[str, Any]:
    """What the registry has of a cluster, by key."""
    converter = Converter(settings)
    for each in items(*texts):
        converter.put(each)
    return converter.settle()


def service_of(*texts: str) -> Service:
    """The Service shop/web of a cluster."""
    found = registry_of(*texts)[SERVICE]
    assert isinstance(found, Service)
    return found


def endpoints_of(*texts: str, settings: Settings | None = None) -> list[Endpoint]:
    """The endpoints of the Service shop/web of a cluster."""
    found = registry_of(*texts, settings=settings).get(SHARD, EndpointShard())
    return list(found.endpoints)


def workload_of(*texts: str, settings: Settings | None = None) -> Workload:
    """The workload of the Pod shop/web-1 of a cluster."""
    found = registry_of(*texts, settings=settings)[POD]
    assert isinstance(found, Workload)
    return found
