"""Configuration put back to what it was: what is to be written, what is in the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mast.common.kinds import BY_GROUP_KIND
from mast.galley.core.history import History, Past, Scope
from mast.galley.core.plan import Aborted
from mast.galley.core.problem import Problem, Severity
from mast.galley.core.resources import Unreadable, shown, stored
from mast.galley.core.tree import SOURCE_ANNOTATION
from mastapi.galley.v1 import config_pb2, history_pb2

ObjectRefs = Mapping[str, config_pb2.ObjectRef]
"""By key."""

_NAMED = 10


@dataclass(frozen=True, slots=True)
class Target:
    """Objects that are to get to what they were at a revision."""

    objects: ObjectRefs
    revision: int


@dataclass(frozen=True, slots=True)
class Restoration:
    """What a rollback does, before it is judged.

    ``expected`` has the revisions that objects are at by now (0: absent). ``skipped`` are Secrets,
    whose values are not kept.
    """

    objects: tuple[config_pb2.Object, ...]
    gone: ObjectRefs
    expected: Mapping[str, int]
    skipped: tuple[config_pb2.ObjectRef, ...]
    warnings: tuple[Problem, ...]


def target(history: History, request: history_pb2.RollbackRequest, wanted: Scope) -> Target:
    """What a request wants back. Raises NotFound and BadSelection for a revision that is not
    known, and Aborted, naming the changes, if newer ones are in the way.

    With ``undo`` every newer change of the same objects is in the way, else those after the
    revision that the caller has seen.
    """
    revision = request.revision
    if request.undo:
        history.at(revision)
        objects = history.touched(revision - 1, revision, wanted)
        seen = revision
        revision -= 1
    else:
        history.insist("revision", revision)
        objects = history.touched(revision, history.revision, wanted)
        seen = request.seen_revision or history.revision
    conflicts = list(_conflicts(history, objects, seen))
    if conflicts:
        more = f" (and {len(conflicts) - _NAMED} more)" if len(conflicts) > _NAMED else ""
        told = "; ".join(conflicts[:_NAMED])
        raise Aborted(f"changed after revision {seen}: {told}{more}; nothing was put back")
    return Target(objects, revision)


def _conflicts(history: History, objects: ObjectRefs, seen: int) -> Iterator[str]:
    for key, ref in objects.items():
        later = history.later(key, seen)
        if later is not None:
            made, _ = later
            yield f"{_name(ref)} at revision {made.revision} by {made.change.author}"


def _name(ref: config_pb2.ObjectRef) -> str:
    return f"{ref.kind} {ref.namespace}/{ref.name}" if ref.namespace else f"{ref.kind} {ref.name}"


def restoration(
    objects: ObjectRefs, before: Mapping[str, Past], now: Mapping[str, Past]
) -> Restoration:
    """What makes ``now`` what it was ``before``, for these objects; raises Unreadable."""
    wanted: list[config_pb2.Object] = []
    gone: dict[str, config_pb2.ObjectRef] = {}
    skipped: list[config_pb2.ObjectRef] = []
    warnings: list[Problem] = []
    for key, ref in objects.items():
        was, current = before[key], now[key]
        if was.revision == current.revision:
            continue
        if BY_GROUP_KIND[ref.group, ref.kind].sealed:
            skipped.append(ref)
            continue
        if was.value is not None:
            found = as_it_was(key, was)
            found.metadata.resource_version = ""
            wanted.append(found)
        else:
            gone[key] = ref
        warnings += _sources(ref, key, was, current)
    expected = {key: now[key].revision for key in objects}
    return Restoration(tuple(wanted), gone, expected, tuple(skipped), tuple(warnings))


def as_it_was(key: str, was: Past) -> config_pb2.Object:
    """An object of the past as users know it; raises Unreadable."""
    if was.value is None:
        raise Unreadable(f"{key}: was not there, or is a Secret")
    return shown(stored(key, was.value, was.revision))


def _sources(ref: config_pb2.ObjectRef, key: str, *states: Past) -> Iterator[Problem]:
    """A warning for an object of a source, which will write it again when the source changes."""
    for state in reversed(states):
        if state.value is None:
            continue
        owner = stored(key, state.value, state.revision).annotations.get(SOURCE_ANNOTATION, "")
        if owner:
            message = f"belongs to the source {owner!r}, which writes it again; change it there too"
            yield Problem(
                "owned",
                message,
                severity=Severity.WARNING,
                kind=ref.kind,
                namespace=ref.namespace,
                name=ref.name,
            )
            return
