"""Selections and differences that many sessions share, each made once."""

from collections.abc import Hashable, Mapping, Set
from types import MappingProxyType
from typing import NamedTuple

from mast.pilot.core.xds.recent import Recent
from mast.pilot.core.xds.resources import Collection, Part, Resource, View
from mast.pilot.core.xds.selection import (
    Difference,
    Layer,
    Selection,
    Step,
    Versions,
    difference,
    named,
    step,
)


class Selections:
    """Selections that equal subscriptions in equal views share, and their differences."""

    def __init__(self) -> None:
        self._recent = Recent()

    def age(self) -> None:
        """Forget what no session has used since the last call but one."""
        self._recent.age()

    def canonical(self, names: frozenset[str]) -> frozenset[str]:
        """One object for equal sets of names, so that many sessions hold and compare but one."""
        return self._recent.get(("names", names), None, lambda: names)

    def select(
        self,
        view: View,
        type_url: str,
        names: frozenset[str],
        *,
        wildcard: bool,
        stand_ins: frozenset[str],
    ) -> Selection:
        """What a watch should hold; the object of the view before if nothing in it changed."""
        if wildcard and not names:
            everything = view.collection(type_url)
            return self._recent.get(
                ("whole", id(everything)), everything, lambda: self._whole(everything)
            )
        asked = _Asked(type_url, wildcard, names, stand_ins)
        family = None if wildcard else view.family(type_url)
        if family is None:
            return self._recent.get(
                ("named", id(view), asked), view, lambda: self._selected(view, asked)
            )
        return self._recent.get(
            ("named", family, view.generation, asked),
            None,
            lambda: self._followed(view, family, asked),
        )

    def _whole(self, everything: Collection) -> Selection:
        return Selection(tuple(map(self._layer, everything.parts)), whole=True)

    def _layer(self, part: Part) -> Layer:
        return self._recent.get(("part", id(part)), part, lambda: Layer(part.resources))

    def _selected(self, view: View, asked: "_Asked") -> Selection:
        """Everything that is asked for, looked up."""
        layer = named(view, asked.type_url, asked.names, asked.stand_ins)
        if asked.wildcard:
            everything = self._whole(view.collection(asked.type_url))
            made = Selection((*everything.layers, layer), whole=True)
        else:
            made = Selection((layer,))
        return self._known(("latest", view.key, asked), made)

    def _known(self, key: Hashable, made: Selection) -> Selection:
        """The selection kept under a key if it is made of the same, else the given one."""
        before: Selection | None = self._recent.recall(key)
        if before is not None and len(before.layers) == len(made.layers):
            pairs = zip(before.layers, made.layers, strict=True)
            if all(old is new or old.same_as(new) for old, new in pairs):
                return before
        return self._recent.keep(key, None, made)

    def _followed(self, view: View, family: Hashable, asked: "_Asked") -> Selection:
        """The selection of an older generation with what was renewed since then."""
        key = ("latest", family, asked)
        latest: tuple[Selection, int] | None = self._recent.recall(key)
        renewed = None
        if latest is not None and latest[1] <= view.generation:
            renewed = view.renewed(asked.type_url, latest[1])
        if latest is None or renewed is None:
            layer = named(view, asked.type_url, asked.names, asked.stand_ins)
            made = self._known(_content(asked, layer), Selection((layer,)))
        else:
            made = self._renewed(latest[0], view, asked, renewed & asked.names)
        if view.renewed(asked.type_url, view.generation) is not None:
            self._recent.keep(key, None, (made, view.generation))
        return made

    def _renewed(
        self, before: Selection, view: View, asked: "_Asked", names: Set[str]
    ) -> Selection:
        """A selection with some names looked up again; one for all who take the same step."""
        if not names:
            return before
        now = named(view, asked.type_url, names, asked.stand_ins)
        found = tuple((name, id(now.resources.get(name))) for name in sorted(names))

        def make() -> Selection:
            old = before.layers[0]
            new = old.renewed(names, now)
            return before if new is old else Selection((new,))

        return self._recent.get(("step", id(before), found), (before, now), make)

    def difference(
        self, held: Mapping[str, str], wanted: Selection, forced: frozenset[str]
    ) -> Difference:
        """As the function of that name; computed once for all sessions that hold the same."""
        if not isinstance(held, Versions):
            return difference(held, wanted, forced)
        key = ("difference", id(held), id(wanted), forced)
        return self._recent.get(
            key, (held, wanted), lambda: difference(held, wanted, forced, self._step)
        )

    def _step(
        self, held: Mapping[str, str], layer: Layer, forced: frozenset[str], *, closed: bool
    ) -> Step:
        key = ("layer step", id(held), id(layer), forced, closed)
        return self._recent.get(
            key, (held, layer), lambda: step(held, layer, forced, closed=closed)
        )

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


class _Asked(NamedTuple):
    """What a subscription asks for, and the types of which nothing may be missing."""

    type_url: str
    wildcard: bool
    names: frozenset[str]
    stand_ins: frozenset[str]


def _content(asked: _Asked, layer: Layer) -> Hashable:
    """Equal for layers of the same objects, unless two memory addresses add up by chance."""
    return "content", asked, sum(map(id, layer.resources.values()))
