"""What a cluster costs to convert: at first, and for each Pod that comes and goes.

    python -m tests.bench.bench_kubernetes_services [SERVICES]

Decoding and conversion alone, from JSON as an API server writes it to the bytes that are stored;
ten Pods for each Service. Without API server and etcd.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from statistics import quantiles
from typing import Any

import psutil

from mast.common.kubernetes.decoding import Decoder
from mast.galley.core.discovery.converter import Converter
from mast.galley.core.discovery.reading import read
from mast.galley.core.discovery.shapes import SHAPES
from tests.bench.load import kubernetes_objects as objects
from tests.bench.load.kubernetes_objects import Size

CHANGES = 2000
MILLION = 1 << 20


class Edge:
    """From JSON to the registry."""

    def __init__(self) -> None:
        self.converter = Converter()
        self._decoders = {kind: Decoder(shape) for kind, shape in SHAPES.items()}

    def take(self, content: dict[str, Any]) -> float:
        """Take an object; CPU seconds, without making its JSON."""
        kind = {name: content[name] for name in ("apiVersion", "kind")}
        body = json.dumps({"metadata": {}, "items": [content]}).encode()
        begun = time.process_time()
        (found,) = self._decoders[content["kind"]].page(body).objects
        item = read({**found, **kind}).item
        if item is None:
            raise ValueError(content)
        self.converter.put(item)
        return time.process_time() - begun


def show(name: str, value: float, unit: str, **more: Any) -> None:
    sys.stdout.write(json.dumps({"name": name, "value": round(value, 3), "unit": unit, **more}))
    sys.stdout.write("\n")


def main(services: int = 5000) -> None:
    gc.set_threshold(50_000, 20, 50)  # as Galley does
    process = psutil.Process()
    before = process.memory_info().rss
    edge, size = Edge(), Size(services)
    seconds = sum(map(edge.take, objects.everything(size)))
    begun = time.process_time()
    stored = sum(map(len, filter(None, edge.converter.settle_values().values())))
    seconds += time.process_time() - begun
    show("services.first", seconds, "s", services=services, pods=size.endpoints, bytes=stored)
    show("services.rss", (process.memory_info().rss - before) / MILLION, "MiB")
    took = []
    for change in range(CHANGES):
        number, index = change * 7 % services, change % size.pods_per_service
        changed = objects.pod(number, index, size)
        changed["spec"]["serviceAccountName"] = f"account-{change}"
        spent = edge.take({"apiVersion": "v1", "kind": "Pod", **changed})
        begun = time.process_time()
        edge.converter.settle_values()
        took.append((spent + time.process_time() - begun) * 1e6)
    cuts = quantiles(took, n=100)
    show("services.change", cuts[49], "us", p99=round(cuts[98], 1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
