"""Results of pure functions, kept until a fact they were made from changes.

A *fact* is a piece of the index with a name: `(SERVICE, "reviews.shop.svc.cluster.local")`. While
a result is made, the facts that are read are noted in a `Reads`; a change of the index names the
facts it touches, and every result that read one of them is forgotten. So the cost of a change is
that of its dependants, whatever the size of the mesh.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final, NamedTuple, TypeVar, cast

T = TypeVar("T")

MESH: Final = "mesh"
SERVICE: Final = "service"
PORT: Final = "port"
NAMESPACE: Final = "namespace"
ENDPOINTS: Final = "endpoints"
ACCOUNTS: Final = "accounts"
ADDRESS: Final = "address"
WORKLOAD: Final = "workload"
VIRTUAL_SERVICE: Final = "virtual service"
STANDALONE_HOSTS: Final = "standalone hosts"
DESTINATION_RULE: Final = "destination rule"
CONFIG: Final = "config"
SELECTOR_KEYS: Final = "selector keys"
TRUST: Final = "trust"
"""Kinds of facts."""


class Fact(NamedTuple):
    """A piece of the index; without a name all pieces of the kind."""

    kind: str
    name: Hashable = None


class Reads:
    """Facts that a result was made from.

    More than `LIMIT` of one kind are remembered as the whole kind: a result that looks at most of
    the mesh is cheap to keep, and is made anew by any change of that kind.
    """

    LIMIT: Final = 64

    def __init__(self) -> None:
        self._kinds: dict[str, set[Hashable] | None] = {}

    def note(self, kind: str, name: Hashable = None) -> None:
        """The result depends on that fact, whether it exists or not."""
        if name is None:
            self._kinds[kind] = None
            return
        names = self._kinds.setdefault(kind, set())
        if names is not None:
            names.add(name)
            if len(names) > self.LIMIT:
                self._kinds[kind] = None

    def extend(self, other: "Reads") -> None:
        """The result depends on all that another one depends on."""
        for kind, names in other._kinds.items():  # noqa: SLF001 - same class
            if names is None:
                self._kinds[kind] = None
            else:
                for name in names:
                    self.note(kind, name)

    def __iter__(self) -> Iterator[Fact]:
        for kind, names in self._kinds.items():
            if names is None:
                yield Fact(kind)
            else:
                for name in names:
                    yield Fact(kind, name)


class _Item:
    """One kept result; `made` is the revision of the index it was made from."""

    __slots__ = ("made", "reads", "used", "value")

    def __init__(self, value: object, reads: Reads, made: int) -> None:
        self.value = value
        self.reads = reads
        self.made = made
        self.used = True


class Memo:
    """Kept results of one index, which changes from revision to revision.

    Lives on one thread. A function that is given to `get` must depend on nothing but its key and
    the facts it notes.
    """

    _SWEEP_FLOOR: Final = 4096

    def __init__(self) -> None:
        self.revision = 0
        self._items: dict[Hashable, _Item] = {}
        self._readers: dict[Fact, set[Hashable]] = {}
        self._previous: dict[Hashable, object] = {}
        self._sweep_at = self._SWEEP_FLOOR

    def __len__(self) -> int:
        return len(self._items)

    def advance(self, revision: int, touched: Iterable[Fact]) -> None:
        """The index is at a new revision; forget the results that read a touched fact.

        A touched fact with a name stands for its kind as well: who read all pieces reads this one.
        A touched fact without a name stands for all pieces of its kind.
        """
        self.revision = revision
        for fact in self._expanded(touched):
            for key in self._readers.pop(fact, ()):
                self._forget(key)
        if len(self._items) > self._sweep_at:
            self._sweep()

    def get(
        self, key: Hashable, revision: int, reads: Reads | None, build: Callable[[Reads], T]
    ) -> T:
        """The result for a key at a revision: the kept one, or `build` called with fresh reads.

        What the result depends on is added to `reads`, those of the result it becomes part of. A
        caller that still works on an older revision gets no result made from a newer one, and
        leaves none behind. If the new result equals the forgotten one, that same object is
        returned.
        """
        item = self._items.get(key)
        if item is None or item.made > revision:
            own = Reads()
            value = build(own)
            if revision != self.revision:
                if reads is not None:
                    reads.extend(own)
                return value
            item = self._keep(key, value, own)
        item.used = True
        if reads is not None:
            reads.extend(item.reads)
        return cast("T", item.value)

    def _keep(self, key: Hashable, value: object, reads: Reads) -> _Item:
        previous = self._previous.pop(key, None)
        if previous is not None and type(previous) is type(value) and previous == value:
            value = previous
        item = self._items[key] = _Item(value, reads, self.revision)
        for fact in reads:
            self._readers.setdefault(fact, set()).add(key)
        return item

    def _expanded(self, touched: Iterable[Fact]) -> set[Fact]:
        facts = set(touched)
        whole = {fact.kind for fact in facts if fact.name is None}
        facts |= {Fact(fact.kind) for fact in facts}
        if whole:
            facts |= {fact for fact in self._readers if fact.kind in whole}
        return facts

    def _forget(self, key: Hashable) -> None:
        item = self._items.pop(key, None)
        if item is not None:
            self._previous[key] = item.value
            self._unlink(key, item)

    def _unlink(self, key: Hashable, item: _Item) -> None:
        for fact in item.reads:
            readers = self._readers.get(fact)
            if readers is not None:
                readers.discard(key)
                if not readers:
                    del self._readers[fact]

    def _sweep(self) -> None:
        """Drop what nobody asked for since the last sweep; the next is due at twice the size."""
        self._previous.clear()
        for key, item in list(self._items.items()):
            if item.used:
                item.used = False
            else:
                del self._items[key]
                self._unlink(key, item)
        self._sweep_at = max(self._SWEEP_FLOOR, 2 * len(self._items))
