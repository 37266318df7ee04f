"""What an API server makes of the metadata of objects, and of fields that somebody left open."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from mast.common.kubernetes.objects import (
    MUTATING_WEBHOOK_CONFIGURATIONS,
    NAMESPACES,
    SECRETS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
    Object,
    Resource,
)
from tests.fakes.kubernetes.kinds import SERVICES
from tests.fakes.kubernetes.status import Status, invalid
from tests.fakes.kubernetes.webhook_rules import completed

# Kinds with names that are parts of a path, and no more (roles are called system:node).
_ANY_NAME = "rbac.authorization.k8s.io"
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([\w.-]*[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?")

_FIXED = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "generation")


def now() -> str:
    """The time as the API writes it."""
    return datetime.now(tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: TID251


def check(resource: Resource, made: Object) -> None:
    """422 for names and labels that are none ("Object Names and IDs", "Labels and Selectors")."""
    problems = list(_problems(resource, made["metadata"]))
    if problems:
        kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
        raise invalid(kind, made["metadata"]["name"], *problems)


def _problems(resource: Resource, metadata: Object) -> Iterator[tuple[str, str]]:
    name = metadata["name"]
    short = resource in (NAMESPACES, SERVICES)
    form, longest = (_LABEL, 63) if short else (_SUBDOMAIN, 253)
    if resource.group == _ANY_NAME:
        if "/" in name or "%" in name or name in {".", ".."}:
            yield "metadata.name", f"Invalid value: {name!r}: may not contain '/' or '%'"
    elif len(name) > longest or not form.fullmatch(name):
        what = "label" if short else "subdomain"
        yield "metadata.name", f'Invalid value: "{name}": want a lowercase RFC 1123 {what}'
    for key, value in (metadata.get("labels") or {}).items():
        if not _KEY.fullmatch(key):
            yield "metadata.labels", f'Invalid value: "{key}": name part must be a qualified name'
        if not isinstance(value, str) or len(value) > 63 or not _VALUE.fullmatch(value):
            yield (
                "metadata.labels",
                f'Invalid value: "{value}": want at most 63 characters of a-z, 0-9, -, _ and .',
            )
    for key in metadata.get("annotations") or {}:
        if not _KEY.fullmatch(key):
            yield "metadata.annotations", f'Invalid value: "{key}": want a qualified name'


def check_preconditions(found: Object, uid: str, version: str) -> None:
    """409 if an object is not the one that somebody means ("" means any)."""
    metadata = found["metadata"]
    for what, wanted, has in (
        ("UID", uid, metadata["uid"]),
        ("ResourceVersion", version, metadata["resourceVersion"]),
    ):
        if wanted and wanted != has:
            message = f"Precondition failed: {what} in precondition: {wanted}, {what} in object"
            raise Status(409, "Conflict", f"{message} meta: {has}")


def keep(old: Object, new: Object) -> None:
    """Put back what a writer cannot change."""
    for name in _FIXED:
        if name in old["metadata"]:
            new["metadata"][name] = old["metadata"][name]
        else:
            new["metadata"].pop(name, None)
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]


def without_version(found: Object) -> Object:
    """What has to differ for a write to be a change."""
    metadata = {k: v for k, v in found["metadata"].items() if k != "resourceVersion"}
    return {**found, "metadata": metadata}


def specification(found: Object) -> Object:
    """What a generation counts the changes of."""
    return {k: v for k, v in found.items() if k not in {"metadata", "status"}}


def defaults(resource: Resource, made: Object) -> None:
    """Fill in what built-in kinds leave open."""
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


def subresource_field(subresource: str) -> str:
    """The field that a subresource writes; approvals write the conditions of the status."""
    if subresource not in {"status", "approval", "finalize"}:
        raise Status(404, "NotFound", "the server could not find the requested resource")
    return "status"


def keep_finalizers(old: Object, new: Object) -> None:
    """Nothing holds on to what is being deleted already."""
    if old["metadata"].get("deletionTimestamp"):
        added = set(new["metadata"].get("finalizers") or ()) - set(
            old["metadata"].get("finalizers") or ()
        )
        if added:
            raise Status(
                422,
                "Invalid",
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is"
                f" being deleted, found new finalizers {sorted(added)}",
            )
