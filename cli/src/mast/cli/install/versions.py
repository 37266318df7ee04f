"""Which versions follow which: what an upgrade may not skip, and what definitions may not lose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from mast.cli.install.manifests import Object

_VERSION: Final = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?(-[0-9A-Za-z.-]+)?(\+\S+)?")
_SINCE: Final = re.compile(r">=\s*v?(\d{1,9})\.(\d{1,9})(?:\.\d+)?(?:-0)?")


def step_refused(before: str, after: str) -> str:
    """Why a control plane of one version is not upgraded to another, "" if it is.

    As Istio has it: to the next minor version at most, and never back.
    """
    old, new = _numbers(before), _numbers(after)
    if old is None or new is None:
        unknown = before if old is None else after
        return "" if before == after else f"{unknown!r} is no version, such as 1.4.2"
    if new < old:
        return f"{after} is older than {before}, which is installed"
    if new[:2] > (old[0], old[1] + 1) and new[:2] != (old[0] + 1, 0):
        return f"{after} skips versions: {before} is installed; one minor version at a time"
    return ""


def kubernetes_refused(wanted: str, found: str) -> str:
    """Why a chart cannot be installed on a version of Kubernetes, "" if it can.

    ``wanted`` is a chart's ``kubeVersion``, of which only the form ``>=1.27.0-0`` is judged.
    """
    since, has = _SINCE.fullmatch(wanted.strip()), _VERSION.match(found)
    if since is None or has is None:
        return ""
    if (int(has[1]), int(has[2])) >= (int(since[1]), int(since[2])):
        return ""
    return f"Kubernetes {found} is too old for the chart; want {wanted}"


def lost_versions(definition: Object, live: Mapping[str, Any]) -> str:
    """Why a definition cannot take the place of the one that is there, "" if it can.

    Objects may be stored in a version that the new one does not have ("Upgrade existing objects
    to a new stored version").
    """
    stored = (live.get("status") or {}).get("storedVersions") or ()
    lost = sorted(set(stored) - set(versions_of(definition)))
    if not lost:
        return ""
    name = definition["metadata"]["name"]
    return (
        f"CustomResourceDefinition {name}: status.storedVersions has {', '.join(lost)}, and the"
        f" chart has {', '.join(versions_of(definition))} only: objects would be lost"
    )


def versions_of(definition: Mapping[str, Any]) -> list[str]:
    """The versions of a CustomResourceDefinition by name."""
    return [str(each["name"]) for each in definition["spec"]["versions"]]


def all_lost(definitions: Iterable[Object], live: Mapping[str, Object]) -> Iterator[str]:
    """What is wrong with definitions, given those that are there by name."""
    for each in definitions:
        there = live.get(each["metadata"]["name"])
        if there is not None and (problem := lost_versions(each, there)):
            yield problem


def _numbers(text: str) -> tuple[int, int, int, bool, str] | None:
    """What versions are compared by; one before a release is older than that."""
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    major, minor, patch, before, _ = match.groups()
    return int(major), int(minor), int(patch or 0), before is None, before or ""
