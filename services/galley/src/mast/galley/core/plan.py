"""What a write request changes, compared with what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from mast.galley.core.objects import ConfigObject
from mast.galley.core.resources import Stored, packed, resource
from mastapi.galley.v1 import config_pb2

Action = config_pb2.ApplyResponse.Action


class Aborted(Exception):
    """The stored object is not the version that the writer insists on."""


class NotFound(Exception):
    """There is no such object."""


class TooLarge(Exception):
    """The request writes more at once than the store takes; split it."""


@dataclass(frozen=True, slots=True)
class Write:
    """A key to be written (or deleted: no value) if it still is at ``expected`` (0: absent)."""

    key: str
    expected: int
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happens to one object; ``revision`` is the stored one if nothing does."""

    obj: ConfigObject
    action: Action.ValueType
    revision: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Writes to be done in one transaction, and what they mean for each object."""

    writes: tuple[Write, ...]
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Applied:
    """What a write did, and its revision; 0 if nothing changed."""

    outcomes: tuple[Outcome, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a deletion did, and its revision; 0 if nothing was there."""

    objects: tuple[config_pb2.ObjectRef, ...]
    revision: int


def apply_plan(
    objects: Sequence[ConfigObject], current: Mapping[str, Stored], now: datetime
) -> Plan:
    """Create what is missing, update what differs.

    The generation rises with changes of the specification only; labels and annotations are
    replaced. It was created when its source says, else when it was first stored. Raises Aborted if
    an object insists on another version than the stored one.
    """
    writes: list[Write] = []
    outcomes: list[Outcome] = []
    for obj in objects:
        before = current.get(obj.key)
        _insist(obj, before)
        if before is None:
            content = resource(obj, 1, obj.created or now)
            action, expected = Action.CREATED, 0
        else:
            same_spec = before.resource.body == packed(obj)
            content = resource(obj, before.generation + (not same_spec), obj.created)
            if obj.created is None:
                content.metadata.create_time.CopyFrom(before.resource.metadata.create_time)
            action, expected = Action.UPDATED, before.revision
            if content == before.resource:
                outcomes.append(Outcome(obj, Action.UNCHANGED, before.revision))
                continue
        writes.append(Write(obj.key, expected, content.SerializeToString(deterministic=True)))
        outcomes.append(Outcome(obj, action, 0))
    return Plan(tuple(writes), tuple(outcomes))


def _insist(obj: ConfigObject, before: Stored | None) -> None:
    wanted = obj.meta.resource_version
    found = "" if before is None else str(before.revision)
    if wanted and wanted != found:
        name = f"{obj.kind.name} {obj.meta.namespace}/{obj.meta.name}"
        has = f"is at resource version {found}" if found else "does not exist"
        raise Aborted(f"{name} {has}, not at {wanted}; read it again")


def delete_plan(
    references: Mapping[str, config_pb2.ObjectRef],
    revisions: Mapping[str, int],
    ignore_missing: bool,
) -> tuple[Write, ...]:
    """Deletions of the keys that exist (``revisions`` are those they were written at).

    Raises NotFound for what does not exist, unless that is to be ignored.
    """
    missing = [ref for key, ref in references.items() if key not in revisions]
    if missing and not ignore_missing:
        names = ", ".join(f"{ref.kind} {ref.namespace}/{ref.name}" for ref in missing)
        raise NotFound(f"not found: {names}")
    return tuple(Write(key, revisions[key], None) for key in references if key in revisions)
