"""Strategic merge of parts of pods (Kubernetes, "strategic merge patch")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Object = dict[str, Any]

CONTAINERS: Final = ("initContainers", "containers")
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "imagePullSecrets": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "protocol"),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "resourceClaims": ("name",),
    "claims": ("name",),
}
"""Lists whose items meet by these fields; every other list is replaced as a whole."""

_DEFAULTS: Final = {"protocol": "TCP"}
_DIRECTIVE: Final = "$patch"
_REPLACE: Final = {_DIRECTIVE: "replace"}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Object:
    """An object under another: objects and keyed lists meet, null removes, the rest is replaced.

    ``$patch: replace`` in an object of ``over`` takes it alone, ``$patch: delete`` removes it.
    """
    result = dict(base)
    for key, value in over.items():
        if key == _DIRECTIVE:
            continue
        if isinstance(value, dict):
            directive = value.get(_DIRECTIVE)
            if directive == "delete":
                result.pop(key, None)
            else:
                below = None if directive == "replace" else result.get(key)
                result[key] = merged(below if isinstance(below, dict) else {}, value)
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, list) and key in _KEYS and _are_objects(value):
            below = result.get(key)
            result[key] = _keyed(key, below if isinstance(below, list) else [], value)
        else:
            result[key] = value
    return result


def placed(over: Mapping[str, Any], base: Mapping[str, Any]) -> Object:
    """A spec whose containers stand where another has those of their names.

    A native sidecar is an init container, wherever others write about it.
    """
    places = {
        each.get("name"): group
        for group in CONTAINERS
        for each in base.get(group) or ()
        if isinstance(each, dict)
    }
    result = {key: value for key, value in over.items() if key not in CONTAINERS}
    for group in CONTAINERS:
        for each in over.get(group) or ():
            there = places.get(each.get("name"), group) if isinstance(each, dict) else group
            result.setdefault(there, []).append(each)
    return result


def _are_objects(items: list[Any]) -> bool:
    return all(isinstance(each, dict) for each in items)


def _keyed(key: str, base: list[Object], over: list[Object]) -> list[Object]:
    """Items of the base in their order, then the new ones in theirs."""
    if any(each == _REPLACE for each in over):
        base, over = [], [each for each in over if each != _REPLACE]
    fields = _KEYS[key]
    result = {_identity(fields, each): each for each in base if isinstance(each, dict)}
    for each in over:
        identity, directive = _identity(fields, each), each.get(_DIRECTIVE)
        if directive == "delete":
            result.pop(identity, None)
        elif directive == "replace" or identity not in result:
            result[identity] = merged({}, each)
        else:
            result[identity] = merged(_compatible(key, result[identity], each), each)
    return list(result.values())


def _identity(fields: tuple[str, ...], item: Mapping[str, Any]) -> tuple[str, ...]:
    if len(fields) == 1:
        return (str(item.get(fields[0])),)
    return tuple([str(item.get(field, _DEFAULTS.get(field))) for field in fields])


def _compatible(key: str, base: Object, over: Mapping[str, Any]) -> Object:
    """The base without what the other excludes: a volume or variable has one source."""
    if key == "volumes" and set(over) - {"name"} - set(base):
        return {"name": base["name"]}
    if key == "env" and {"value", "valueFrom"} & set(over):
        return {"name": base["name"]}
    return base
