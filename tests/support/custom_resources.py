"""What an API server makes of CustomResourceDefinitions: their schemas, and objects against them.

Rules are those of Kubernetes, "Extend the Kubernetes API with CustomResourceDefinitions".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

CRDS = Path(__file__).parents[2] / "charts" / "mast" / "crds"

Schema = Mapping[str, Any]
At = tuple[str, ...]

PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
_JUNCTORS = ("allOf", "anyOf", "oneOf")
_UNSTRUCTURED = ("$ref", "definitions", "dependencies", "patternProperties", "additionalItems")
# What only the structure itself may say, not a condition on it.
_STRUCTURE = ("description", "type", "default", "additionalProperties", "nullable", "title")
_INT_OR_STRING_FORM = [{"type": "integer"}, {"type": "string"}]


@cache
def definitions() -> Mapping[str, Mapping[str, Any]]:
    """The definitions that are checked in, by ``group/kind``."""
    found = {}
    for path in sorted(CRDS.glob("*.yaml")):
        crd = yaml.load(path.read_text(), yaml.CSafeLoader)
        found[f"{crd['spec']['group']}/{crd['spec']['names']['kind']}"] = crd
    return found


def schema_of(crd: Mapping[str, Any]) -> Schema:
    """The schema of the version that is stored."""
    (stored,) = (v for v in crd["spec"]["versions"] if v["storage"])
    found: Schema = stored["schema"]["openAPIV3Schema"]
    return found


def fields(schema: Schema, at: At = ()) -> Iterator[tuple[At, Schema]]:
    """The schema and those of everything in it, with where they stand."""
    yield at, schema
    for name, inner in schema.get("properties", {}).items():
        yield from fields(inner, (*at, name))
    for part in ("items", "additionalProperties"):
        if part in schema:
            yield from fields(schema[part], (*at, "[]"))


def unstructural(schema: Schema) -> Iterator[str]:
    """Why a schema is not structural ("Specifying a structural schema")."""
    if schema.get("type") != "object":
        yield "the root is no object"
    for at, found in fields(schema):
        where = ".".join(at)
        untyped = found.get(PRESERVE) or found.get(INT_OR_STRING)
        if "type" not in found and not untyped:
            yield f"{where}: has no type"
        if "properties" in found and "additionalProperties" in found:
            yield f"{where}: has both properties and additionalProperties"
        if found.get("type") == "array" and "items" not in found:
            yield f"{where}: does not say what its items are"
        if found.get("additionalProperties") is False or found.get(PRESERVE) is False:
            yield f"{where}: says what it need not say"
        for name in (*_UNSTRUCTURED, "uniqueItems"):
            if name in found:
                yield f"{where}: {name} is not allowed"
        for name in set(found.get("required", ())) - set(found.get("properties", ())):
            yield f"{where}: requires {name}, which it does not have"
        yield from (f"{where}: {complaint}" for complaint in _conditions(found))


def _conditions(found: Schema) -> Iterator[str]:
    """Conditions speak of fields that exist, and only of their values."""
    if found.get(INT_OR_STRING) and found.get("anyOf") == _INT_OR_STRING_FORM:
        found = {k: v for k, v in found.items() if k != "anyOf"}
    for condition in _inner_conditions(found):
        for name in condition:
            if name in _STRUCTURE or name.startswith("x-kubernetes-"):
                yield f"{name} within a condition"
        known = set(found.get("properties", ()))
        for name in {*condition.get("properties", ()), *condition.get("required", ())} - known:
            yield f"a condition on {name}, which there is not"


def _inner_conditions(found: Schema) -> Iterator[Schema]:
    direct = [part for name in _JUNCTORS for part in found.get(name, ())]
    for condition in (*direct, *([found["not"]] if "not" in found else [])):
        yield condition
        yield from _inner_conditions(condition)


def complaints(crd: Mapping[str, Any], version: str, found: Mapping[str, Any]) -> list[str]:
    """Why an API server that is strict with unknown fields refuses an object, worst first."""
    if version not in {v["name"] for v in crd["spec"]["versions"] if v["served"]}:
        return [f"version {version} is not served"]
    validator = _validator(crd["metadata"]["name"])
    return [
        f"{error.json_path}: {error.message}"
        for error in sorted(validator.iter_errors(_without_nulls(found)), key=str)
    ]


@cache
def _validator(name: str) -> Draft202012Validator:
    (crd,) = (crd for crd in definitions().values() if crd["metadata"]["name"] == name)
    root = dict(closed(schema_of(crd)))
    text = {"type": "string"}
    root["properties"] = {
        **root["properties"],
        "apiVersion": text,
        "kind": text,
        "metadata": {"type": "object"},
    }
    return Draft202012Validator(root)


def closed(schema: Schema) -> Schema:
    """The same as JSON schema, in which fields that are not named are errors."""
    found = {k: v for k, v in schema.items() if not k.startswith("x-") and k != "format"}
    if schema.get("type") == "object" and "additionalProperties" not in schema:
        found["additionalProperties"] = bool(schema.get(PRESERVE))
    if "properties" in schema:
        found["properties"] = {k: closed(v) for k, v in schema["properties"].items()}
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), Mapping):
            found[part] = closed(schema[part])
    return found


def _without_nulls(value: Any) -> Any:
    """Fields without a value are dropped before anything is checked ("Defaulting and Nullable")."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value
