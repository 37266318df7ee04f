"""Conflation of a watched prefix: what is known, what the consumer was told, what is between.

Pure: fed with listings and events, it gives batches. Memory is bounded by the number of keys:
one told state and at most one pending change per key, however slow the consumer is.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from mast.common.etcd.model import Batch, Change, Entry

# A larger difference is told in several batches: each costs a few milliseconds.
BATCH_LIMIT = 4000


class Fold:
    """The difference between what etcd holds and what the consumer was told.

    A listing (``begin``, ``page``…, ``complete``) replaces what is known: keys that are in none of
    its pages count as deleted. Events (``changed``) continue from ``revision``. ``take`` empties
    the difference into a batch.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._told: dict[str, Entry] = {}
        self._pending: dict[str, Entry | None] = {}
        self._deleted_at: dict[str, int] = {}
        self._listed: set[str] | None = set()
        self._told_synced = False

    @property
    def complete_listing(self) -> bool:
        """Whether a listing was completed and events may follow."""
        return self._listed is None

    @property
    def ready(self) -> bool:
        """Whether ``take`` has something to tell."""
        return bool(self._pending) or (self.complete_listing and not self._told_synced)

    def begin(self) -> None:
        """A listing begins; an incomplete one before it is forgotten."""
        self._listed = set()

    def page(self, entries: Iterable[Entry], revision: int) -> None:
        """A part of the listing taken at ``revision``."""
        assert self._listed is not None, "page outside of a listing"  # noqa: S101
        self.revision = revision
        for entry in entries:
            self._listed.add(entry.key)
            known = self._known(entry.key)
            if known is None or known.mod_revision != entry.mod_revision:
                self._put(entry)

    def complete(self, revision: int) -> None:
        """The listing is complete: what it did not name is gone."""
        assert self._listed is not None, "complete outside of a listing"  # noqa: S101
        self.revision = revision
        for key in [*self._told, *self._pending]:
            if key not in self._listed and self._known(key) is not None:
                self._delete(key, revision)
        self._listed = None

    def changed(self, events: Iterable[tuple[str, int, Entry | None]]) -> None:
        """Events in revision order: key, revision and the new entry (None: deleted).

        Events of one revision must come in one call: a consumer never sees half a transaction.
        Events up to ``revision`` are known already and ignored.
        """
        known, last = self.revision, self.revision
        for key, revision, entry in events:
            if revision <= known:
                continue
            if entry is None:
                self._delete(key, revision)
            else:
                self._put(entry)
            last = revision
        self.revision = last

    def advanced(self, revision: int) -> None:
        """Nothing changed up to ``revision`` (watch progress)."""
        self.revision = max(self.revision, revision)

    def take(self) -> Batch:
        """What is pending, oldest first; afterwards the consumer counts as told."""
        taken = list(islice(self._pending.items(), BATCH_LIMIT))
        changes = tuple(self._change(key, entry) for key, entry in taken)
        for key, entry in taken:
            del self._pending[key]
            if entry is None:
                del self._told[key]
            else:
                self._told[key] = entry
        self._told_synced = self.complete_listing and not self._pending
        return Batch(changes=changes, revision=self.revision, synced=self._told_synced)

    def _known(self, key: str) -> Entry | None:
        return self._pending[key] if key in self._pending else self._told.get(key)

    def _put(self, entry: Entry) -> None:
        self._pending.pop(entry.key, None)
        self._deleted_at.pop(entry.key, None)
        self._pending[entry.key] = entry

    def _delete(self, key: str, revision: int) -> None:
        """Forget a key; the consumer hears of it only if it was told of the key."""
        self._pending.pop(key, None)
        if key in self._told:
            self._pending[key] = None
            self._deleted_at[key] = revision

    def _change(self, key: str, entry: Entry | None) -> Change:
        told = self._told.get(key)
        previous = None if told is None else told.value
        if entry is None:
            return Change(key, None, self._deleted_at.pop(key), 0, previous)
        return Change(key, entry.value, entry.mod_revision, entry.create_revision, previous)
