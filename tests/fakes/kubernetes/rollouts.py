"""Controllers of workloads, as far as their status goes: whatever is made is at work at once.

    async with rolling_out(cluster.objects, slow={"istio-pilot"}): ...

Deployments, StatefulSets, DaemonSets and Jobs get the status that they have in the end. Those that
are ``stuck`` get what they have meanwhile, and pods that wait for an image. No other pods are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from mast.common.kubernetes.objects import PODS, Object, Resource
from tests.fakes.kubernetes.kinds import DAEMON_SETS, DEPLOYMENTS, JOBS, STATEFUL_SETS
from tests.fakes.kubernetes.objects import Objects

_KINDS = (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS, JOBS)


@asynccontextmanager
async def rolling_out(objects: Objects, stuck: Collection[str] = ()) -> AsyncIterator[None]:
    """Controllers that work until the block ends; ``stuck`` are names, and may be changed."""

    async def work() -> None:
        while True:
            change = objects.change
            for resource in _KINDS:
                for found in [*objects.shown(resource, "", lambda _: True)]:
                    _settle(objects, resource, found, stuck)
            await change.wait()

    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(work(), name="controllers")
        try:
            yield
        finally:
            working.cancel()


def _settle(objects: Objects, resource: Resource, found: Object, stuck: Collection[str]) -> None:
    metadata = found["metadata"]
    held = metadata["name"] in stuck
    status = _status(resource, found, held=held)
    if found.get("status") != status:
        own = {"status": status}
        objects.update(resource, metadata["namespace"], metadata["name"], own, "status")
    if held and resource != JOBS:
        _waiting_pod(objects, found)


def _status(resource: Resource, found: Object, *, held: bool) -> Object:
    replicas = found["spec"].get("replicas", 1)
    there = 0 if held else replicas
    seen = {"observedGeneration": found["metadata"]["generation"]}
    if resource == JOBS:
        if held:
            return {"conditions": [_condition("Failed", "BackoffLimitExceeded")]}
        return {"succeeded": 1, "conditions": [_condition("Complete", "CompletionsReached")]}
    if resource == DAEMON_SETS:
        numbers = dict.fromkeys(("updatedNumberScheduled", "numberAvailable"), int(not held))
        return {**seen, "desiredNumberScheduled": 1, **numbers}
    counts = dict.fromkeys(("readyReplicas", "availableReplicas"), there)
    return {**seen, "replicas": replicas, "updatedReplicas": replicas, **counts}


def _condition(kind: str, reason: str) -> Object:
    return {"type": kind, "status": "True", "reason": reason, "message": f"it is {reason}"}


def _waiting_pod(objects: Objects, found: Object) -> None:
    metadata, template = found["metadata"], found["spec"]["template"]
    name, namespace = f"{metadata['name']}-0", metadata["namespace"]
    if (PODS, namespace, name) in objects.stored:
        return
    waiting = {"reason": "ImagePullBackOff", "message": "there is no such image"}
    status = {
        "name": template["spec"]["containers"][0]["name"],
        "ready": False,
        "state": {"waiting": waiting},
    }
    labels = template["metadata"]["labels"]
    pod = {"metadata": {"name": name, "labels": labels}, "spec": template["spec"]}
    objects.create(PODS, namespace, pod)
    told = {"status": {"phase": "Pending", "containerStatuses": [status]}}
    objects.update(PODS, namespace, name, told, "status")
