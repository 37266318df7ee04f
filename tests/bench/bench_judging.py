"""What judging costs without a network: validation, injection, analysis.

python -m tests.bench.bench_judging
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any, Final

from mast.galley.core.admission import injection, validation
from mast.galley.core.admission.review import Review, review
from mast.galley.core.analysis.analysis import analyse
from mast.galley.core.analysis.analyzers import ANALYZERS
from mast.galley.core.analysis.reading import observed
from mast.galley.core.analysis.snapshot import Snapshot
from mast.galley.core.injection.settings import Settings
from mast.galley.core.objects import Defaults
from tests.bench.load import kubernetes_objects as objects

SECONDS: Final = 3.0
OBJECTS: Final = 2000
NETWORKING: Final = "networking.istio.io/v1"


def virtual_service(number: int) -> dict[str, Any]:
    return {
        "apiVersion": NETWORKING,
        "kind": "VirtualService",
        **objects.virtual_service(number),
    }


def destination_rule(number: int) -> dict[str, Any]:
    return {
        "apiVersion": NETWORKING,
        "kind": "DestinationRule",
        **objects.destination_rule(number),
    }


def body(resource: str, content: dict[str, Any]) -> bytes:
    """A review of an object that is created."""
    group = content["apiVersion"].rpartition("/")[0]
    request = {
        "uid": "7",
        "operation": "CREATE",
        "namespace": content["metadata"].get("namespace", "shop"),
        "resource": {"group": group, "version": "v1", "resource": resource},
        "object": content,
    }
    fields = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(fields).encode()


def rate(name: str, bodies: list[bytes], judge: Callable[[Review], Any]) -> None:
    """Judge for some seconds of CPU, from bytes to verdict."""
    done, begun = 0, time.process_time()
    for each in cycle(bodies):
        if not judge(review(each)).allowed:
            raise ValueError(each)
        done += 1
        if (spent := time.process_time() - begun) > SECONDS:
            break
    show(name, done / spent, "1/s of a core", microseconds=round(spent / done * 1e6, 1))


def mesh() -> Iterator[dict[str, Any]]:
    """As many objects of four kinds."""
    for number in range(OBJECTS // 4):
        yield virtual_service(number)
        yield destination_rule(number)
        yield {"apiVersion": "v1", "kind": "Service", **objects.service(number)}
        yield {"apiVersion": "apps/v1", "kind": "Deployment", **objects.deployment(number)}


def analysis() -> None:
    """All analyzers, and those that one changed object concerns."""
    begun = time.process_time()
    snapshot = Snapshot(item for each in mesh() for item in observed(each))
    read = time.process_time()
    results = analyse(ANALYZERS, snapshot)
    done = time.process_time()
    more = {"objects": OBJECTS, "messages": len(results.messages)}
    show("analysis, reading", read - begun, "s", **more)
    show("analysis", done - read, "s", **more)
    (changed,) = observed(virtual_service(0) | {"spec": {"hosts": ["app-0"]}})
    kept = [each for each in snapshot.of(changed.kind) if each.name != changed.name]
    begun = time.process_time()
    analyse(ANALYZERS, snapshot.replaced(changed.kind, [*kept, changed]), results)
    show("analysis, one VirtualService changed", time.process_time() - begun, "s", **more)


def show(name: str, value: float, unit: str, **more: Any) -> None:
    result = {"name": name, "value": round(value, 3), "unit": unit, **more}
    sys.stdout.write(json.dumps(result) + "\n")


def main() -> None:
    """Print one JSON object for each measurement."""
    defaults, settings = Defaults(), Settings()
    services = [body("virtualservices", virtual_service(each)) for each in range(100)]
    rules = [body("destinationrules", destination_rule(each)) for each in range(100)]
    pods = [
        body("pods", {"apiVersion": "v1", "kind": "Pod", **objects.new_pod(each)})
        for each in range(100)
    ]

    def judged(asked: Review) -> Any:
        return validation.verdict(asked, defaults)

    rate("validation, VirtualService", services, judged)
    rate("validation, DestinationRule", rules, judged)
    both = [each for pair in zip(services, rules, strict=True) for each in pair]
    rate("validation, both in turn", both, judged)
    rate("injection", pods, lambda asked: injection.verdict(asked, settings, {}))
    analysis()


if __name__ == "__main__":
    main()
