"""Pods that began without capture, and what is to become of them (C6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from mast.agent.core.cni.pods import VALIDATION, Pod

INVALID: Final = 126
"""How the check of capture ends if there is none."""


class Remedy(StrEnum):
    """What is done, by the names that metrics have for it."""

    REPAIR = "repair"
    DELETE = "delete"
    LABEL = "label"


def is_broken(pod: Pod) -> bool:
    """Whether its check of capture failed, and it waits for another try."""
    return any(_exit(each) == INVALID for each in _statuses(pod)) and not _ended(pod)


def is_labelled(pod: Pod, label: str, value: str) -> bool:
    """Whether a pod has been labelled as a broken one."""
    return bool((pod["metadata"].get("labels") or {}).get(label) == value)


def owns(cgroup: str, uid: str) -> bool:
    """Whether a process belongs to a pod, by its /proc/PID/cgroup (kubelet's names of groups)."""
    return bool(uid) and (f"pod{uid}" in cgroup or f"pod{uid.replace('-', '_')}" in cgroup)


def _statuses(pod: Pod) -> Iterator[Mapping[str, Any]]:
    found = (pod.get("status") or {}).get("initContainerStatuses") or ()
    return (each for each in found if each.get("name") == VALIDATION)


def _exit(status: Mapping[str, Any]) -> int | None:
    """How it ended now; while it waits or runs again, the last time."""
    now = (status.get("state") or {}).get("terminated")
    before = (status.get("lastState") or {}).get("terminated")
    ended = now or before
    return None if ended is None else int(ended.get("exitCode", 0))


def _ended(pod: Pod) -> bool:
    phase = (pod.get("status") or {}).get("phase")
    return phase in {"Succeeded", "Failed"} or "deletionTimestamp" in pod["metadata"]
