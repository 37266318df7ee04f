"""What the schema of a CRD makes of an object: pruned, completed, refused if it does not fit.

Rules are those of Kubernetes, "Field pruning", "Defaulting" and "Validation" of custom resources,
and "Field validation" of the API.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator

from mast.common.kubernetes.objects import Object

Schema = Mapping[str, Any]

PRESERVE = "x-kubernetes-preserve-unknown-fields"
# Whatever a schema says of them.
_KNOWN = ("apiVersion", "kind", "metadata")


def pruned(schema: Schema, found: Object) -> tuple[Object, list[str]]:
    """The object without fields that the schema does not have, and the paths of those."""
    unknown: list[str] = []
    kept = {name: found[name] for name in _KNOWN if name in found}
    rest = {name: value for name, value in found.items() if name not in kept}
    return {**kept, **_pruned(schema, rest, "", unknown)}, unknown


def _pruned(schema: Schema, value: Any, at: str, unknown: list[str]) -> Any:
    if isinstance(value, list):
        items = schema.get("items", {PRESERVE: True})
        return [_pruned(items, v, f"{at}[{i}]", unknown) for i, v in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    result = {}
    for name, inner in value.items():
        path = f"{at}.{name}".removeprefix(".")
        if name in properties:
            result[name] = _pruned(properties[name], inner, path, unknown)
        elif isinstance(others, Mapping):
            result[name] = _pruned(others, inner, path, unknown)
        elif others or schema.get(PRESERVE):
            result[name] = inner
        else:
            unknown.append(path)
    return result


def defaulted(schema: Schema, value: Any) -> Any:
    """The value with what the schema sets where nothing is ("Defaulting")."""
    if isinstance(value, list) and isinstance(items := schema.get("items"), Mapping):
        return [defaulted(items, each) for each in value]
    if not isinstance(value, dict):
        return value
    result = dict(value)
    for name, inner in schema.get("properties", {}).items():
        if result.get(name) is None and "default" in inner:
            result[name] = copy.deepcopy(inner["default"])
        if name in result:
            result[name] = defaulted(inner, result[name])
    if isinstance(others := schema.get("additionalProperties"), Mapping):
        result |= {name: defaulted(others, inner) for name, inner in value.items()}
    return result


def misfits(schema: Schema, found: Object) -> Iterator[str]:
    """Why the schema refuses an object."""
    content = {name: value for name, value in found.items() if name not in _KNOWN}
    for error in Draft202012Validator(_plain(schema)).iter_errors(_without_nulls(content)):
        yield f"{error.json_path.removeprefix('$.')}: Invalid value: {error.message}"


def _plain(schema: Any) -> Any:
    """As JSON schema has it: without Kubernetes' extensions, and without formats."""
    if isinstance(schema, Mapping):
        return {k: _plain(v) for k, v in schema.items() if k[:2] != "x-" and k != "format"}
    return [_plain(each) for each in schema] if isinstance(schema, list) else schema


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
