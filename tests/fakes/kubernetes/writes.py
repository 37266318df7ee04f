"""Writes as they come over the API: completed, admitted by webhooks, stored unless they are dry.

"Dry-run" in "Kubernetes API concepts": everything happens but the storing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from mast.common.kubernetes.objects import Object, Resource
from tests.fakes.kubernetes.admission import Admission, Attributes
from tests.fakes.kubernetes.callers import User
from tests.fakes.kubernetes.objects import Objects
from tests.fakes.kubernetes.schemas import misfits, pruned
from tests.fakes.kubernetes.status import Status

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
    warnings: list[str] = field(default_factory=list)

    async def create(self, body: Object) -> Object:
        resource, namespace = self.resource, self.namespace
        self.objects.prepared(resource, namespace, body)
        body = self._decoded(body)
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

    async def update(self, body: Object) -> Object:
        return await self._changed(lambda _: body)

    async def patch(self, change: Any, content_type: str) -> Object:
        return await self._changed(
            lambda old: self.objects.patched(self.resource, old, change, content_type)
        )

    async def _changed(self, make: Callable[[Object], Object]) -> Object:
        """Whoever names no version changes what others wrote meanwhile."""
        for attempt in range(1, ATTEMPTS + 1):
            old = self.objects.get(self.resource, self.namespace, self.name)
            try:
                body = self._decoded(make(old))
                new = self.objects.changed(self.resource, old, body, self.subresource)
                return await self._store(old, new)
            except Status as status:
                if status.code != 409 or attempt == ATTEMPTS:
                    raise
        raise AssertionError

    async def delete(self, uid: str) -> Object:
        old = self.objects.get(self.resource, self.namespace, self.name)
        asked = self._attributes("DELETE", None, old)
        await self.admission.mutate(asked, self.warnings)
        await self.admission.validate(asked, self.warnings)
        if self.dry_run:
            return old
        return self.objects.delete(self.resource, self.namespace, self.name, uid)

    async def _store(self, old: Object, new: Object) -> Object:
        asked = self._attributes("UPDATE", new, old)
        mutated = await self.admission.mutate(asked, self.warnings) or {}
        made = self.objects.changed(self.resource, old, mutated, self.subresource)
        self._fit(made)
        await self.admission.validate(replace(asked, new=made), self.warnings)
        if self.dry_run:
            return made
        return self.objects.update(self.resource, self.namespace, self.name, made, self.subresource)

    def _decoded(self, body: Object) -> Object:
        """Without fields that the kind does not have, if it is one that a CRD defines."""
        schema = self.objects.schema(self.resource)
        if schema is None:
            return body
        known, unknown = pruned(schema, body)
        told = [f'unknown field "{path}"' for path in unknown]
        if told and self.field_validation == "Strict":
            raise Status(400, "BadRequest", f"strict decoding error: {', '.join(told)}")
        if self.field_validation != "Ignore":
            self.warnings += told
        return known

    def _fit(self, made: Object) -> None:
        schema = self.objects.schema(self.resource)
        if schema is not None and (wrong := list(misfits(schema, made))):
            resource, name = self.resource, made["metadata"]["name"]
            about = f'{resource.kind}.{resource.group} "{name}" is invalid'
            raise Status(422, "Invalid", f"{about}: {', '.join(wrong)}")

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
