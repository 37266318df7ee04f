"""The objects of a fake API server: versions, conflicts, finalizers, history, pages.

Rules are those of "Kubernetes API concepts"; a name in quotes refers to a section of it.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mast.common.kubernetes.objects import (
    CERTIFICATE_SIGNING_REQUESTS,
    CONFIG_MAPS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Object,
    Resource,
)
from tests.fakes.kubernetes.patches import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    BadPatch,
    patched,
)
from tests.fakes.kubernetes.status import Status
from tests.fakes.kubernetes.webhook_rules import completed

CRDS = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
INGRESS_CLASSES = Resource(
    "networking.k8s.io", "v1", "ingressclasses", "IngressClass", namespaced=False
)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")

BUILT_IN = (
    NAMESPACES,
    CONFIG_MAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    PODS,
    SERVICES,
    NODES,
    ENDPOINT_SLICES,
    INGRESSES,
    INGRESS_CLASSES,
    LEASES,
    CERTIFICATE_SIGNING_REQUESTS,
    CRDS,
    MUTATING_WEBHOOK_CONFIGURATIONS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
)
# Kinds whose status only the status subresource changes.
WITH_STATUS = {NAMESPACES, PODS, SERVICES, NODES, INGRESSES, CERTIFICATE_SIGNING_REQUESTS, CRDS}

PATCHES = {JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH}

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
    """Everything the server stores, and how it came to be."""

    revision: int = 1
    stored: dict[Key, Object] = field(default_factory=dict)
    history: list[Event] = field(default_factory=list)
    oldest: int = 0
    resources: dict[tuple[str, str, str], Resource] = field(default_factory=dict)
    with_status: set[Resource] = field(default_factory=lambda: set(WITH_STATUS))
    pages: dict[str, tuple[list[Object], int]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        for resource in BUILT_IN:
            self.serve(resource)
        for name in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.create(NAMESPACES, "", {"metadata": {"name": name}})

    def serve(self, resource: Resource, *, status: bool = False) -> None:
        """Know one more kind."""
        self.resources[resource.group, resource.version, resource.plural] = resource
        if status:
            self.with_status.add(resource)

    def unserve(self, resource: Resource) -> None:
        """Forget a kind and its objects, as the deletion of a CRD does."""
        self.resources.pop((resource.group, resource.version, resource.plural), None)
        for key in [key for key in self.stored if key[0] == resource]:
            self._remove(key)

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        found = self.stored.get((resource, namespace, name))
        if found is None:
            raise Status(404, "NotFound", f'{_plural(resource)} "{name}" not found')
        return copy.deepcopy(found)

    def create(self, resource: Resource, namespace: str, body: Object) -> Object:
        """Store a new object, without asking webhooks."""
        return self.insert(resource, self.prepared(resource, namespace, body))

    def prepared(self, resource: Resource, namespace: str, body: Object) -> Object:
        """ "Resource names", `generateName`; refused in namespaces that are absent or ending."""
        made = copy.deepcopy(body)
        metadata = made.setdefault("metadata", {})
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        name = metadata.get("name", "")
        if not name:
            raise Status(422, "Invalid", "metadata.name: Required value: name is required")
        if metadata.get("namespace", namespace) != namespace:
            raise Status(
                400, "BadRequest", "the namespace of the object does not match the request"
            )
        if resource.namespaced:
            self._admit(resource, namespace, name)
            metadata["namespace"] = namespace
        if metadata.get("resourceVersion"):
            raise Status(
                400, "BadRequest", "resourceVersion should not be set on objects to be created"
            )
        made.update(apiVersion=resource.api_version, kind=resource.kind)
        metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now(), generation=1)
        if resource in self.with_status:
            made.pop("status", None)
        _defaults(resource, made)
        return made

    def schema(self, resource: Resource) -> Object | None:
        """What a CRD says of a kind in this version; None if it says nothing."""
        crd = self.stored.get((CRDS, "", f"{resource.plural}.{resource.group}"))
        for defined, version in _defined(crd) if crd is not None else ():
            if defined == resource:
                found: Object | None = version.get("schema", {}).get("openAPIV3Schema")
                return found
        return None

    def taken(self, resource: Resource, namespace: str, name: str) -> None:
        """409 if there is an object of that name."""
        if (resource, namespace, name) in self.stored:
            raise Status(409, "AlreadyExists", f'{_plural(resource)} "{name}" already exists')

    def insert(self, resource: Resource, made: Object) -> Object:
        """Store what was prepared."""
        namespace, name = made["metadata"].get("namespace", ""), made["metadata"]["name"]
        self.taken(resource, namespace, name)
        self._put("ADDED", (resource, namespace, name), made)
        if resource == NAMESPACES:
            self._default_account(name)
        if resource == CRDS:
            self._establish(made)
        return copy.deepcopy(made)

    def update(
        self, resource: Resource, namespace: str, name: str, body: Object, subresource: str = ""
    ) -> Object:
        """Optimistic concurrency by resourceVersion; without one the last writer wins.

        A write that changes nothing makes no event and no version.
        """
        old = self.get(resource, namespace, name)
        new = self.changed(resource, old, body, subresource)
        if _without_version(new) == _without_version(old):
            return old
        if new["metadata"].get("deletionTimestamp") and not _held(resource, new):
            self._remove((resource, namespace, name))
            return new
        self._put("MODIFIED", (resource, namespace, name), new)
        return copy.deepcopy(new)

    def changed(
        self, resource: Resource, old: Object, body: Object, subresource: str = ""
    ) -> Object:
        """What an update would make of ``old``; 409 if the body was made for another version.

        Status and the rest are written apart where a kind has the subresource.
        """
        name = old["metadata"]["name"]
        new = copy.deepcopy(body)
        metadata = new.setdefault("metadata", {})
        version = metadata.get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            message = (
                f'Operation cannot be fulfilled on {_plural(resource)} "{name}": the object has '
                "been modified; please apply your changes to the latest version and try again"
            )
            raise Status(409, "Conflict", message)
        if metadata.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise Status(409, "Conflict", "Precondition failed: UID in precondition does not match")
        if subresource:
            new = {**old, subresource_field(subresource): new.get("status", {})}
        elif resource in self.with_status:
            new.pop("status", None)
            if "status" in old:
                new["status"] = old["status"]
        if resource == SECRETS and old.get("type") != new.get("type", old.get("type")):
            raise Status(422, "Invalid", "type: Invalid value: field is immutable")
        _keep_metadata(old, new)
        new.update(apiVersion=resource.api_version, kind=resource.kind)
        _defaults(resource, new)
        if {k: v for k, v in new.items() if k not in {"metadata", "status"}} != {
            k: v for k, v in old.items() if k not in {"metadata", "status"}
        }:
            new["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
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
        if content_type not in PATCHES or (
            content_type == STRATEGIC_PATCH and resource not in BUILT_IN
        ):
            raise Status(415, "UnsupportedMediaType", f"{content_type} is not supported")
        try:
            made: Object = patched(old, change, content_type)
        except BadPatch as error:
            raise Status(422, "Invalid", f"the patch does not fit: {error}") from error
        return made

    def delete(self, resource: Resource, namespace: str, name: str, uid: str = "") -> Object:
        """At once, or, while finalizers hold it, marked; a namespace takes its objects along."""
        found = self.get(resource, namespace, name)
        if uid and uid != found["metadata"]["uid"]:
            message = f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
            raise Status(409, "Conflict", message + str(found["metadata"]["uid"]))
        if resource == NAMESPACES:
            self._empty(name)
        if resource == CRDS:
            self._abolish(found)
        if not _held(resource, found):
            return self._remove((resource, namespace, name))
        if not found["metadata"].get("deletionTimestamp"):
            found["metadata"]["deletionTimestamp"] = now()
            if resource == NAMESPACES:
                found["status"] = {"phase": "Terminating"}
            self._put("MODIFIED", (resource, namespace, name), found)
        return found

    def list(
        self, resource: Resource, namespace: str, selects: Callable[[Object], bool]
    ) -> list[Object]:
        """Objects in the order of their keys."""
        found = [
            each
            for (kind, where, _), each in sorted(
                self.stored.items(), key=lambda item: (item[0][1], item[0][2])
            )
            if kind == resource and namespace in ("", where) and selects(each)
        ]
        return copy.deepcopy(found)

    def since(self, revision: int, resource: Resource, namespace: str) -> Iterator[Event]:
        """What happened after ``revision``; 410 if that is forgotten."""
        if revision < self.oldest:
            raise Status(410, "Expired", f"too old resource version: {revision} ({self.oldest})")
        for event in self.history:
            where = event.object["metadata"].get("namespace", "")
            if (
                event.revision > revision
                and event.resource == resource
                and namespace in ("", where)
            ):
                yield event

    def compact(self) -> None:
        """Forget all history and every page of a listing, as etcd does after five minutes."""
        self.revision += 1
        self.oldest = self.revision
        self.history.clear()
        self.pages.clear()
        self._wake()

    @property
    def change(self) -> asyncio.Event:
        """Set at the next change."""
        return self._changed

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _put(self, kind: str, key: Key, made: Object) -> None:
        self.revision += 1
        made["metadata"]["resourceVersion"] = str(self.revision)
        previous = self.stored.get(key)
        self.stored[key] = copy.deepcopy(made)
        self._record(Event(self.revision, kind, key[0], copy.deepcopy(made), previous))

    def _remove(self, key: Key) -> Object:
        """A deletion has a revision of its own, which the object of its event carries."""
        self.revision += 1
        gone = self.stored.pop(key)
        last = copy.deepcopy(gone)
        last["metadata"]["resourceVersion"] = str(self.revision)
        self._record(Event(self.revision, "DELETED", key[0], last, gone))
        return last

    def _record(self, event: Event) -> None:
        self.history.append(event)
        self._wake()

    def _admit(self, resource: Resource, namespace: str, name: str) -> None:
        found = self.stored.get((NAMESPACES, "", namespace))
        if found is None:
            raise Status(404, "NotFound", f'namespaces "{namespace}" not found')
        if found["metadata"].get("deletionTimestamp"):
            message = (
                f'{_plural(resource)} "{name}" is forbidden: unable to create new content in '
                f"namespace {namespace} because it is being terminated"
            )
            raise Status(403, "Forbidden", message)

    def _empty(self, namespace: str) -> None:
        for key in [key for key in self.stored if key[1] == namespace]:
            self.delete(*key)

    def _default_account(self, namespace: str) -> None:
        self.create(SERVICE_ACCOUNTS, namespace, {"metadata": {"name": "default"}})

    def _establish(self, crd: Object) -> None:
        """A CRD is served as soon as it is Established."""
        for resource, version in _defined(crd):
            self.serve(resource, status="status" in version.get("subresources", {}))
        condition = {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"}
        self.update(
            CRDS, "", crd["metadata"]["name"], {"status": {"conditions": [condition]}}, "status"
        )

    def _abolish(self, crd: Object) -> None:
        """Its objects go first."""
        for resource, _ in _defined(crd):
            self.unserve(resource)


def _defined(crd: Object) -> Iterator[tuple[Resource, Object]]:
    """What a CRD defines: each version by itself."""
    spec = crd["spec"]
    for version in spec["versions"]:
        resource = Resource(
            spec["group"],
            version["name"],
            spec["names"]["plural"],
            spec["names"]["kind"],
            namespaced=spec["scope"] == "Namespaced",
        )
        yield resource, version


def now() -> str:
    """The time as the API writes it."""
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251


def subresource_field(subresource: str) -> str:
    """The field that a subresource writes; approvals write the conditions of the status."""
    if subresource not in {"status", "approval", "finalize"}:
        raise Status(404, "NotFound", "the server could not find the requested resource")
    return "status"


def _plural(resource: Resource) -> str:
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def _held(resource: Resource, found: Object) -> bool:
    return bool(found["metadata"].get("finalizers"))


def _keep_metadata(old: Object, new: Object) -> None:
    """What a writer cannot change."""
    for name in (
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "generation",
    ):
        if name in old["metadata"]:
            new["metadata"][name] = old["metadata"][name]
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]


def _without_version(found: Object) -> Object:
    metadata = {k: v for k, v in found["metadata"].items() if k != "resourceVersion"}
    return {**found, "metadata": metadata}


def _defaults(resource: Resource, made: Object) -> None:
    if resource == SECRETS:
        made.setdefault("type", "Opaque")
        for name, text in made.pop("stringData", {}).items():
            made.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()
    if resource in (MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS):
        completed(made)
    if resource == NAMESPACES:
        made.setdefault("status", {"phase": "Active"})
        labels = made["metadata"].setdefault("labels", {})
        labels["kubernetes.io/metadata.name"] = made["metadata"]["name"]


def selector(labels: str, fields: str) -> Callable[[Object], bool]:
    """Whether an object is selected by label and field selectors (equality, sets, existence)."""
    by_label = [_label_term(term) for term in _terms(labels)]
    by_field = [_field_term(term) for term in _terms(fields)]

    def selects(found: Object) -> bool:
        values = found["metadata"].get("labels") or {}
        return all(term(values) for term in by_label) and all(term(found) for term in by_field)

    return selects


def _terms(text: str) -> list[str]:
    terms, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            terms.append(text[start:position])
            start = position + 1
    return [term.strip() for term in (*terms, text[start:]) if term.strip()]


def _label_term(term: str) -> Callable[[Mapping[str, str]], bool]:
    words = term.replace("(", " ( ").split(None, 2)
    if len(words) == 3 and words[1] in {"in", "notin"}:
        allowed = {value.strip() for value in words[2].strip(" ()").split(",")}
        if words[1] == "in":
            return lambda labels: labels.get(words[0]) in allowed
        return lambda labels: labels.get(words[0]) not in allowed
    for operator, equal in (("!=", False), ("==", True), ("=", True)):
        if operator in term:
            name, value = (part.strip() for part in term.split(operator, 1))
            return lambda labels: (labels.get(name) == value) is equal
    if term.startswith("!"):
        return lambda labels: term[1:] not in labels
    return lambda labels: term in labels


def _field_term(term: str) -> Callable[[Object], bool]:
    equal = "!=" not in term
    path, value = (part.strip("= ") for part in term.split("=" if equal else "!=", 1))

    def matches(found: Object) -> bool:
        place: Any = found
        for part in path.split("."):
            place = place.get(part, "") if isinstance(place, dict) else ""
        return (str(place) == value) is equal

    return matches
