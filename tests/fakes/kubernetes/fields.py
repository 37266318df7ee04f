"""Fields of objects as managers own them: paths, the form of fieldsV1, and what differs.

A path's parts are those of fieldsV1: ``f:NAME``, ``k:KEYS`` of an item, ``v:VALUE`` of a set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mast.common.kubernetes.objects import Object
from tests.fakes.kubernetes.shapes import Schema, inside, is_set, is_whole, key_of, keys_of

Path = tuple[str, ...]
Paths = frozenset[Path]

# Nobody owns these (Kubernetes, managed fields).
_TOP = {"apiVersion", "kind"}
_METADATA = {
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "resourceVersion",
    "managedFields",
    "selfLink",
}


class NotTyped(Exception):
    """An object that its schema cannot take apart; says where."""


def leaves(found: Object, schema: Schema) -> dict[Path, Any]:
    """Everything in an object that can be owned, with its value; items of lists have None."""
    owned = {name: value for name, value in found.items() if name not in _TOP}
    metadata = owned.pop("metadata", None) or {}
    if own := {name: value for name, value in metadata.items() if name not in _METADATA}:
        owned["metadata"] = own
    return {path: value for path, value in _leaves(owned, schema, ()).items() if path}


def _leaves(value: Any, schema: Schema, path: Path) -> dict[Path, Any]:
    if isinstance(value, dict) and value and not is_whole(schema):
        found: dict[Path, Any] = {}
        for name, inner in value.items():
            found |= _leaves(inner, inside(schema, name), (*path, f"f:{name}"))
        return found
    if isinstance(value, list) and is_set(schema):
        return {(*path, f"v:{json.dumps(each)}"): each for each in value}
    if isinstance(value, list) and value and keys_of(schema):
        found = {}
        for item in value:
            own = (*path, f"k:{_key(schema, item, path)}")
            if own in found:
                raise NotTyped(f"{shown(path)}: duplicate entries for key {_shown(own[-1])}")
            found[own] = None
            found |= _leaves(item, schema.get("items", {}), own)
        return found
    return {path: value}


def _key(schema: Schema, item: Any, path: Path) -> str:
    try:
        return key_of(schema, item)
    except (KeyError, AttributeError, TypeError) as error:
        problem = f"associative list with keys has an element that omits key field {error}"
        raise NotTyped(f"{shown(path)}: {problem}") from error


def as_v1(paths: Iterable[Path]) -> Object:
    """``fieldsV1``."""
    root: Object = {}
    chosen = set(paths)
    for path in sorted(chosen):
        node = root
        for length, part in enumerate(path, 1):
            node = node.setdefault(part, {})
            if length < len(path) and path[:length] in chosen:
                node["."] = {}
    return root


def of_v1(nested: Mapping[str, Any], path: Path = ()) -> Paths:
    """The paths in ``fieldsV1``."""
    found: set[Path] = set()
    for part, inner in nested.items():
        if part == ".":
            found.add(path)
        elif not inner:
            found.add((*path, part))
        else:
            found |= of_v1(inner, (*path, part))
    return frozenset(found)


def shown(path: Path) -> str:
    """As messages write it: ``.spec.containers[name="web"].image``."""
    return "".join(map(_shown, path)) or "."


def _shown(part: str) -> str:
    kind, text = part[:2], part[2:]
    if kind == "f:":
        return f".{text}"
    if kind == "v:":
        return f"[={text}]"
    pairs = ",".join(f"{name}={json.dumps(value)}" for name, value in json.loads(text).items())
    return f"[{pairs}]"


def is_key(path: Path) -> bool:
    """Whether it is a field by which its item is told apart: that goes with the item only."""
    *_, item, name = ("", *path)
    return item.startswith("k:") and name[2:] in json.loads(item[2:])


def merged(live: Any, config: Any, schema: Schema) -> Any:
    """What is applied over what is there."""
    if isinstance(live, dict) and isinstance(config, dict) and not is_whole(schema):
        result = dict(live)
        for name, value in config.items():
            has = live.get(name)
            result[name] = value if has is None else merged(has, value, inside(schema, name))
        return result
    if isinstance(live, list) and isinstance(config, list):
        if is_set(schema):
            return [*live, *(each for each in config if each not in live)]
        if keys_of(schema):
            return _merged_items(live, config, schema)
    return config


def _merged_items(live: list[Any], config: list[Any], schema: Schema) -> list[Any]:
    found = {_key(schema, item, ()): item for item in live}
    for item in config:
        key = _key(schema, item, ())
        found[key] = merged(found[key], item, schema.get("items", {})) if key in found else item
    return list(found.values())


def without(value: Any, path: Path, schema: Schema) -> Any:
    """A value without what a path names; what is empty then goes as well."""
    head, *rest = path
    if head.startswith("f:") and isinstance(value, dict):
        name = head[2:]
        result = dict(value)
        inner = (
            without(value[name], tuple(rest), inside(schema, name))
            if rest and name in value
            else None
        )
        if inner in (None, {}, []):
            result.pop(name, None)
        else:
            result[name] = inner
        return result
    if head.startswith("v:") and isinstance(value, list):
        return [each for each in value if json.dumps(each) != head[2:]]
    if head.startswith("k:") and isinstance(value, list):
        kept = []
        for item in value:
            if _key(schema, item, ()) != head[2:]:
                kept.append(item)
            elif rest:
                kept.append(without(item, tuple(rest), schema.get("items", {})))
        return kept
    return value
