"""What the paths of the API name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mast.common.kubernetes.objects import Resource
from tests.fakes.kubernetes.status import Status


@dataclass(frozen=True)
class Target:
    """A collection has no ``name``."""

    resource: Resource
    namespace: str
    name: str
    subresource: str


def target(resources: Mapping[tuple[str, str, str], Resource], path: str) -> Target:
    """``/api/v1/namespaces/x`` is an object, ``/api/v1/namespaces/x/pods`` a collection.

    ``resources`` are those that are served, by group, version and plural; 404 for any other.
    """
    parts = path.split("/")
    group, version, *rest = parts[1:] if parts[0] == "apis" else ("", *parts[1:])
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "", "")[:3]
    resource = resources.get((group, version, plural))
    if resource is None or (namespace and not resource.namespaced):
        raise Status(404, "NotFound", "the server could not find the requested resource")
    return Target(resource, namespace, name, subresource)
