"""Mappings that are cheap to share: snapshots of them stay as they are while they change."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
Member = TypeVar("Member", bound=Hashable)


class Table(Generic[K, V]):
    """A dict that is copied before the first change after a snapshot was taken."""

    def __init__(self) -> None:
        self._rows: dict[K, V] = {}
        self._shared = False

    def get(self, key: K) -> V | None:
        """The value of a key, None if there is none."""
        return self._rows.get(key)

    def put(self, key: K, value: V | None) -> None:
        """Set the value of a key; None removes it."""
        if self._shared:
            self._rows = dict(self._rows)
            self._shared = False
        if value is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = value

    def snapshot(self) -> Mapping[K, V]:
        """The mapping as it is now; later changes do not show in it."""
        self._shared = True
        return self._rows


class Groups(Generic[K, Member]):
    """Members of groups, as tuples in the order of `key`; a member may be in several groups."""

    def __init__(self, key: Callable[[Member], Any]) -> None:
        self._key = key
        self._members: dict[K, set[Member]] = {}
        self._stale: set[K] = set()
        self._ordered: Table[K, tuple[Member, ...]] = Table()

    def add(self, member: Member, groups: Iterable[K]) -> None:
        """Put a member into groups."""
        for group in groups:
            self._members.setdefault(group, set()).add(member)
            self._stale.add(group)

    def remove(self, member: Member, groups: Iterable[K]) -> None:
        """Take a member out of groups that it is in."""
        for group in groups:
            self._members[group].remove(member)
            self._stale.add(group)
            if not self._members[group]:
                del self._members[group]

    def move(self, member: Member, old: Iterable[K], new: Iterable[K]) -> None:
        """Take a member out of the groups `old` and put it into the groups `new`."""
        old, new = set(old), set(new)
        self.remove(member, old - new)
        self.add(member, new - old)

    def snapshot(self) -> Mapping[K, tuple[Member, ...]]:
        """Ordered members by group; groups without members are absent."""
        for group in self._stale:
            members = self._members.get(group)
            ordered = tuple(sorted(members, key=self._key)) if members else None
            self._ordered.put(group, ordered)
        self._stale.clear()
        return self._ordered.snapshot()
