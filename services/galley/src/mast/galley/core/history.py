"""What became of configuration: changes as they are kept, and states put together from them.

A change keeps what it replaced. What it wrote is what the next change of the same object
replaced, or what is stored now: nothing is kept twice, and the oldest changes can be forgotten.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from google.protobuf.message import DecodeError

from mast.common.keys import config_key, parse_config_key
from mast.common.kinds import BY_COLLECTION, BY_GROUP_KIND, Kind
from mast.galley.core.plan import NotFound, Write
from mast.galley.core.resources import Unreadable, reference
from mast.galley.core.selection import BadSelection, kinds_named
from mastapi.galley.v1 import config_pb2, history_pb2

Operation = history_pb2.Change.Operation
Action = history_pb2.ObjectChange.Action


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change comes from; ``restored`` is the revision that a rollback goes back to,
    ``commit`` what a source was at."""

    author: str
    operation: Operation.ValueType
    restored: int = 0
    commit: str = ""


GALLEY = Origin("galley", Operation.SOURCE)
"""Nobody else wanted it."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A change and the id that its records are kept under; its revision is known."""

    id: str
    change: history_pb2.Change

    @property
    def revision(self) -> int:
        """Revision of the store that it made."""
        return int(self.change.revision)

    @property
    def time(self) -> datetime:
        """When it was made, by the clock of the replica that made it."""
        return self.change.time.ToDatetime(UTC)


@dataclass(frozen=True, slots=True)
class Past:
    """An object as it was: the revision it was written at (0: absent) and its bytes.

    ``value`` is None if it was absent, or if it is a Secret, whose values are not kept.
    """

    revision: int
    value: bytes | None


ABSENT = Past(0, None)


@dataclass(frozen=True, slots=True)
class Scope:
    """Objects that a question is about; all of them where nothing is said."""

    kinds: tuple[Kind, ...] = ()
    namespace: str = ""
    name: str = ""

    def covers(self, ref: config_pb2.ObjectRef) -> bool:
        """Whether an object is meant. One without a namespace belongs to every namespace, if its
        kind is asked for by name."""
        kind = BY_GROUP_KIND.get((ref.group, ref.kind))
        if self.kinds and kind not in self.kinds:
            return False
        everywhere = bool(self.kinds) and kind is not None and kind.cluster_scoped
        here = everywhere or self.namespace in {"", ref.namespace}
        return here and self.name in {"", ref.name}


def scope(message: history_pb2.Scope) -> Scope:
    """The scope of a request; BadSelection names an unknown kind."""
    return Scope(tuple(kinds_named(message.kinds)), message.namespace, message.name)


