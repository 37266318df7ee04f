"""Who owns which fields of an object: server-side apply, and what other writes leave of it.

Rules are those of "Server-Side Apply" in Kubernetes' documentation.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from mast.common.kubernetes.objects import Object
from tests.fakes.kubernetes import fields
from tests.fakes.kubernetes.fields import NotTyped, Path, Paths
from tests.fakes.kubernetes.metadata import now
from tests.fakes.kubernetes.shapes import Schema
from tests.fakes.kubernetes.status import Cause, Status

# Whose the fields of an object are that nobody managed before it was applied.
BEFORE = "before-first-apply"


@dataclass(frozen=True, order=True)
class Manager:
    """Somebody who writes in one way; ``operation`` is Apply or Update."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


@dataclass(frozen=True)
class Owned:
    """What a manager owns, and since when."""

    paths: Paths
    time: str


Managed = dict[Manager, Owned]


def updated(old: Object | None, new: Object, schema: Schema, manager: Manager) -> Object:
    """``new`` with its managers after a write that is no apply.

    The writer takes what it changed. An object whose managers were cleared (``managedFields: []``)
    has none from then on.
    """
    given = (new.get("metadata") or {}).get("managedFields")
    had = None if old is None else old["metadata"].get("managedFields")
    if old is not None and (not had or given == [] or given == [{}]):
        return _with(new, {})
    before = fields.leaves(old, schema) if old is not None else {}
    after = fields.leaves(new, schema)
    changed = frozenset(p for p, v in after.items() if p not in before or before[p] != v)
    removed = frozenset(before.keys() - after.keys())
    managed = _read(had or [])
    if not changed and not removed:
        return _with(new, managed)
    own = managed.get(manager, Owned(frozenset(), "")).paths
    managed = {m: Owned(o.paths - changed - removed, o.time) for m, o in managed.items()}
    managed[manager] = Owned((own | changed) - removed, now())
    return _with(new, managed)


def applied(
    live: Object | None, config: Object, schema: Schema, manager: Manager, *, force: bool
) -> Object:
    """``live`` after ``config`` was applied; Status with every conflict if others own fields of it.

    What the manager applied before and does not now goes, unless others own it.
    """
    try:
        wanted = frozenset(fields.leaves(config, schema))
    except NotTyped as error:
        raise Status(500, "", f"failed to create typed patch object: {error}") from error
    base = live or {}
    managed = _read(base.get("metadata", {}).get("managedFields") or [])
    before = fields.leaves(base, schema)
    if live is not None and not managed:
        first = Manager(BEFORE, "Update", manager.api_version)
        managed[first] = Owned(frozenset(before), now())
    last = managed.pop(manager, Owned(frozenset(), ""))
    new = fields.merged(copy.deepcopy(base), copy.deepcopy(config), schema)
    after = fields.leaves(new, schema)
    changed = {p for p, v in after.items() if p not in before or before[p] != v}
    clashes = [(m, p) for m, o in sorted(managed.items()) for p in sorted(o.paths & changed)]
    if clashes and not force:
        raise _conflict(clashes)
    managed = {m: Owned(o.paths - changed, o.time) for m, o in managed.items()}
    for path in sorted(last.paths - wanted, key=len):
        if not fields.is_key(path) and not _is_owned(path, (o.paths for o in managed.values())):
            new = fields.without(new, path, schema)
    same = last.paths == wanted and not changed
    managed[manager] = Owned(wanted, last.time if same else now())
    return _with(new, managed)


def _is_owned(path: Path, all_of_them: Iterable[Paths]) -> bool:
    """Whether somebody owns a field, or something in it."""
    length = len(path)
    return any(each[:length] == path for paths in all_of_them for each in paths)


def _conflict(clashes: list[tuple[Manager, Path]]) -> Status:
    causes = [
        Cause("FieldManagerConflict", f"conflict with {m}", fields.shown(p)) for m, p in clashes
    ]
    if len(clashes) == 1:
        ((manager, path),) = clashes
        told = f"1 conflict: conflict with {manager}: {fields.shown(path)}"
    else:
        by_manager: dict[Manager, list[str]] = defaultdict(list)
        for manager, path in clashes:
            by_manager[manager].append(f"- {fields.shown(path)}")
        lines = [
            "\n".join((f"conflicts with {manager}:", *paths))
            for manager, paths in by_manager.items()
        ]
        told = f"{len(clashes)} conflicts: " + "\n".join(lines)
    return Status(409, "Conflict", f"Apply failed with {told}", causes=causes)


def _read(entries: Iterable[Object]) -> Managed:
    return {
        Manager(
            each.get("manager", ""),
            each.get("operation", ""),
            each.get("apiVersion", ""),
            each.get("subresource", ""),
        ): Owned(fields.of_v1(each.get("fieldsV1") or {}), each.get("time", ""))
        for each in entries
    }


def _with(found: Object, managed: Managed) -> Object:
    """An object with these managers, those who apply first, as the API lists them."""
    metadata = {**(found.get("metadata") or {})}
    entries = [
        {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": owned.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields.as_v1(owned.paths),
            **({"subresource": manager.subresource} if manager.subresource else {}),
        }
        for manager, owned in sorted(managed.items())
        if owned.paths
    ]
    metadata.pop("managedFields", None)
    if entries:
        metadata["managedFields"] = entries
    return {**found, "metadata": metadata}
