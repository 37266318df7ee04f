"""How objects end: with their namespace, with their owners, after their dependents.

Rules are those of "Garbage Collection" and "Namespaces" in Kubernetes' documentation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mast.common.kubernetes.objects import NAMESPACES, Resource
from tests.fakes.kubernetes.kinds import qualified
from tests.fakes.kubernetes.status import Status

if TYPE_CHECKING:
    from tests.fakes.kubernetes.objects import Key, Objects

# What holds an object until its dependents are gone.
FOREGROUND = "foregroundDeletion"


def admit(objects: Objects, resource: Resource, namespace: str, name: str) -> None:
    """404 for a namespace that is not there, 403 for one that ends."""
    found = objects.stored.get((NAMESPACES, "", namespace))
    if found is None:
        raise Status(404, "NotFound", f'namespaces "{namespace}" not found')
    if found["metadata"].get("deletionTimestamp"):
        message = (
            f'{qualified(resource)} "{name}" is forbidden: unable to create new content in '
            f"namespace {namespace} because it is being terminated"
        )
        raise Status(403, "Forbidden", message)


def emptied(objects: Objects, namespace: str) -> None:
    """Delete everything in a namespace."""
    for each in [key for key in objects.stored if key[1] == namespace]:
        objects.delete(*each)
    settle(objects, namespace)


def settle(objects: Objects, namespace: str) -> None:
    """A namespace that ends is gone with its last object, unless finalizers hold it."""
    found = objects.stored.get((NAMESPACES, "", namespace))
    if found is None or not found["metadata"].get("deletionTimestamp"):
        return
    held = found["metadata"].get("finalizers")
    if not held and all(key[1] != namespace for key in objects.stored):
        objects.remove((NAMESPACES, "", namespace))


def dependents(objects: Objects, uid: str) -> list[Key]:
    """Objects that say this is an owner of theirs."""
    owned = (key for key in objects.owned.get(uid, ()) if key in objects.stored)
    return sorted((key for key in owned if uid in _owners(objects, key)), key=lambda key: key[1:])


def collect(objects: Objects, uid: str) -> None:
    """Who has no owner left goes, too."""
    if not (left := dependents(objects, uid)):
        return
    there = {each["metadata"]["uid"] for each in objects.stored.values()}
    for key in left:
        if key in objects.stored and not there.intersection(_owners(objects, key)):
            objects.delete(*key)
    objects.owned.pop(uid, None)


def orphan(objects: Objects, uid: str) -> None:
    """Nobody depends on it any more."""
    for key in dependents(objects, uid):
        found = objects.get(*key)
        references = found["metadata"]["ownerReferences"]
        found["metadata"]["ownerReferences"] = [r for r in references if r["uid"] != uid]
        objects.put("MODIFIED", key, found)


def foreground(objects: Objects, key: Key, uid: str) -> None:
    """Dependents first; what finalizers of theirs hold holds the owner."""
    for each in dependents(objects, uid):
        objects.delete(*each, propagation="Foreground")
    if key in objects.stored and not dependents(objects, uid):
        found = objects.get(*key)
        found["metadata"]["finalizers"].remove(FOREGROUND)
        objects.update(*key, found)


def _owners(objects: Objects, key: Key) -> list[str]:
    metadata = objects.stored[key]["metadata"]
    return [each["uid"] for each in metadata.get("ownerReferences") or ()]
