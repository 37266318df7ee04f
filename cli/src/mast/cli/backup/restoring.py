"""Putting a backup back: in batches under a marker, so that what was interrupted goes on.

The marker is there from the first batch to the last one, and each batch is written only if it is
still this restore's. Meanwhile no Citadel makes a CA (`mast.citadel.store.authorities`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from mast.cli.backup.archive import Backup, Item
from mast.cli.backup.contents import belongs, rank
from mast.cli.errors import CommandError
from mast.common.etcd import Compare, Delete, Entry, EtcdError, Put, Store
from mast.common.keys import CA_RESTORING, HISTORY, HISTORY_CHANGES
from mastapi.galley.v1.history_pb2 import Change

_OPERATIONS: Final = 100
"""In a transaction; etcd's default is 128, and the marker is one."""
_BYTES: Final = 512 * 1024
"""In a transaction; etcd takes 1.5 MiB by default."""
_LONG_AGO: Final = 1
"""Stands for a revision that is older than all history."""

Batch = Sequence[Item | str]
"""What to write, and keys to delete."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Keys that are in the way, and the marker of a restore that was interrupted.

    ``ours`` is how many batches of this very backup are done; None if it was not being restored.
    """

    present: frozenset[str]
    marker: Entry | None
    ours: int | None


async def target(store: Store, backup: Backup) -> Target:
    """Where a backup is to go. Raises EtcdError."""
    marker = await store.get(CA_RESTORING)
    present: set[str] = set()
    for prefix in backup.header.prefixes:
        async with aclosing(store.pages(prefix)) as pages:
            async for page in pages:
                present |= {e.key for e in page.entries if belongs(e.key, backup.header.prefixes)}
    return Target(frozenset(present), marker, _done(marker, backup))


def insist(found: Target, *, force: bool) -> None:
    """CommandError unless there is nothing, or ``force``, or this backup was being restored."""
    if found.ours is not None or force:
        return
    if found.marker is not None:
        raise CommandError(
            "the restore of another backup was interrupted",
            hint="finish that one, or replace what it left with --force",
        )
    if found.present:
        example = ", ".join(sorted(found.present)[:3])
        raise CommandError(
            f"the store is not empty: {len(found.present)} keys, such as {example}",
            hint="--force replaces them; mastctl backup keeps them first",
        )


async def restore(
    store: Store,
    backup: Backup,
    *,
    force: bool = False,
    progress: Progress = lambda done, total: None,
) -> int:
    """Make the store what the backup says, below its prefixes; returns how many keys were deleted.

    ``progress`` is told how many batches of how many are done. Raises CommandError if that is not
    to be or somebody else restores too, EtcdError if etcd does not do it. What was interrupted goes
    on where it was, by the same call.
    """
    found = await target(store, backup)
    insist(found, force=force)
    gone = sorted(found.present - {item.key for item in backup.items}, key=rank)
    items: list[Item] = sorted(_unhistoric(backup), key=lambda item: rank(item.key))
    first = _batches(items)
    again = [*_replayed(backup)]
    steps: list[Batch] = [*first, *again, *_batches(gone)]
    work = _Work(store, backup.checksum)
    await work.begin(found)
    numbers = await _numbers(store, backup) if again else {}
    for at in range(found.ours or 0, len(steps)):
        step = [_renumbered(each, numbers) for each in steps[at]]
        revision = await work.do(step, done=at + 1)
        if len(first) <= at < len(first) + len(again):
            numbers |= dict.fromkeys(_changes(step), revision)
        progress(at + 1, len(steps))
    await work.end()
    return len(gone)


