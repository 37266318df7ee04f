"""Results of pure functions, kept until a fact they were made from changes.

A *fact* is a piece of the index with a name: `(SERVICE, "reviews.shop.svc.cluster.local")`. While
a result is made, the facts that are read are noted in a `Reads`; a change of the index names the
facts it touches, and every result that read one of them is forgotten. So the cost of a change is
that of its dependants, whatever the size of the mesh.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar, cast

from mast.pilot.core.model.finding import Finding
from mast.pilot.core.scope.families import Derived, Family, Log, Member

T = TypeVar("T")

MESH: Final = "mesh"
SERVICE: Final = "service"
PORT: Final = "port"
NAMESPACE: Final = "namespace"
ENDPOINTS: Final = "endpoints"
IDENTITIES: Final = "identities"
ADDRESS: Final = "address"
WORKLOAD: Final = "workload"
VIRTUAL_SERVICE: Final = "virtual service"
STANDALONE_HOSTS: Final = "standalone hosts"
DESTINATION_RULE: Final = "destination rule"
GATEWAY: Final = "gateway"
SELECTOR_KEYS: Final = "selector keys"
NETWORK_GATEWAYS: Final = "network gateways"
TRUST: Final = "trust"
EGRESS: Final = "egress"
CREDENTIAL: Final = "credential"
SETTLING: Final = "settling"
PUBLIC_KEYS: Final = "public keys"
"""Kinds of facts; configuration objects are facts too, of the kind of their collection."""


NO_FINDINGS: Final = frozenset[Finding]()


class Fact(NamedTuple):
    """A piece of the index; without a name all pieces of the kind."""

    kind: str
    name: Hashable = None


_UNKNOWN: Final = frozenset[Hashable]()

_fact: Final = tuple.__new__
"""Makes facts by the thousand, without looking at names of arguments."""


class Reads:
    """Facts that a result is made from, collected while it is made.

    More than `LIMIT` of one kind are remembered as the whole kind: a result that looks at most of
    the mesh is cheap to keep, and is made anew by any change of that kind.
    """

    LIMIT: Final = 64

    def __init__(self) -> None:
        self._kinds: dict[str, set[Hashable] | None] = {}
        self._findings: set[Finding] = set()

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

    def extend(self, facts: Iterable[Fact]) -> None:
        """The result depends on all these facts."""
        kinds = self._kinds
        for kind, name in facts:
            names = kinds.get(kind, _UNKNOWN)
            if names is not None and (name is None or name not in names):
                self.note(kind, name)

    def report(self, findings: Iterable[Finding]) -> None:
        """Making the result brought these findings to light."""
        self._findings.update(findings)

    @property
    def findings(self) -> frozenset[Finding]:
        """What has been reported."""
        return frozenset(self._findings) if self._findings else NO_FINDINGS

    def facts(self) -> frozenset[Fact]:
        """What has been noted."""
        return frozenset(
            [
                _fact(Fact, (kind, name))
                for kind, names in self._kinds.items()
                for name in ((None,) if names is None else names)
            ]
        )


class _Members(NamedTuple):
    """All members of a family that made one result, as they were in a generation."""

    generation: int
    names: Sequence[str]
    values: Mapping[str, object]
    facts: frozenset[Fact]
    findings: Mapping[str, frozenset[Finding]]


class _Item:
    """One kept result; `made` is the generation of the index it was made from."""

    __slots__ = ("facts", "findings", "made", "used", "value")

    def __init__(self, value: object, reads: Reads, made: int) -> None:
        self.value = value
        self.facts = reads.facts()
        self.findings = reads.findings
        self.made = made
        self.used = True


class Memo:
    """Kept results of one index, which changes from generation to generation.

    Lives on one thread. A function that is given to `get` must depend on nothing but its key and
    the facts it notes. Results with equal facts share one set of them.
    """

    SWEEP_FLOOR: Final = 4096

    def __init__(self) -> None:
        self.generation = 0
        self._items: dict[Hashable, _Item] = {}
        self._forgotten: dict[Hashable, object] = {}
        self._dependants: dict[frozenset[Fact], set[Hashable]] = {}
        self._sets_with: dict[Fact, set[frozenset[Fact]]] = {}
        self._facts: dict[frozenset[Fact], frozenset[Fact]] = {}
        self._findings: dict[Hashable, frozenset[Finding]] = {}
        self.discoveries = 0
        """Rises whenever findings may have come or gone."""
        self._logs: dict[Family, Log] = {}
        self._members: dict[Family, _Members] = {}
        self._lost: list[tuple[Derived, Any]] = []
        self._sweep_at = self.SWEEP_FLOOR

    def __len__(self) -> int:
        return len(self._items)

    def advance(self, generation: int, touched: Iterable[Fact]) -> None:
        """The index is at a new generation; forget the results that depend on a touched fact.

        A touched fact with a name stands for its kind as well: who read all pieces read this one.
        A touched fact without a name stands for all pieces of its kind.
        """
        self.generation = generation
        stale: set[frozenset[Fact]] = set()
        for fact in self._expanded(touched):
            stale |= self._sets_with.get(fact, set())
        for facts in stale:
            for key in self._drop(facts):
                self._forgotten[key] = self._items.pop(key).value
                self._lose(key)
                if type(key) is Member:
                    self._logs[key.family].note(generation, key.name)
                elif type(key) is Derived:
                    self._lost.append((key, self._forgotten[key]))
        if len(self._items) + len(self._forgotten) > self._sweep_at:
            self._sweep()

    def lost(self) -> Sequence[tuple[Derived, Any]]:
        """Derived results that the index has outgrown, with what they were.

        Until they were made anew, and the index advanced by the facts that are different in them,
        other results may be outdated.
        """
        lost, self._lost = self._lost, []
        return lost

    def get(
        self, key: Hashable, generation: int, reads: Reads | None, build: Callable[[Reads], T]
    ) -> T:
        """The result for a key at a generation: the kept one, or `build` called with fresh reads.

        What it depends on is added to `reads`, those of the result it becomes part of. A caller
        that still works on an older generation gets no result made from a newer one, and leaves
        none behind. If a new result equals the forgotten one, that same object is returned.
        """
        item = self._item(key, generation, build, whole=reads is None)
        if reads is not None:
            reads.extend(item.facts)
            reads.report(item.findings)
        return cast("T", item.value)

    def _item(
        self, key: Hashable, generation: int, build: Callable[[Reads], object], *, whole: bool
    ) -> _Item:
        """The result for a key; findings of those that are `whole` are known to `findings`."""
        item = self._items.get(key)
        if item is None or item.made > generation:
            own = Reads()
            item = _Item(build(own), own, generation)
            if generation == self.generation:
                self._keep(key, item)
                if whole and item.findings:
                    self._findings[key] = item.findings
                    self.discoveries += 1
        item.used = True
        if type(key) is Member and (log := self._logs.get(key.family)) is not None:
            log.used = True
        return item

    def continued(
        self,
        key: Hashable,
        generation: int,
        reads: Reads | None,
        build: Callable[[Reads, T | None], T],
    ) -> T:
        """As `get`; `build` is also given the result that was forgotten, if it is still at hand."""
        before = cast("T | None", self._forgotten.get(key))
        return self.get(key, generation, reads, lambda own: build(own, before))

    def members(
        self,
        family: Family,
        names: Sequence[str],
        generation: int,
        reads: Reads,
        build: Callable[[str, Reads], T],
    ) -> Mapping[str, T]:
        """The results for some names; only those that were forgotten meanwhile are looked up.

        It is the same object as before if nothing changed.
        """
        last = self._members.get(family) if generation == self.generation else None
        renewed = None if last is None else self.renewed(family, last.generation)
        collected = Reads()
        if last is None or renewed is None:
            values: dict[str, object] = {}
            findings: dict[str, frozenset[Finding]] = {}
        elif not renewed and names == last.names:
            reads.extend(last.facts)
            reads.report(chain(*last.findings.values()))
            return cast("Mapping[str, T]", last.values)
        else:
            collected.extend(last.facts)
            values = dict(last.values)
            if names != last.names:
                for name in values.keys() - frozenset(names):
                    del values[name]
            findings = {name: each for name, each in last.findings.items() if name in values}
        stale = (renewed or frozenset()).intersection(names)
        for name in names if stale or len(values) < len(names) else ():
            if name not in values or name in stale:
                key = Member(*family, name)
                item = self._item(key, generation, partial(build, name), whole=False)
                values[name] = item.value
                collected.extend(item.facts)
                findings.pop(name, None)
                if item.findings:
                    findings[name] = item.findings
        made = _Members(generation, names, values, collected.facts(), findings)
        if generation == self.generation:
            self._members[family] = made
        reads.extend(made.facts)
        reads.report(chain(*findings.values()))
        return cast("Mapping[str, T]", values)

    def renewed(self, family: Family, since: int) -> frozenset[str] | None:
        """Names of members forgotten after a generation; None if that is not known any more.

        It is about members that somebody asked for, at that generation or before.
        """
        log = self._logs.get(family)
        if log is None or since < log.since:
            return None
        log.used = True
        return log.after(since)

    def holds(self, key: Hashable) -> bool:
        """Whether there is a result for a key."""
        return key in self._items

    def findings(self, concerns: Callable[[Hashable], bool]) -> frozenset[Finding]:
        """What came to light while the results were made that were asked for without `reads`.

        Of those only whose keys somebody is concerned with.
        """
        return NO_FINDINGS.union(*(found for key, found in self._findings.items() if concerns(key)))

    def sizes(self) -> Mapping[str, int]:
        """Number of kept results by what they are: the first word of their keys."""
        return Counter(_word(key) for key in self._items)

    def clear(self) -> None:
        """Forget all results; they are made again when they are asked for."""
        for facts in list(self._dependants):
            for key in self._drop(facts):
                self._forgotten[key] = self._items.pop(key).value
                self._lose(key)
        self._logs.clear()
        self._members.clear()

    def _keep(self, key: Hashable, item: _Item) -> None:
        before = self._forgotten.pop(key, None)
        if before is not None and type(before) is type(item.value) and before == item.value:
            item.value = before
        item.facts = self._facts.setdefault(item.facts, item.facts)
        self._items[key] = item
        if type(key) is Member and key.family not in self._logs:
            self._logs[key.family] = Log(self.generation)
        dependants = self._dependants.get(item.facts)
        if dependants is None:
            dependants = self._dependants[item.facts] = set()
            for fact in item.facts:
                self._sets_with.setdefault(fact, set()).add(item.facts)
        dependants.add(key)

    def _lose(self, key: Hashable) -> None:
        """Forget the findings of a result."""
        if self._findings.pop(key, None) is not None:
            self.discoveries += 1

    def _drop(self, facts: frozenset[Fact]) -> set[Hashable]:
        """Forget a set of facts; returns the keys of the results that depend on it."""
        del self._facts[facts]
        for fact in facts:
            sets = self._sets_with[fact]
            sets.remove(facts)
            if not sets:
                del self._sets_with[fact]
        return self._dependants.pop(facts)

    def _expanded(self, touched: Iterable[Fact]) -> set[Fact]:
        facts = set(touched)
        whole = {fact.kind for fact in facts if fact.name is None}
        facts |= {Fact(fact.kind) for fact in facts}
        if whole:
            facts |= {fact for fact in self._sets_with if fact.kind in whole}
        return facts

    def _sweep(self) -> None:
        """Drop what nobody asked for since the last sweep; the next is due at twice the size."""
        self._forgotten.clear()
        for key in [key for key, item in self._items.items() if not self._in_use(key, item)]:
            facts = self._items.pop(key).facts
            self._lose(key)
            dependants = self._dependants[facts]
            dependants.remove(key)
            if not dependants:
                self._drop(facts)
        for item in self._items.values():
            item.used = False
        self._logs = {family: each for family, each in self._logs.items() if each.used}
        for family in self._members.keys() - self._logs.keys():
            del self._members[family]
        for each in self._logs.values():
            each.used = False
        self._sweep_at = max(self.SWEEP_FLOOR, 2 * len(self._items))

    def _in_use(self, key: Hashable, item: _Item) -> bool:
        """Members stay as long as anybody follows their family: a log of some tells nothing.

        Derived results stay, for others depend on them unseen.
        """
        if type(key) is Member:
            return self._logs[key.family].used
        return item.used or type(key) is Derived


def _word(key: Hashable) -> str:
    """What a key calls the result: its first text, however deep."""
    while isinstance(key, tuple) and key:
        key = key[-1] if isinstance(key[0], tuple) else key[0]
    return str(key)
