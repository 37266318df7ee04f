"""What a cluster costs to convert: at first, and for each Pod that comes and goes.

    python -m tests.bench.bench_kubernetes_services [SERVICES]

The conversion alone, from objects as the API writes them to the bytes that are stored; ten Pods for
each Service. Without API server and etcd.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from json import dumps
from statistics import quantiles
from typing import Any

import psutil

from mast.galley.core.discovery.converter import Converter
from mast.galley.core.discovery.objects import Pod
from mast.galley.core.discovery.reading import read

PODS_PER_SERVICE, NAMESPACES, NODES = 10, 50, 500
CHANGES = 2000
MILLION = 1 << 20


def service(number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"app-{number}", "namespace": f"ns-{number % NAMESPACES}"},
        "spec": {
            "clusterIP": f"10.96.{number >> 8}.{number & 255}",
            "selector": {"app": f"app-{number}"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": 8080},
                {"name": "grpc", "port": 81, "targetPort": 8081},
            ],
        },
    }


def address(number: int, index: int) -> str:
    whole = number * PODS_PER_SERVICE + index
    return f"10.{128 + (whole >> 16)}.{whole >> 8 & 255}.{whole & 255}"


def pod(number: int, index: int, account: str = "default") -> dict[str, Any]:
    labels = {"app": f"app-{number}", "version": "v1", "pod-template-hash": "7d9f8c"}
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"app-{number}-7d9f8c",
        "controller": True,
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"app-{number}-7d9f8c-{index}",
            "namespace": f"ns-{number % NAMESPACES}",
            "labels": {**labels, "security.istio.io/tlsMode": "istio"},
            "ownerReferences": [owner],
        },
        "spec": {
            "nodeName": f"node-{(number + index) % NODES}",
            "serviceAccountName": account,
            "containers": [{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
        "status": {
            "phase": "Running",
            "podIP": address(number, index),
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def endpoint_slice(number: int) -> dict[str, Any]:
    name = f"app-{number}"
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": f"ns-{number % NAMESPACES}",
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}, {"name": "grpc", "port": 8081}],
        "endpoints": [
            {
                "addresses": [address(number, index)],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": f"{name}-7d9f8c-{index}"},
            }
            for index in range(PODS_PER_SERVICE)
        ],
    }


def node(number: int) -> dict[str, Any]:
    labels = {
        "topology.kubernetes.io/region": "eu",
        "topology.kubernetes.io/zone": f"eu-{number % 3}",
    }
    metadata = {"name": f"node-{number}", "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}


def cluster(services: int) -> Iterator[dict[str, Any]]:
    yield from map(node, range(NODES))
    for number in range(services):
        yield service(number)
        yield endpoint_slice(number)
        for index in range(PODS_PER_SERVICE):
            yield pod(number, index)


def told(converter: Converter) -> int:
    """Settle; how many bytes there are to store."""
    messages = converter.settle().values()
    return sum(len(each.SerializeToString(deterministic=True)) for each in messages if each)


def show(name: str, value: float, unit: str, **more: Any) -> None:
    sys.stdout.write(dumps({"name": name, "value": round(value, 3), "unit": unit, **more}) + "\n")


def main(services: int = 5000) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    converter = Converter()
    begun = time.perf_counter()
    for content in cluster(services):
        item = read(content).item
        if item is not None:
            converter.put(item)
    size = told(converter)
    seconds = time.perf_counter() - begun
    pods = services * PODS_PER_SERVICE
    show("services.first", seconds, "s", services=services, pods=pods, stored_bytes=size)
    show("services.rss", (process.memory_info().rss - before) / MILLION, "MiB")
    took = []
    for change in range(CHANGES):
        content = pod(change * 7 % services, change % PODS_PER_SERVICE, f"account-{change}")
        begun = time.perf_counter()
        item = read(content).item
        if not isinstance(item, Pod):
            raise TypeError(f"a Pod was read as {item}")
        converter.put(item)
        told(converter)
        took.append((time.perf_counter() - begun) * 1e6)
    cuts = quantiles(took, n=100)
    show("services.change", cuts[49], "us", p99=round(cuts[98], 1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
