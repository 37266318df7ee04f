"""The JSON schema of the chart's values: what is no value is refused, and so is a wrong one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tools.chart.values import Value

Schema = dict[str, Any]

_TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
_MAP: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_SCALAR: Schema = {"type": ["string", "number", "integer", "boolean"]}
_QUANTITY: Schema = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$"},
        {"type": "number", "minimum": 0},
    ]
}
_DURATION = r"([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+"
_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}

DEFINITIONS: Mapping[str, Schema] = {
    "amount-or-percent": {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^(100|[0-9]{1,2})%$"},
        ]
    },
    "duration": {"type": "string", "pattern": f"^{_DURATION}$"},
    "duration-or-empty": {"type": "string", "pattern": f"^({_DURATION})?$"},
    "environment": {
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": _SCALAR,
    },
    # A reference that always means the same: never without a tag, never the newest.
    "image": {
        "type": "string",
        "pattern": r"^[^\s:@]+(:[0-9]+/[^\s:@]+)?(@sha256:[0-9a-f]{64}|:[A-Za-z0-9_][\w.-]*)$",
        "not": {"pattern": ":latest$"},
    },
    "map": _MAP,
    "names": {
        "type": "array",
        "items": {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {
                    "type": "object",
                    "properties": {"name": {"type": "string", "minLength": 1}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            ]
        },
    },
    "namespace": {"type": "string", "pattern": "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"},
    "object": {"type": "object"},
    "objects": {"type": "array", "items": {"type": "object"}},
    "percent": {"type": "integer", "minimum": 1, "maximum": 100},
    "port-or-0": {"type": "integer", "minimum": 0, "maximum": 65535},
    "quantity": _QUANTITY,
    "quantity-bytes": {"type": "integer", "minimum": 1 << 20},
    "resources": {
        "type": "object",
        "properties": {
            kind: {"type": "object", "additionalProperties": _QUANTITY}
            for kind in ("requests", "limits")
        },
        "additionalProperties": False,
    },
    "secret-volumes": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                name: {"type": "string", "minLength": 1}
                for name in ("name", "secretName", "mountPath")
            },
            "required": ["name", "secretName", "mountPath"],
            "additionalProperties": False,
        },
    },
    "service-ports": {
        "type": "array",
        "minItems": 1,
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,13}[a-z0-9])?$"},
                "port": _PORT,
                "targetPort": _PORT,
                "nodePort": _PORT,
                "protocol": {"enum": ["TCP", "UDP"]},
            },
            "required": ["name", "port"],
            "additionalProperties": False,
        },
    },
    "strings": _TEXTS,
    # What YAML makes of tags and ports without quotes is taken, too.
    "text": {"type": ["string", "number", "integer"]},
}


def schema(found: Iterable[Value]) -> Schema:
    """Of all values; each may be left out, and ``null`` asks for the default of a default."""
    root: Schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart mast",
        **_map(),
        "$defs": dict(DEFINITIONS),
    }
    for each in found:
        parent = root
        for part in each.path[:-1]:
            parent = parent["properties"][part]
        described = {"description": each.text} if each.text else {}
        made = _leaf(each) if each.leaf else _map()
        parent["properties"][each.path[-1]] = {**described, **made}
    return root


def text(found: Iterable[Value]) -> str:
    """The file."""
    return json.dumps(schema(found), indent=1, ensure_ascii=False) + "\n"


def _map() -> Schema:
    return {"type": "object", "properties": {}, "additionalProperties": False}


def _leaf(value: Value) -> Schema:
    if value.schema.startswith("{"):
        given: Schema = json.loads(value.schema)
        typed = {"type", "enum", "anyOf", "$ref"} & given.keys()
        return given if typed else {**_typed(value), **given}
    if value.schema:
        if value.schema not in DEFINITIONS:
            raise ValueError(f"{value.name}: no definition {value.schema!r}")
        return {"allOf": [{"$ref": f"#/$defs/{value.schema}"}]}
    return _typed(value)


def _typed(value: Value) -> Schema:
    """By the type of the default."""
    match value.default:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer", "minimum": 0}
        case float():
            return {"type": "number", "minimum": 0}
        case str():
            return {"type": "string"}
    raise ValueError(f"{value.name}: its default {value.default!r} tells no type; say '# @ …'")