@dataclass(frozen=True)
class History:
    """Every change that is kept, the oldest first, as of one revision of the store."""

    changes: Sequence[Recorded]
    revision: int
    _by_key: Mapping[str, list[tuple[Recorded, history_pb2.ObjectChange]]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        found: dict[str, list[tuple[Recorded, history_pb2.ObjectChange]]] = {}
        for recorded in self.changes:
            for each in recorded.change.objects:
                if (each.object.group, each.object.kind) in BY_GROUP_KIND:
                    found.setdefault(object_key(each.object), []).append((recorded, each))
        object.__setattr__(self, "_by_key", found)

    @property
    def oldest(self) -> int:
        """The earliest revision whose configuration is known."""
        return self.changes[0].revision - 1 if self.changes else self.revision

    def insist(self, name: str, revision: int) -> None:
        """Raise NotFound for a revision that is forgotten, BadSelection for one that is to come."""
        if revision < self.oldest:
            raise NotFound(f"{name} {revision} is forgotten; the oldest one known is {self.oldest}")
        if revision > self.revision:
            raise BadSelection(f"{name}: {revision} is to come; the newest one is {self.revision}")

    def at(self, revision: int) -> Recorded:
        """The change that made a revision; raises NotFound."""
        for recorded in self.changes:
            if recorded.revision == revision:
                return recorded
        raise NotFound(f"no change of configuration made revision {revision}")

    def touched(self, after: int, upto: int, wanted: Scope) -> dict[str, config_pb2.ObjectRef]:
        """Objects by key that were changed after a revision, up to another one."""
        return {
            key: changes[0][1].object
            for key, changes in sorted(self._by_key.items())
            if wanted.covers(changes[0][1].object)
            and any(after < recorded.revision <= upto for recorded, _ in changes)
        }

    def later(self, key: str, revision: int) -> tuple[Recorded, history_pb2.ObjectChange] | None:
        """The first change of an object after a revision."""
        changes = self._by_key.get(key, ())
        return next((each for each in changes if each[0].revision > revision), None)


def object_key(ref: config_pb2.ObjectRef) -> str:
    """Where an object of a known kind is stored."""
    kind = BY_GROUP_KIND[ref.group, ref.kind]
    return config_key(kind.collection, ref.namespace, ref.name)


def record(
    writes: Sequence[Write], before: Mapping[str, bytes], origin: Origin, now: datetime
) -> tuple[bytes, bytes]:
    """The two records of a transaction: its change, and what it replaced (``before``, by key)."""
    change = history_pb2.Change(
        author=origin.author,
        operation=origin.operation,
        restored_revision=origin.restored,
        commit=origin.commit,
    )
    change.time.FromDatetime(now)
    replaced = history_pb2.Replaced()
    for write in writes:
        key = parse_config_key(write.key)
        kind = BY_COLLECTION[key.collection]
        change.objects.add(
            object=reference(kind, key.namespace, key.name),
            action=_action(write),
            previous_revision=write.expected,
        )
        if write.expected and not kind.sealed:
            replaced.resources[write.key] = before[write.key]
    return change.SerializeToString(), zlib.compress(replaced.SerializeToString(deterministic=True))


def _action(write: Write) -> Action.ValueType:
    if write.value is None:
        return Action.DELETED
    return Action.UPDATED if write.expected else Action.CREATED


def recorded(id: str, value: bytes, revision: int) -> Recorded:
    """A change from its record, which was written at its revision; raises Unreadable."""
    try:
        change = history_pb2.Change.FromString(value)
    except DecodeError as error:
        raise Unreadable(f"history {id!r}: not a Change: {error}") from error
    change.revision = revision
    return Recorded(id, change)


def replaced(id: str, value: bytes) -> Mapping[str, bytes]:
    """What a change replaced, by key; raises Unreadable."""
    try:
        message = history_pb2.Replaced.FromString(zlib.decompress(value))
    except (zlib.error, DecodeError) as error:
        raise Unreadable(f"history {id!r}: cannot be read: {error}") from error
    return message.resources


def past(
    key: str,
    revision: int,
    later: tuple[Recorded, history_pb2.ObjectChange],
    resources: Mapping[str, bytes],
) -> Past:
    """An object as it was at a revision, by its first change after that and what that replaced.

    Raises Unreadable if something wrote it in between that left no record.
    """
    made, change = later
    if change.previous_revision > revision:
        raise Unreadable(
            f"{key}: revision {change.previous_revision}, which revision {made.revision} replaced,"
            " is not in the history"
        )
    return Past(change.previous_revision, resources.get(key) if change.previous_revision else None)


def forgotten(
    changes: Sequence[Recorded], keep: int, age: timedelta, now: datetime
) -> Sequence[Recorded]:
    """The oldest changes (of those given oldest first) that are too many or too old.

    What follows a change that is kept is kept: without it nobody would know what that one wrote.
    """
    count = max(0, len(changes) - keep)
    while count < len(changes) and changes[count].time < now - age:
        count += 1
    return changes[:count]


def newest_first(
    history: History, wanted: Scope, before: int, limit: int
) -> Iterator[history_pb2.Change]:
    """Changes of selected objects, and of each how many others it changed.

    ``before`` 0: up to now, ``limit`` 0: all of them.
    """
    count = 0
    for each in reversed(history.changes):
        if before and each.revision >= before:
            continue
        covered = [one for one in each.change.objects if wanted.covers(one.object)]
        if not covered:
            continue
        found = history_pb2.Change()
        found.CopyFrom(each.change)
        del found.objects[:]
        found.objects.extend(covered)
        found.others = len(each.change.objects) - len(covered)
        yield found
        count += 1
        if count == limit:
            return