@dataclass
class _Work:
    """The marker, and what may be written as long as it is ours."""

    store: Store
    checksum: str
    _revision: int = field(default=0)

    async def begin(self, found: Target) -> None:
        before = found.marker.mod_revision if found.marker else 0
        self._revision = before
        await self._txn([self._marker(found.ours or 0)])

    async def do(self, batch: Batch, *, done: int) -> int:
        """Write a batch; the revision that it made."""
        operations = [
            Delete(each) if isinstance(each, str) else Put(each.key, each.value) for each in batch
        ]
        return await self._txn([*operations, self._marker(done)])

    async def end(self) -> None:
        await self._txn([Delete(CA_RESTORING)])

    def _marker(self, done: int) -> Put:
        return Put(CA_RESTORING, json.dumps({"backup": self.checksum, "done": done}).encode())

    async def _txn(self, operations: Sequence[Put | Delete]) -> int:
        ours = Compare.unchanged(CA_RESTORING, self._revision)
        try:
            result = await self.store.txn([ours], operations)
        except EtcdError as error:
            raise CommandError(
                f"interrupted: {error}", hint="the same command goes on where this one ended"
            ) from error
        if not result.succeeded:
            raise CommandError("somebody else restores into the same store")
        self._revision = result.revision
        return result.revision


def _done(marker: Entry | None, backup: Backup) -> int | None:
    if marker is None:
        return None
    try:
        told = json.loads(marker.value)
        return int(told["done"]) if told["backup"] == backup.checksum else None
    except (ValueError, KeyError, TypeError):
        return None


def _unhistoric(backup: Backup) -> Iterator[Item]:
    return (item for item in backup.items if not item.key.startswith(HISTORY))


def _replayed(backup: Backup) -> Iterator[Batch]:
    """History, and what it tells of, in the order in which it was written.

    Galley knows the revision of a change by that of its keys, and compares it with those of
    objects. They have other numbers here, but the same order.
    """
    since = min((i.revision for i in backup.items if i.key.startswith(HISTORY_CHANGES)), default=0)
    if not since:
        return
    later = sorted(
        (item for item in backup.items if item.revision >= since),
        key=lambda item: (item.revision, not item.key.startswith(HISTORY), item.key),
    )
    for _, together in groupby(later, key=lambda item: item.revision):
        yield from _batches(together)


async def _numbers(store: Store, backup: Backup) -> dict[int, int]:
    """Revisions that changes had, and those that they have by now if they are stored already."""
    had = {i.key: i.revision for i in backup.items if i.key.startswith(HISTORY_CHANGES)}
    listing = await store.list(HISTORY_CHANGES)
    return {had[e.key]: e.mod_revision for e in listing.entries if e.key in had}


def _changes(batch: Batch) -> Iterator[int]:
    """The revisions that changes in a batch had."""
    for item in batch:
        if isinstance(item, Item) and item.key.startswith(HISTORY_CHANGES):
            yield item.revision


def _renumbered(item: Item | str, numbers: Mapping[int, int]) -> Item | str:
    """A change of history that tells of revisions as they are numbered here."""
    if isinstance(item, str) or not item.key.startswith(HISTORY_CHANGES):
        return item
    change = Change.FromString(item.value)
    if change.restored_revision:
        change.restored_revision = _number(change.restored_revision, numbers)
    for each in change.objects:
        if each.previous_revision:
            each.previous_revision = _number(each.previous_revision, numbers)
    return Item(item.key, change.SerializeToString(), item.revision)


def _number(revision: int, numbers: Mapping[int, int]) -> int:
    """The newest change up to a revision, by its new number."""
    before = [old for old in numbers if old <= revision]
    return numbers[max(before)] if before else _LONG_AGO


def _batches(items: Iterable[Item | str]) -> list[Batch]:
    """Parts that fit into a transaction, in the same order; a huge value is one by itself."""
    found: list[list[Item | str]] = []
    size = 0
    for item in items:
        more = 0 if isinstance(item, str) else len(item.value)
        if not found or len(found[-1]) >= _OPERATIONS or size + more > _BYTES:
            found.append([])
            size = 0
        found[-1].append(item)
        size += more
    return [*found]
