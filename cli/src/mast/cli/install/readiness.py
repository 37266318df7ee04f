"""Whether what was installed is at work, as ``kubectl rollout status`` and Helm judge it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

# Kinds that are waited for.
AWAITED: Final = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job"})


class Failed(Exception):
    """It will not get ready by itself; says why."""


def unready(found: Mapping[str, Any]) -> str:
    """Why an object is not ready, "" if it is; kinds that cannot be told are ready.

    Raises Failed if nothing will change that.
    """
    match found.get("kind"):
        case "Deployment":
            return _behind(found) or _deployment(found)
        case "StatefulSet":
            return _behind(found) or _stateful_set(found)
        case "DaemonSet":
            return _behind(found) or _daemon_set(found)
        case "Job":
            return _job(found)
        case "CustomResourceDefinition":
            return _definition(found)
    return ""


def trouble(pods: Iterable[Mapping[str, Any]]) -> str:
    """What keeps pods from being ready, one of them for all; "" if none of them says."""
    for pod in sorted(pods, key=lambda each: str(each["metadata"]["name"])):
        for reason in _troubles(pod):
            return f"pod {pod['metadata']['name']}: {reason}"
    return ""


def _behind(found: Mapping[str, Any]) -> str:
    generation = found["metadata"].get("generation", 0)
    seen = _status(found).get("observedGeneration", 0)
    return "its controller has not seen it yet" if seen < generation else ""


def _deployment(found: Mapping[str, Any]) -> str:
    status = _status(found)
    progress = _condition(found, "Progressing")
    wanted = _replicas(found)
    updated, all_of_them = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    if updated < wanted:
        text = f"{updated} of {wanted} replicas updated"
    elif all_of_them > updated:
        text = f"{all_of_them - updated} old replicas have not ended"
    elif available < updated:
        text = f"{available} of {updated} updated replicas available"
    else:
        return ""
    late = progress.get("reason") == "ProgressDeadlineExceeded"
    return f"{text}; it exceeded its progress deadline" if late else text


def _stateful_set(found: Mapping[str, Any]) -> str:
    status, wanted = _status(found), _replicas(found)
    ready = status.get("readyReplicas", 0)
    if ready < wanted:
        return f"{ready} of {wanted} replicas ready"
    if status.get("updateRevision", "") != status.get("currentRevision", ""):
        return f"{status.get('updatedReplicas', 0)} of {wanted} replicas updated"
    return ""


def _daemon_set(found: Mapping[str, Any]) -> str:
    status = _status(found)
    wanted = status.get("desiredNumberScheduled", 0)
    for name, text in (("updatedNumberScheduled", "updated"), ("numberAvailable", "available")):
        if status.get(name, 0) < wanted:
            return f"{status.get(name, 0)} of {wanted} pods {text}"
    return ""


def _job(found: Mapping[str, Any]) -> str:
    failed = _condition(found, "Failed")
    if failed.get("status") == "True":
        raise Failed(f"it failed: {failed.get('reason', '')}: {failed.get('message', '')}")
    done = _condition(found, "Complete").get("status") == "True"
    return "" if done else "it has not completed"


def _definition(found: Mapping[str, Any]) -> str:
    accepted = _condition(found, "NamesAccepted")
    if accepted.get("status") == "False":
        raise Failed(f"its names are not accepted: {accepted.get('message', '')}")
    established = _condition(found, "Established").get("status") == "True"
    return "" if established else "it is not established"


def _troubles(pod: Mapping[str, Any]) -> Iterator[str]:
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield f"{scheduled.get('reason', '')}: {scheduled.get('message', '')}"
    status = _status(pod)
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(kind) or ():
            state = container.get("state") or {}
            told = state.get("waiting") or state.get("terminated") or {}
            reason = told.get("reason", "")
            if container.get("ready") or reason in {"", "Completed", "PodInitializing"}:
                continue
            message = told.get("message", "")
            yield f"container {container['name']}: {reason}{': ' if message else ''}{message}"
    if status.get("phase") == "Running" and _condition(pod, "Ready").get("status") == "False":
        yield "its containers run and are not ready"


def _replicas(found: Mapping[str, Any]) -> int:
    wanted = (found.get("spec") or {}).get("replicas")
    return 1 if wanted is None else int(wanted)


def _status(found: Mapping[str, Any]) -> Mapping[str, Any]:
    return found.get("status") or {}


def _condition(found: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = _status(found).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})
