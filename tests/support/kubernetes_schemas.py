"""Kubernetes' own schemas, each read once: kubernetes-validate reads them anew for every object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

VERSION = "1.33.0"

_SCHEMAS = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{VERSION}-local-strict"


def refusals(found: Mapping[str, Any]) -> Iterator[str]:
    """Why an API server that is strict with unknown fields refuses an object; LookupError for a
    kind that it does not know."""
    for error in _validator(found["kind"], found["apiVersion"]).iter_errors(found):
        yield f"{error.json_path}: {error.message[:300]}"


@cache
def _validator(kind: str, api_version: str) -> Draft202012Validator:
    group, slash, version = api_version.rpartition("/")
    name = f"{kind}-{group.partition('.')[0]}{'-' * len(slash)}{version}.json".lower()
    try:
        schema = _read(name)
    except FileNotFoundError as error:
        raise LookupError(f"Kubernetes {VERSION} has no {api_version} {kind}") from error
    return Draft202012Validator(schema, registry=_definitions())


@cache
def _definitions() -> Registry[Any]:
    resource: Resource[Any] = Resource.from_contents(_read("_definitions.json"))
    empty: Registry[Any] = Registry()
    return resource @ empty


def _read(name: str) -> Any:
    return json.loads((_SCHEMAS / name).read_text("utf-8"))
