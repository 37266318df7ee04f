"""Patches of objects: merge (RFC 7386), strategic merge, JSON patch (RFC 6902)."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

from mast.common.kubernetes.objects import Resource
from tests.fakes.kubernetes.kinds import BUILT_IN
from tests.fakes.kubernetes.shapes import Schema, built_in, inside, is_set, keys_of

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

# Steps that a JSON patch may have.
STEPS = 10_000

# Directives of strategic patches: by themselves, and in front of the name of a list.
_PATCH, _RETAIN = "$patch", "$retainKeys"
_DELETE, _ORDER = "$deleteFromPrimitiveList/", "$setElementOrder/"


class BadPatch(Exception):
    """A patch that does not fit what it is for."""


def patched(resource: Resource, target: Any, patch: Any, content_type: str) -> Any:
    """What a patch makes of an object; None if the kind takes no patches of this type."""
    if content_type == JSON_PATCH:
        return json_patched(target, patch)
    if content_type == MERGE_PATCH:
        return merged(target, patch)
    if content_type == STRATEGIC_PATCH and resource in BUILT_IN:
        return strategically_merged(target, patch, built_in(resource))
    return None


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


def strategically_merged(target: Any, patch: Any, schema: Schema) -> Any:
    """Kubernetes, "strategic merge patch": some lists by key, and directives beside values."""
    if isinstance(patch, list) and isinstance(target, list):
        if keys := keys_of(schema):
            return _merged_list(target, patch, keys[0], schema.get("items", {}))
        if is_set(schema):
            return [*target, *(value for value in patch if value not in target)]
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    if patch.get(_PATCH) == "replace":
        return {name: value for name, value in patch.items() if name != _PATCH}
    if _RETAIN in patch:
        result = {name: value for name, value in result.items() if name in patch[_RETAIN]}
    for name, value in patch.items():
        if name.startswith(_DELETE):
            field = name.removeprefix(_DELETE)
            result[field] = [each for each in result.get(field, ()) if each not in value]
        elif name.startswith("$"):
            continue
        elif value is None or value == {_PATCH: "delete"}:
            result.pop(name, None)
        else:
            result[name] = strategically_merged(result.get(name), value, inside(schema, name))
    for name in [name for name in patch if name.startswith(_ORDER)]:
        field = name.removeprefix(_ORDER)
        _put_in_order(result, field, patch[name], keys_of(inside(schema, field)))
    return result


def _merged_list(target: list[Any], patch: list[Any], key: str, items: Schema) -> list[Any]:
    result = copy.deepcopy(target)
    for change in patch:
        if change == {_PATCH: "replace"}:
            return [value for value in copy.deepcopy(patch) if value != change]
        if not isinstance(change, dict) or key not in change:
            raise BadPatch(f"map: {change} does not contain declared merge key: {key}")
        places = [at for at, each in enumerate(result) if each.get(key) == change[key]]
        if change.get(_PATCH) == "delete":
            result = [each for each in result if each.get(key) != change[key]]
        elif places:
            result[places[0]] = strategically_merged(result[places[0]], change, items)
        else:
            result.append(strategically_merged({}, change, items))
    return result


def _put_in_order(result: Any, field: str, order: list[Any], keys: Any) -> None:
    """What the order names comes as it says; the rest keeps its place behind."""
    if field not in result:
        return
    if keys:
        wanted = [each.get(keys[0]) for each in order]
        has = [each.get(keys[0]) for each in result[field]]
    else:
        wanted, has = order, result[field]
    rank = {
        at: wanted.index(value) if value in wanted else len(wanted) for at, value in enumerate(has)
    }
    result[field] = [result[field][at] for at in sorted(rank, key=lambda at: rank[at])]


def json_patched(target: Any, operations: list[Mapping[str, Any]]) -> Any:
    """The operations of RFC 6902; BadPatch if a path is not there."""
    if not isinstance(operations, list) or len(operations) > STEPS:
        raise BadPatch(f"want a list of at most {STEPS} operations")
    result = copy.deepcopy(target)
    for step in operations:
        try:
            result = _stepped(result, step)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BadPatch(f"{step.get('op')} {step.get('path')}: {error!r}") from error
    return json.loads(json.dumps(result))


def _stepped(result: Any, step: Mapping[str, Any]) -> Any:
    if step["op"] in {"move", "copy"}:
        value = copy.deepcopy(_at(result, step["from"]))
        if step["op"] == "move":
            result = _stepped(result, {"op": "remove", "path": step["from"]})
        return _stepped(result, {"op": "add", "path": step["path"], "value": value})
    if step["path"] == "":
        return copy.deepcopy(step["value"])
    *parents, last = _parts(step["path"])
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
            place.insert(_insertion(place, last), copy.deepcopy(step["value"]))
        case "add":
            place[at] = copy.deepcopy(step["value"])
        case other:
            raise BadPatch(f"operation {other!r} is not supported")
    return result


def _insertion(place: list[Any], last: str) -> int:
    at = len(place) if last == "-" else int(last)
    if not 0 <= at <= len(place):
        raise IndexError(last)
    return at


def _parts(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _at(place: Any, path: str) -> Any:
    for part in _parts(path):
        place = place[int(part)] if isinstance(place, list) else place[part]
    return place
