"""What an API server says of itself: versions, groups, kinds ("API Discovery")."""

from __future__ import annotations

from mast.common.kubernetes.objects import Object, Resource
from tests.fakes.kubernetes.objects import Objects

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


def version(text: str) -> Object:
    """``/version`` of a server like v1.33.1."""
    major, minor, *_ = text.lstrip("v").split(".")
    return {"major": major, "minor": minor, "gitVersion": text, "platform": "linux/amd64"}


def core_versions() -> Object:
    """``/api``."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def groups(objects: Objects) -> Object:
    """``/apis``; the version that is stored is preferred."""
    found: dict[str, list[str]] = {}
    for group, name, _ in objects.resources:
        versions = found.setdefault(group, [])
        if name not in versions:
            versions.append(name)
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(name, each) for name, each in found.items() if name],
    }


def _group(name: str, versions: list[str]) -> Object:
    told = [{"groupVersion": f"{name}/{each}", "version": each} for each in versions]
    return {"name": name, "versions": told, "preferredVersion": told[0]}


def resources(objects: Objects, group: str, name: str) -> Object | None:
    """``/api/v1``, ``/apis/GROUP/VERSION``; None if there is no such group."""
    found = [r for r in objects.resources.values() if (r.group, r.version) == (group, name)]
    if not found:
        return None
    listed = [entry for each in found for entry in _entries(objects, each)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].api_version,
        "resources": listed,
    }


def _entries(objects: Objects, resource: Resource) -> list[Object]:
    own = {
        "name": resource.plural,
        "singularName": resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(VERBS),
    }
    if objects.home(resource) not in objects.with_status:
        return [own]
    return [own, {**own, "name": f"{resource.plural}/status", "verbs": ["get", "patch", "update"]}]
