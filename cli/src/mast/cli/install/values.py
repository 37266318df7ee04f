"""Values of a chart as trees: one laid over another."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mast.cli.install.manifests import Object


def merged(below: Mapping[str, Any], over: Mapping[str, Any]) -> Object:
    """Values over values, as Helm lays several files: maps are merged, all else is replaced."""
    result = copy.deepcopy(dict(below))
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def at(place: Sequence[str], value: Any) -> Object:
    """Values with one of them given, as by ``--set``."""
    found = value
    for part in reversed(place):
        found = {part: found}
    return {**found}


def value_at(values: Mapping[str, Any], *place: str) -> Any:
    """The value at a place; None if there is none."""
    found: Any = values
    for part in place:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def said(values: Mapping[str, Any]) -> Object:
    """Values without those that are null: to Helm a null takes away what the chart has there."""
    return {
        key: said(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }
