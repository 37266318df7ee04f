"""CustomResourceDefinitions: what they define, and what makes them no good."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mast.common.kubernetes.objects import Object, Resource
from tests.fakes.kubernetes.kinds import CRDS
from tests.fakes.kubernetes.status import invalid


def defined(crd: Mapping[str, Any]) -> Iterator[tuple[Resource, Object]]:
    """Every version that is served, the one that is stored first."""
    spec = crd["spec"]
    versions = [each for each in spec["versions"] if each.get("served", True)]
    for version in sorted(versions, key=lambda each: not each.get("storage", True)):
        resource = Resource(
            spec["group"],
            version["name"],
            spec["names"]["plural"],
            spec["names"]["kind"],
            namespaced=spec["scope"] == "Namespaced",
        )
        yield resource, version


def established(crd: Object) -> Object:
    """The status of a definition that is taken."""
    names, versions = crd["spec"]["names"], crd["spec"]["versions"]
    conditions = [
        {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts"},
        {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"},
    ]
    stored = [each["name"] for each in versions if each.get("storage", True)]
    return {"conditions": conditions, "acceptedNames": names, "storedVersions": stored}


def check(crd: Object) -> None:
    """422 for what the API refuses ("Create a CustomResourceDefinition")."""
    problems = list(_problems(crd))
    if problems:
        name = (crd.get("metadata") or {}).get("name", "")
        raise invalid(f"{CRDS.kind}.{CRDS.group}", name, *problems)


def _problems(crd: Object) -> Iterator[tuple[str, str]]:
    spec = crd.get("spec") or {}
    names, versions = spec.get("names") or {}, spec.get("versions") or []
    for name in ("group", "scope"):
        if not spec.get(name):
            yield f"spec.{name}", "Required value"
    for name in ("plural", "kind"):
        if not names.get(name):
            yield f"spec.names.{name}", "Required value"
    wanted = f"{names.get('plural')}.{spec.get('group')}"
    if crd["metadata"]["name"] != wanted:
        yield "metadata.name", f'Invalid value: must be spec.names.plural+"."+spec.group: {wanted}'
    if sum(bool(each.get("storage")) for each in versions) != 1:
        yield "spec.versions", "Invalid value: must have exactly one version marked as storage"
    for index, each in enumerate(versions):
        schema = (each.get("schema") or {}).get("openAPIV3Schema")
        at = f"spec.versions[{index}].schema.openAPIV3Schema"
        if not schema:
            yield at, "Required value: schemas are required"
        elif schema.get("type") != "object":
            yield f"{at}.type", 'Invalid value: must be "object" at the root'
        else:
            yield from _unstructured(schema, at)


def _unstructured(schema: Mapping[str, Any], at: str) -> Iterator[tuple[str, str]]:
    """Schemas are structural: every place has a type ("Specifying a structural schema")."""
    typed = schema.get("type") or schema.get("x-kubernetes-int-or-string")
    if not typed and not schema.get("x-kubernetes-preserve-unknown-fields"):
        yield f"{at}.type", "Required value: must not be empty for specified object fields"
    if schema.get("x-kubernetes-list-type") == "map" and not schema.get(
        "x-kubernetes-list-map-keys"
    ):
        yield f"{at}.x-kubernetes-list-map-keys", "Required value"
    for name, inner in (schema.get("properties") or {}).items():
        yield from _unstructured(inner, f"{at}.properties[{name}]")
    if isinstance(items := schema.get("items"), Mapping):
        yield from _unstructured(items, f"{at}.items")
    if isinstance(others := schema.get("additionalProperties"), Mapping):
        yield from _unstructured(others, f"{at}.additionalProperties")
