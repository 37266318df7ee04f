"""Patches of objects: merge (RFC 7386), strategic merge, JSON patch (RFC 6902)."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

# Lists of objects that strategic patches merge, and by which field, "" for lists of plain values
# ("patchMergeKey" in Kubernetes' API); any other list is replaced.
MERGE_KEYS = {
    "webhooks": "name",
    "matchConditions": "name",
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "conditions": "type",
    "finalizers": "",
}


class BadPatch(Exception):
    """A patch that does not fit what it is for."""


def patched(target: Any, patch: Any, content_type: str) -> Any:
    """What a patch makes of an object; BadPatch, or KeyError for an unknown content type."""
    return {JSON_PATCH: json_patched, MERGE_PATCH: merged, STRATEGIC_PATCH: strategically_merged}[
        content_type
    ](target, patch)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def strategically_merged(target: Any, patch: Any, field: str = "") -> Any:
    """Kubernetes, "strategic merge patch": some lists by key; ``$patch`` deletes or replaces."""
    if isinstance(patch, dict):
        result = copy.deepcopy(target) if isinstance(target, dict) else {}
        if patch.get("$patch") == "replace":
            return {name: value for name, value in patch.items() if name != "$patch"}
        for name, value in patch.items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = strategically_merged(result.get(name), value, name)
        return result
    if isinstance(patch, list) and isinstance(target, list) and field in MERGE_KEYS:
        return _merged_list(target, patch, MERGE_KEYS[field])
    return copy.deepcopy(patch)


def _merged_list(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    result = copy.deepcopy(target)
    if not key:
        return [*result, *(value for value in patch if value not in result)]
    for change in patch:
        if change == {"$patch": "replace"}:
            return [value for value in copy.deepcopy(patch) if value != change]
        if key not in change:
            raise BadPatch(f"map: {change} does not contain declared merge key: {key}")
        places = [at for at, each in enumerate(result) if each.get(key) == change[key]]
        if change.get("$patch") == "delete":
            result = [each for each in result if each.get(key) != change[key]]
        elif places:
            result[places[0]] = strategically_merged(result[places[0]], change)
        else:
            result.append(copy.deepcopy(change))
    return result


def json_patched(target: Any, operations: list[Mapping[str, Any]]) -> Any:
    """The operations add, replace, remove and test of RFC 6902; BadPatch if a path is not there."""
    result = copy.deepcopy(target)
    for step in operations:
        try:
            result = _stepped(result, step)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BadPatch(f"{step.get('op')} {step.get('path')}: {error!r}") from error
    return json.loads(json.dumps(result))


def _stepped(result: Any, step: Mapping[str, Any]) -> Any:
    if step["path"] == "":
        return copy.deepcopy(step["value"])
    *parents, last = [
        part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]
    ]
    place = result
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    at = int(last) if isinstance(place, list) and last != "-" else last
    match step["op"]:
        case "test":
            if place[at] != step["value"]:
                raise BadPatch(f"testing value {step['path']} failed")
        case "remove":
            del place[at]
        case "replace":
            _ = place[at]
            place[at] = copy.deepcopy(step["value"])
        case "add" if isinstance(place, list):
            place.insert(len(place) if last == "-" else int(last), copy.deepcopy(step["value"]))
        case "add":
            place[at] = copy.deepcopy(step["value"])
        case other:
            raise BadPatch(f"operation {other!r} is not supported")
    return result
