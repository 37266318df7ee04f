"""What a subscription should hold under a view, and how that differs from what it holds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final, TypeVar

from mast.pilot.core.xds.resources import Resource, View, absent

T = TypeVar("T")

GONE: Final = ""
"""Version of a name that the client knows not to exist."""

DOUBTFUL: Final = "?"
"""Version of a name whose last response the client rejected: it may hold it or not."""

NOTHING: Final = frozenset[str]()


class Versions(dict[str, str]):
    """Versions by name, shared by many sessions and therefore never modified."""


EMPTY_VERSIONS: Final = Versions()


@dataclass(frozen=True, eq=False)
class Selection:
    """The resources that a watch should hold.

    `missing` are names asked for that do not exist and whose absence is told; `placeholders` such
    whose absence a stand-in among `resources` tells. With `whole`, everything else that the client
    may hold is obsolete.
    """

    resources: Mapping[str, Resource]
    missing: frozenset[str] = NOTHING
    placeholders: frozenset[str] = NOTHING
    whole: bool = False

    @cached_property
    def versions(self) -> Versions:
        """What a client holds that was sent all of it."""
        held = Versions(dict.fromkeys(self.missing, GONE))
        held.update((name, each.version) for name, each in self.resources.items())
        return held

    @cached_property
    def requires(self) -> frozenset[str]:
        """What the resources require."""
        return required(self.resources.values())

    def same_as(self, other: "Selection") -> bool:
        """Made of the same objects, so that either may stand for the other."""
        return (
            self.missing == other.missing
            and self.placeholders == other.placeholders
            and self.whole == other.whole
            and len(self.resources) == len(other.resources)
            and all(other.resources.get(name) is each for name, each in self.resources.items())
        )


@dataclass(frozen=True, eq=False)
class Difference:
    """What turns one state of a client into another.

    `changed` are resources it lacks, `obsolete` names it must forget, `absent` names it asked for
    and does not have. `kept` is the state of a client that was told all but `obsolete`. `adds` is
    true if the client knew nothing of one of the changed names.
    """

    changed: tuple[Resource, ...]
    obsolete: tuple[str, ...]
    absent: tuple[str, ...]
    kept: Versions
    adds: bool

    @cached_property
    def removed(self) -> tuple[str, ...]:
        """All names that do not exist."""
        return tuple(sorted(self.obsolete + self.absent))

    @cached_property
    def requires(self) -> frozenset[str]:
        """What the changed resources require."""
        return required(self.changed)


def required(resources: Iterable[Resource]) -> frozenset[str]:
    """Names that any of the resources requires."""
    return NOTHING.union(*(each.requires for each in resources))


def whole(resources: Mapping[str, Resource]) -> Selection:
    """Everything that a view has of a type."""
    return Selection(resources, whole=True)


def named(view: View, type_url: str, names: frozenset[str], stand_ins: frozenset[str]) -> Selection:
    """The resources of those names; of a type in `stand_ins` none is missing (pilot.md B10)."""
    found: dict[str, Resource] = {}
    placeholders, missing = set(), set()
    for name in sorted(names):
        each = view.named(type_url, name)
        if each is None and type_url in stand_ins:
            each = absent(type_url, name)
            placeholders.add(name)
        if each is None:
            missing.add(name)
        else:
            found[name] = each
    return Selection(MappingProxyType(found), frozenset(missing), frozenset(placeholders))


def joined(everything: Selection, more: Selection) -> Selection:
    """A wildcard subscription together with names that are subscribed beside it (pilot.md B11)."""
    resources = MappingProxyType({**everything.resources, **more.resources})
    return Selection(resources, more.missing, more.placeholders, everything.whole)


def difference(
    held: Mapping[str, str], wanted: Selection, forced: frozenset[str] = NOTHING
) -> Difference:
    """What to send to a client that holds `held` and should hold `wanted`.

    Names in `forced` are sent even if they did not change. A placeholder does not replace what the
    client has: its cluster is about to be removed, and until then old endpoints are better than
    none.
    """
    changed = tuple(
        each
        for name, each in wanted.resources.items()
        if name in forced
        or (held.get(name) != each.version and not (name in wanted.placeholders and name in held))
    )
    removed = {name for name in wanted.missing if name in forced or held.get(name) != GONE}
    if wanted.whole:
        removed.update(name for name in held if name not in wanted.versions)
    obsolete = tuple(sorted(name for name in removed if held.get(name, GONE) != GONE))
    kept = wanted.versions
    if obsolete:
        kept = Versions(kept)
        kept.update((name, held[name]) for name in obsolete)
    absent = tuple(sorted(removed.difference(obsolete)))
    adds = any(held.get(each.name, GONE) == GONE for each in changed)
    return Difference(changed, obsolete, absent, kept, adds)


class Recent:
    """Results over long-lived objects, forgotten after two generations without use.

    A key may contain the `id` of objects as long as these are given as `anchors`, which keep them
    alive as long as the result.
    """

    def __init__(self) -> None:
        self._young: dict[Any, tuple[object, Any]] = {}
        self._old: dict[Any, tuple[object, Any]] = {}

    def age(self) -> None:
        """Begin a generation."""
        self._old, self._young = self._young, {}

    def recall(self, key: object) -> Any | None:
        """The result kept under the key, None if there is none."""
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
            self._young[key] = entry
        return entry[1]

    def keep(self, key: object, anchors: object, result: T) -> T:
        """Keep a result, which is returned."""
        self._young[key] = (anchors, result)
        return result

    def get(self, key: object, anchors: object, make: Callable[[], T]) -> T:
        """The result kept under the key, made if there is none."""
        found: T | None = self.recall(key)
        return self.keep(key, anchors, make()) if found is None else found


class Selections:
    """Selections that equal subscriptions in equal views share, and their differences."""

    def __init__(self) -> None:
        self._recent = Recent()

    def age(self) -> None:
        """Forget what no session has used since the last call but one."""
        self._recent.age()

    def select(
        self,
        view: View,
        type_url: str,
        names: frozenset[str],
        *,
        wildcard: bool,
        stand_ins: frozenset[str],
    ) -> Selection:
        """What a watch should hold; the object of the previous view if nothing in it changed."""
        if wildcard and not names:
            everything = view.collection(type_url)
            key: object = ("whole", id(everything))
            return self._recent.get(key, everything, lambda: whole(everything.resources))
        what = (type_url, wildcard, names, stand_ins)
        return self._recent.get(("named", id(view), what), view, lambda: self._selected(view, what))

    def _selected(
        self, view: View, what: tuple[str, bool, frozenset[str], frozenset[str]]
    ) -> Selection:
        type_url, wildcard, names, stand_ins = what
        made = named(view, type_url, names, stand_ins)
        if wildcard:
            made = joined(whole(view.collection(type_url).resources), made)
        key = ("latest", view.key, what)
        before: Selection | None = self._recent.recall(key)
        if before is not None and made.same_as(before):
            return before
        return self._recent.keep(key, None, made)

    def difference(
        self, held: Mapping[str, str], wanted: Selection, forced: frozenset[str]
    ) -> Difference:
        """As the function of that name; computed once for all sessions that hold the same."""
        if not isinstance(held, Versions):
            return difference(held, wanted, forced)
        key = ("difference", id(held), id(wanted), forced)
        return self._recent.get(key, (held, wanted), lambda: difference(held, wanted, forced))

    def retaining(
        self, wanted: Selection, before: Mapping[str, Resource], names: tuple[str, ...]
    ) -> Mapping[str, Resource]:
        """What is wanted and, from an earlier full set, some names that must not go yet."""
        key = ("retaining", id(wanted), id(before), names)
        return self._recent.get(
            key,
            (wanted, before),
            lambda: MappingProxyType(
                {**{name: before[name] for name in names if name in before}, **wanted.resources}
            ),
        )
