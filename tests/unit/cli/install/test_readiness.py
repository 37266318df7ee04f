"""Whether workloads are at work, by their status, and what keeps them from it."""

from __future__ import annotations

from typing import Any

import pytest

from mast.cli.install.readiness import Failed, trouble, unready


def workload(kind: str, wanted: int | None = None, /, **status: Any) -> dict[str, Any]:
    spec = {} if wanted is None else {"replicas": wanted}
    seen = {"observedGeneration": 2, **status}
    return {"kind": kind, "metadata": {"name": "a", "generation": 2}, "spec": spec, "status": seen}


def conditions(**states: str) -> list[dict[str, str]]:
    return [
        {"type": name, "status": state, "reason": "Because", "message": "of it"}
        for name, state in states.items()
    ]


FULL = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2, "readyReplicas": 2}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (workload("Deployment", 2, **FULL), ""),
        (workload("Deployment", replicas=1, updatedReplicas=1, availableReplicas=1), ""),
        (workload("Deployment", 0), ""),
        (workload("Deployment"), "0 of 1 replicas updated"),
        (workload("Deployment", 2, observedGeneration=1), "its controller has not seen it yet"),
        (workload("Deployment", 2, **{**FULL, "updatedReplicas": 1}), "1 of 2 replicas updated"),
        (workload("Deployment", 2, **{**FULL, "replicas": 3}), "1 old replicas have not ended"),
        (
            workload("Deployment", 2, **{**FULL, "availableReplicas": 0}),
            "0 of 2 updated replicas available",
        ),
        (
            workload(
                "Deployment",
                1,
                conditions=[{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}],
            ),
            "0 of 1 replicas updated; it exceeded its progress deadline",
        ),
        (workload("StatefulSet", 2, **FULL), ""),
        (workload("StatefulSet", 3, **FULL), "2 of 3 replicas ready"),
        (
            workload("StatefulSet", 2, **FULL, updateRevision="b", currentRevision="a"),
            "2 of 2 replicas updated",
        ),
        (workload("DaemonSet"), ""),
        (
            workload("DaemonSet", desiredNumberScheduled=3, updatedNumberScheduled=2),
            "2 of 3 pods updated",
        ),
        (
            workload("DaemonSet", desiredNumberScheduled=3, updatedNumberScheduled=3),
            "0 of 3 pods available",
        ),
        (workload("Job"), "it has not completed"),
        (workload("Job", conditions=conditions(Complete="True")), ""),
        (workload("CustomResourceDefinition"), "it is not established"),
        (workload("CustomResourceDefinition", conditions=conditions(Established="True")), ""),
        (workload("ConfigMap"), ""),
    ],
)
def test_unready(found: dict[str, Any], why: str) -> None:
    assert unready(found) == why


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (workload("Job", conditions=conditions(Failed="True")), "it failed: Because: of it"),
        (
            workload("CustomResourceDefinition", conditions=conditions(NamesAccepted="False")),
            "its names are not accepted: of it",
        ),
    ],
)
def test_what_will_never_be_ready(found: dict[str, Any], why: str) -> None:
    with pytest.raises(Failed, match=why):
        unready(found)


def pod(name: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": status}


def container(ready: bool = False, **state: Any) -> list[dict[str, Any]]:
    return [{"name": "c", "ready": ready, "state": state}]


@pytest.mark.parametrize(
    ("pods", "told"),
    [
        ([], ""),
        ([pod("a", phase="Running", containerStatuses=container(ready=True, running={}))], ""),
        (
            [pod("b"), pod("a", conditions=conditions(PodScheduled="False"))],
            "pod a: Because: of it",
        ),
        (
            [
                pod("a", initContainerStatuses=container(terminated={"reason": "Completed"})),
                pod("b", containerStatuses=container(waiting={"reason": "PodInitializing"})),
                pod("c", containerStatuses=container(waiting={"reason": "E", "message": "why"})),
            ],
            "pod c: container c: E: why",
        ),
        ([pod("a", containerStatuses=container(terminated={"reason": "OOMKilled"}))],
         "pod a: container c: OOMKilled"),
        (
            [pod("a", phase="Running", conditions=conditions(Ready="False"))],
            "pod a: its containers run and are not ready",
        ),
    ],
)  # fmt: skip
def test_what_pods_say(pods: list[dict[str, Any]], told: str) -> None:
    assert trouble(pods) == told
