"""Changes of stored objects as the events of a Watch."""

from __future__ import annotations

from collections.abc import Iterator

from mast.galley.core.resources import Stored, shown, stored
from mast.galley.core.selection import Selection
from mastapi.galley.v1 import config_pb2

Event = config_pb2.WatchEvent


class Events:
    """Which of the selected objects the watcher knows.

    An object whose labels no longer match counts as deleted, one whose labels begin to match as
    added.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._known: set[str] = set()

    def changed(
        self, key: str, value: bytes | None, previous: bytes | None, revision: int
    ) -> Iterator[config_pb2.WatchEvent]:
        """The event of one change of a key, if it concerns the watcher.

        ``value`` is None for a deletion, ``previous`` what the watcher was told before. Raises
        Unreadable.
        """
        was_known = key in self._known
        self._known.discard(key)
        current = None if value is None else stored(key, value, revision)
        if current is not None and self._selected(current):
            self._known.add(key)
            kind = Event.MODIFIED if was_known else Event.ADDED
            yield Event(type=kind, object=shown(current), revision=revision)
        elif was_known and previous is not None:
            last = shown(stored(key, previous, revision))
            yield Event(type=Event.DELETED, object=last, revision=revision)

    def _selected(self, item: Stored) -> bool:
        chosen = self._selection
        return chosen.matches_key(item.key, item.kind) and chosen.matches_labels(item.labels)
