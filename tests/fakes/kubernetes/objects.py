"""The objects of a fake API server: versions, conflicts, finalizers, owners, history, pages.

Rules are those of "Kubernetes API concepts"; a name in quotes refers to a section of it.
"""

from __future__ import annotations

import asyncio
import copy
import uuid
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mast.common.kubernetes.objects import NAMESPACES, SECRETS, SERVICE_ACCOUNTS, Object, Resource
from tests.fakes.kubernetes import metadata as meta
from tests.fakes.kubernetes.definitions import defined, established
from tests.fakes.kubernetes.kinds import BUILT_IN, CRDS, WITH_STATUS, has_generation, qualified
from tests.fakes.kubernetes.lifecycle import (
    FOREGROUND,
    admit,
    collect,
    dependents,
    emptied,
    foreground,
    orphan,
    settle,
)
from tests.fakes.kubernetes.patches import BadPatch, patched
from tests.fakes.kubernetes.status import Status, bad_request

Key = tuple[Resource, str, str]


@dataclass(frozen=True)
class Event:
    """A change at a revision; ``object`` is what it made, ``previous`` what it replaced."""

    revision: int
    type: str
    resource: Resource
    object: Object
    previous: Object | None = None


@dataclass
class Objects:
    """Everything the server stores, and how it came to be.

    Versions of a kind show the same objects; ``stored`` and ``history`` have them in the version
    that is stored. With ``establishing`` off, new definitions are served by ``establish`` only.
    """

    revision: int = 1
    stored: dict[Key, Object] = field(default_factory=dict)
    history: list[Event] = field(default_factory=list)
    oldest: int = 0
    resources: dict[tuple[str, str, str], Resource] = field(default_factory=dict)
    with_status: set[Resource] = field(default_factory=lambda: set(WITH_STATUS))
    pages: dict[str, tuple[Sequence[Object], int]] = field(default_factory=dict)
    establishing: bool = True
    _homes: dict[tuple[str, str], Resource] = field(default_factory=dict)
    owned: dict[str, set[Key]] = field(default_factory=lambda: defaultdict(set))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for resource in BUILT_IN:
            self.serve(resource)
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.create(NAMESPACES, "", {"metadata": {"name": name}})

    def serve(self, resource: Resource, *, status: bool = False) -> None:
        """Know one more kind, or one more version of it; the first one is stored."""
        self.resources[resource.group, resource.version, resource.plural] = resource
        self._homes.setdefault((resource.group, resource.plural), resource)
        if status:
            self.with_status.add(self.home(resource))

    def unserve(self, resource: Resource) -> None:
        """Forget a kind and its objects, as the deletion of a CRD does."""
        home = self.home(resource)
        for key in [key for key in self.stored if key[0] == home]:
            self.remove(key)
        same = (home.group, home.plural)
        for version in [v for k, v in self.resources.items() if (k[0], k[2]) == same]:
            del self.resources[version.group, version.version, version.plural]
        self._homes.pop(same, None)

    def home(self, resource: Resource) -> Resource:
        """The version in which objects of a kind are stored."""
        return self._homes.get((resource.group, resource.plural), resource)

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        found = self.stored.get((self.home(resource), namespace, name))
        if found is None:
            raise Status(404, "NotFound", f'{qualified(resource)} "{name}" not found')
        return copy.deepcopy(found)

    def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Store a new object, without asking webhooks."""
        return self.insert(resource, self.prepared(resource, namespace, body))

    def prepared(self, resource: Resource, namespace: str, body: Object) -> Object:
        """ "Resource names", `generateName`; refused in namespaces that are absent or ending."""
        resource = self.home(resource)
        made = copy.deepcopy(body)
        metadata = made.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        name = metadata.get("name", "")
        if not name:
            message = "metadata.name: Required value: name or generateName is required"
            raise Status(422, "Invalid", message)
        if metadata.get("namespace", namespace) != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the"
                " request"
            )
        if resource.namespaced:
            admit(self, resource, namespace, name)
            metadata["namespace"] = namespace
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        made.update(apiVersion=resource.api_version, kind=resource.kind)
        metadata.update(uid=str(uuid.uuid4()), creationTimestamp=meta.now())
        if has_generation(resource):
            metadata["generation"] = 1
        if resource in self.with_status:
            made.pop("status", None)
        meta.defaults(resource, made)
        return made

    def schema(self, resource: Resource) -> Object | None:
        """What a CRD says of a kind in this version; None if it says nothing."""
        crd = self.stored.get((CRDS, "", f"{resource.plural}.{resource.group}"))
        versions = dict(defined(crd)) if crd is not None else {}
        found: Object | None = versions.get(resource, {}).get("schema", {}).get("openAPIV3Schema")
        return found

    def taken(self, resource: Resource, namespace: str, name: str) -> None:
        """409 if there is an object of that name."""
        if (self.home(resource), namespace, name) in self.stored:
            raise Status(409, "AlreadyExists", f'{qualified(resource)} "{name}" already exists')

    def insert(self, resource: Resource, made: Object) -> Object:
        """Store what was prepared."""
        namespace, name = made["metadata"].get("namespace", ""), made["metadata"]["name"]
        self.taken(resource, namespace, name)
        self.put("ADDED", (self.home(resource), namespace, name), made)
        if resource == NAMESPACES:
            self.create(SERVICE_ACCOUNTS, name, {"metadata": {"name": "default"}})
        if resource == CRDS and self.establishing:
            self.establish(name)
            return self.get(CRDS, "", name)
        return copy.deepcopy(made)

    def update(
        self, resource: Resource, namespace: str, name: str, body: Object, subresource: str = ""
    ) -> Object:
        """Optimistic concurrency by resourceVersion; without one the last writer wins.

        A write that changes nothing makes no event and no version.
        """
        old = self.get(resource, namespace, name)
        new = self.changed(resource, old, body, subresource)
        if meta.without_version(new) == meta.without_version(old):
            return old
        key = (self.home(resource), namespace, name)
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            if resource != NAMESPACES:
                return self.remove(key)
            self.put("MODIFIED", key, new)
            settle(self, name)
            return new
        self.put("MODIFIED", key, new)
        if resource == CRDS and self.establishing and not subresource:
            self.establish(name)
        return copy.deepcopy(new)

    def changed(
        self, resource: Resource, old: Object, body: Object, subresource: str = ""
    ) -> Object:
        """What an update would make of ``old``; 409 if the body was made for another version.

        Status and the rest are written apart where a kind has the subresource.
        """
        resource = self.home(resource)
        name = old["metadata"]["name"]
        new = copy.deepcopy(body)
        metadata = new.setdefault("metadata", {})
        version = metadata.get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            message = (
                f'Operation cannot be fulfilled on {qualified(resource)} "{name}": the object has '
                "been modified; please apply your changes to the latest version and try again"
            )
            raise Status(409, "Conflict", message)
        if metadata.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise Status(409, "Conflict", "Precondition failed: UID in precondition does not match")
        if subresource:
            managed = metadata.get("managedFields")
            new = {**copy.deepcopy(old), meta.subresource_field(subresource): new.get("status", {})}
            if managed is not None:
                new["metadata"]["managedFields"] = managed
        elif resource in self.with_status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        if resource == SECRETS and old.get("type") != new.get("type", old.get("type")):
            raise Status(422, "Invalid", "type: Invalid value: field is immutable")
        meta.keep(old, new)
        meta.keep_finalizers(old, new)
        new.update(apiVersion=resource.api_version, kind=resource.kind)
        meta.defaults(resource, new)
        if "generation" in old["metadata"] and meta.specification(new) != meta.specification(old):
            new["metadata"]["generation"] = old["metadata"]["generation"] + 1
        return new

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Any,
        content_type: str,
        subresource: str = "",
    ) -> Object:
        """Change parts of an object, without asking webhooks."""
        old = self.get(resource, namespace, name)
        new = self.patched(resource, old, change, content_type)
        return self.update(resource, namespace, name, new, subresource)

    def patched(self, resource: Resource, old: Object, change: Any, content_type: str) -> Object:
        """What a patch makes of ``old``; strategic ones are for built-in kinds only."""
        try:
            made: Object | None = patched(resource, old, change, content_type)
        except BadPatch as error:
            raise Status(422, "Invalid", f"the patch does not fit: {error}") from error
        if made is None:
            raise Status(415, "UnsupportedMediaType", f"{content_type} is not supported")
        return made

    def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        uid: str = "",
        *,
        version: str = "",
        propagation: str = "Background",
    ) -> Object:
        """At once, or, while finalizers hold it, marked; a namespace takes its objects along.

        Dependents go after their owner (Background), before it (Foreground), or stay (Orphan).
        """
        found = self.get(resource, namespace, name)
        meta.check_preconditions(found, uid, version)
        if resource == CRDS:
            for known, _ in defined(found):
                self.unserve(known)
        own = found["metadata"]["uid"]
        if propagation == "Orphan":
            orphan(self, own)
        if propagation == "Foreground" and dependents(self, own):
            found["metadata"].setdefault("finalizers", []).append(FOREGROUND)
        key = (self.home(resource), namespace, name)
        if resource != NAMESPACES and not found["metadata"].get("finalizers"):
            return self.remove(key)
        if not found["metadata"].get("deletionTimestamp"):
            found["metadata"]["deletionTimestamp"] = meta.now()
            if resource == NAMESPACES:
                found["status"] = {"phase": "Terminating"}
            self.put("MODIFIED", key, found)
        if resource == NAMESPACES:
            emptied(self, name)
        elif propagation == "Foreground":
            foreground(self, key, own)
        return found

    def list(
        self,
        resource: Resource,
        namespace: str,
        selects: Callable[[Object], bool],
        revision: int | None = None,
    ) -> list[Object]:
        """Objects in the order of their keys, now or as they were at a revision."""
        return copy.deepcopy([*self.shown(resource, namespace, selects, revision)])

    def shown(
        self,
        resource: Resource,
        namespace: str,
        selects: Callable[[Object], bool],
        revision: int | None = None,
    ) -> Sequence[Object]:
        """The same, for those who change nothing."""
        home = self.home(resource)
        keys = {key: each for key, each in self.stored.items() if key[0] == home}
        for event in reversed(self._after(revision) if revision is not None else ()):
            if event.resource == home:
                place = event.object["metadata"]
                key = (home, place.get("namespace", ""), place["name"])
                keys.pop(key, None)
                if event.previous is not None:
                    keys[key] = event.previous
        return [
            each
            for (_, where, _), each in sorted(keys.items(), key=lambda item: item[0][1:])
            if namespace in ("", where) and selects(each)
        ]

    def since(self, revision: int, resource: Resource, namespace: str) -> Iterator[Event]:
        """What happened after ``revision``; 410 if that is forgotten."""
        home = self.home(resource)
        for event in self._after(revision):
            where = event.object["metadata"].get("namespace", "")
            if event.resource == home and namespace in ("", where):
                yield event

    def _after(self, revision: int) -> Sequence[Event]:
        if revision < self.oldest:
            raise Status(410, "Expired", f"too old resource version: {revision} ({self.oldest})")
        return self.history[bisect_right(self.history, revision, key=lambda e: e.revision) :]

    def compact(self) -> None:
        """Forget all history and every page of a listing, as etcd does after five minutes."""
        self.revision += 1
        self.oldest = self.revision
        self.history.clear()
        self.pages.clear()
        self.wake()

    def establish(self, name: str) -> None:
        """Serve what a definition defines, from now on."""
        crd = self.get(CRDS, "", name)
        versions = list(defined(crd))
        wanted = {resource for resource, _ in versions}
        spec = crd["spec"]
        for key, each in list(self.resources.items()):
            if (key[0], key[2]) == (spec["group"], spec["names"]["plural"]) and each not in wanted:
                del self.resources[key]
        for resource, version in versions:
            self.serve(resource, status="status" in version.get("subresources", {}))
        self.update(CRDS, "", name, {"status": established(crd)}, "status")

    @property
    def change(self) -> asyncio.Event:
        """Set at the next change."""
        return self._changed

    def wake(self) -> None:
        """Let watchers look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def put(self, kind: str, key: Key, made: Object) -> None:
        """Store an object as it is, and tell watchers."""
        self.revision += 1
        made["metadata"]["resourceVersion"] = str(self.revision)
        previous = self.stored.get(key)
        self.stored[key] = copy.deepcopy(made)
        for owner in made["metadata"].get("ownerReferences") or ():
            self.owned[owner["uid"]].add(key)
        self._record(Event(self.revision, kind, key[0], copy.deepcopy(made), previous))

    def remove(self, key: Key) -> Object:
        """A deletion has a revision of its own, which the object of its event carries."""
        self.revision += 1
        gone = self.stored.pop(key)
        last = copy.deepcopy(gone)
        last["metadata"]["resourceVersion"] = str(self.revision)
        self._record(Event(self.revision, "DELETED", key[0], last, gone))
        collect(self, gone["metadata"]["uid"])
        settle(self, key[1])
        return last

    def _record(self, event: Event) -> None:
        self.history.append(event)
        self.wake()
