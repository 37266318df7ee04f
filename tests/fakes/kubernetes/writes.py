"""Writes as they come over the API: completed, admitted by webhooks, stored unless they are dry.

"Dry-run" in "Kubernetes API concepts": everything happens but the storing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from mast.common.kubernetes.objects import Object, Resource
from tests.fakes.kubernetes import definitions, managers
from tests.fakes.kubernetes import metadata as meta
from tests.fakes.kubernetes.admission import Admission, Attributes
from tests.fakes.kubernetes.callers import User
from tests.fakes.kubernetes.kinds import BUILT_IN, CRDS
from tests.fakes.kubernetes.managers import Manager
from tests.fakes.kubernetes.objects import Objects
from tests.fakes.kubernetes.schemas import defaulted, misfits, pruned
from tests.fakes.kubernetes.shapes import Schema, built_in, custom
from tests.fakes.kubernetes.status import Status, bad_request, invalid

# How often a server makes a change anew if somebody else wrote meanwhile.
ATTEMPTS = 5


@dataclass
class Write:
    """One write of a user; ``warnings`` are what webhooks said beside their verdicts."""

    objects: Objects
    admission: Admission
    user: User
    resource: Resource
    namespace: str
    name: str = ""
    subresource: str = ""
    dry_run: bool = False
    # What becomes of unknown fields of custom resources: Ignore, Warn or Strict.
    field_validation: str = "Warn"
    # Who manages what is written: ``fieldManager``, else the program that calls.
    manager: str = "unknown"
    warnings: list[str] = field(default_factory=list)

    async def create(self, body: Object) -> Object:
        self.objects.prepared(self.resource, self.namespace, body)
        body = self._decoded(body)
        body = managers.updated(None, body, self._shape(), self._manager("Update"))
        return await self._created(body)

    async def update(self, body: Object) -> Object:
        return await self._changed(lambda _: body)

    async def patch(self, change: Any, content_type: str) -> Object:
        return await self._changed(
            lambda old: self.objects.patched(self.resource, old, change, content_type)
        )

    async def apply(self, config: Object, *, force: bool) -> Object:
        """Server-side apply; creates what is not there."""
        config = self._decoded(self._applicable(config))
        manager, shape = self._manager("Apply"), self._shape()

        def make(live: Object | None) -> Object:
            return managers.applied(live, config, shape, manager, force=force)

        if not self._exists():
            if self.subresource:
                self.objects.get(self.resource, self.namespace, self.name)
            return await self._created(make(None))
        return await self._changed(make, managed=True)

    async def delete(self, options: Object) -> Object:
        old = self.objects.get(self.resource, self.namespace, self.name)
        asked = self._attributes("DELETE", None, old)
        await self.admission.mutate(asked, self.warnings)
        await self.admission.validate(asked, self.warnings)
        if self.dry_run:
            return old
        wanted = options.get("preconditions") or {}
        return self.objects.delete(
            self.resource,
            self.namespace,
            self.name,
            wanted.get("uid", ""),
            version=wanted.get("resourceVersion", ""),
            propagation=options.get("propagationPolicy") or "Background",
        )

    async def _created(self, body: Object) -> Object:
        resource, namespace = self.resource, self.namespace
        metadata = dict(body.get("metadata") or {})
        if resource.namespaced:
            metadata["namespace"] = namespace
        typed = {"apiVersion": resource.api_version, "kind": resource.kind}
        asked = self._attributes("CREATE", {**body, **typed, "metadata": metadata}, None)
        mutated = await self.admission.mutate(asked, self.warnings)
        made = self.objects.prepared(resource, namespace, mutated or {})
        self._fit(made)
        named = replace(asked, new=made, name=made["metadata"]["name"])
        await self.admission.validate(named, self.warnings)
        if self.dry_run:
            self.objects.taken(resource, namespace, made["metadata"]["name"])
            return made
        return self.objects.insert(resource, made)

    async def _changed(self, make: Callable[[Object], Object], *, managed: bool = False) -> Object:
        """Whoever names no version changes what others wrote meanwhile."""
        for attempt in range(1, ATTEMPTS + 1):
            old = self.objects.get(self.resource, self.namespace, self.name)
            try:
                body = self._decoded(make(old))
                new = self.objects.changed(self.resource, old, body, self.subresource)
                if not managed:
                    new = managers.updated(old, new, self._shape(), self._manager("Update"))
                return await self._store(old, new)
            except Status as status:
                if status.reason != "Conflict" or status.causes or attempt == ATTEMPTS:
                    raise
        raise AssertionError

    async def _store(self, old: Object, new: Object) -> Object:
        asked = self._attributes("UPDATE", new, old)
        mutated = await self.admission.mutate(asked, self.warnings) or {}
        made = self.objects.changed(self.resource, old, mutated, self.subresource)
        self._fit(made)
        await self.admission.validate(replace(asked, new=made), self.warnings)
        if self.dry_run:
            return made
        return self.objects.update(self.resource, self.namespace, self.name, made, self.subresource)

    def _exists(self) -> bool:
        home = self.objects.home(self.resource)
        return (home, self.namespace, self.name) in self.objects.stored

    def _applicable(self, config: Object) -> Object:
        """What of an applied object counts: of status or the rest, where they are written apart."""
        resource, metadata = self.resource, config.get("metadata") or {}
        if (config.get("apiVersion"), config.get("kind")) != (resource.api_version, resource.kind):
            raise bad_request(
                f"the object provided is {config.get('apiVersion')}, {config.get('kind')}; the"
                f" request is for {resource.api_version}, {resource.kind}"
            )
        if metadata.get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        if metadata.get("name", self.name) != self.name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL"
                f" ({self.name})"
            )
        config = {**config, "metadata": {**metadata, "name": self.name}}
        if self.subresource:
            kept = ("apiVersion", "kind", "status")
            named = {"metadata": {"name": self.name}}
            return {**{name: config[name] for name in kept if name in config}, **named}
        if self.objects.home(resource) in self.objects.with_status:
            config.pop("status", None)
        return config

    def _manager(self, operation: str) -> Manager:
        return Manager(self.manager, operation, self.resource.api_version, self.subresource)

    def _shape(self) -> Schema:
        schema = self.objects.schema(self.resource)
        return built_in(self.resource) if schema is None else custom(schema)

    def _decoded(self, body: Object) -> Object:
        """Without fields that the kind does not have, if it is one that a CRD defines."""
        if (schema := self.objects.schema(self.resource)) is None:
            return body
        known, unknown = pruned(schema, body)
        told = [f'unknown field "{path}"' for path in unknown]
        if told and self.field_validation == "Strict":
            raise bad_request(f"strict decoding error: {', '.join(told)}")
        if self.field_validation != "Ignore":
            self.warnings += [each for each in told if each not in self.warnings]
        return known

    def _fit(self, made: Object) -> None:
        """Fill in what is open, and refuse what is no good; 422."""
        meta.check(self.resource, made)
        if self.resource == CRDS and not self.subresource:
            definitions.check(made)
        if self.resource in BUILT_IN or (schema := self.objects.schema(self.resource)) is None:
            return
        made.update(defaulted(schema, made))
        if wrong := list(misfits(schema, made)):
            about = f"{self.resource.kind}.{self.resource.group}"
            problems = [
                (field, message) for field, _, message in (w.partition(": ") for w in wrong)
            ]
            raise invalid(about, made["metadata"]["name"], *problems)

    def _attributes(self, operation: str, new: Object | None, old: Object | None) -> Attributes:
        return Attributes(
            operation=operation,
            resource=self.resource,
            namespace=self.namespace,
            name=self.name,
            new=new,
            old=old,
            user=self.user,
            subresource=self.subresource,
            dry_run=self.dry_run,
        )
