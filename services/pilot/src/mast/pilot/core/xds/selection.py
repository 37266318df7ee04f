"""What a subscription should hold under a view, and how that differs from what it holds.

Both are made of layers that many subscriptions share: the clusters that everybody calls are one,
those of a workload's own another. What changed within a layer is found out once, and by looking at
no more than what may have changed, so that the cost of a push is that of the change.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, zip_longest
from types import MappingProxyType
from typing import Final, NamedTuple

from mast.pilot.core.xds.resources import Resource, View, absent

GONE: Final = ""
"""Version of a name that the client knows not to exist."""

DOUBTFUL: Final = "?"
"""Version of a name whose last response the client rejected: it may hold it or not."""

NOTHING: Final = frozenset[str]()


class Versions(Mapping[str, str]):
    """Versions by name, in layers that many sessions share; never modified.

    Of a name that is in several layers the last one counts.
    """

    __slots__ = ("__weakref__", "layers")

    def __init__(self, layers: Sequence[Mapping[str, str]] = ()) -> None:
        self.layers = tuple(layers)

    def __getitem__(self, name: str) -> str:
        for each in reversed(self.layers):
            if name in each:
                return each[name]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(chain(*self.layers)))

    def __len__(self) -> int:
        if len(self.layers) == 1:
            return len(self.layers[0])
        return len(set(chain(*self.layers)))


EMPTY_VERSIONS: Final = Versions()


@dataclass(frozen=True, eq=False)
class Layer:
    """Resources that belong together.

    `missing` are names asked for that do not exist and whose absence is told; `placeholders` such
    whose absence a stand-in among `resources` tells. `versions` is what a client holds that was
    sent all of it. `changed` are the names in which it differs from a layer with `before` as its
    versions, if it was made from one.
    """

    resources: Mapping[str, Resource]
    missing: frozenset[str] = NOTHING
    placeholders: frozenset[str] = NOTHING
    before: Mapping[str, str] | None = None
    changed: frozenset[str] = NOTHING

    @cached_property
    def versions(self) -> Mapping[str, str]:
        """What a client holds that was sent all of it."""
        if self.before is None:
            held = dict.fromkeys(self.missing, GONE)
            held.update((name, each.version) for name, each in self.resources.items())
            return held
        held = dict(self.before)
        for name in self.changed:
            found = self.resources.get(name)
            held[name] = GONE if found is None else found.version
        return held

    def renewed(self, names: Set[str], now: "Layer") -> "Layer":
        """The layer with what `now` says of some names; the same object if that is nothing new."""
        resources = dict(self.resources)
        for name in names:
            found = now.resources.get(name)
            if found is None:
                resources.pop(name, None)
            else:
                resources[name] = found
        changed = {name for name in names if resources.get(name) is not self.resources.get(name)}
        missing = (self.missing - names) | now.missing
        placeholders = (self.placeholders - names) | now.placeholders
        if not changed and missing == self.missing and placeholders == self.placeholders:
            return self
        if not resources.keys() <= self.resources.keys():
            resources = {name: resources[name] for name in sorted(resources)}
        ordered = MappingProxyType(resources)
        return Layer(ordered, missing, placeholders, self.versions, frozenset(changed))

    def same_as(self, other: "Layer") -> bool:
        """Made of the same objects, so that either may stand for the other."""
        return (
            self.missing == other.missing
            and self.placeholders == other.placeholders
            and len(self.resources) == len(other.resources)
            and all(other.resources.get(name) is each for name, each in self.resources.items())
        )


@dataclass(frozen=True, eq=False)
class Selection:
    """The resources that a watch should hold, the same in all sessions that want the same.

    With `whole`, everything else that the client may hold is obsolete.
    """

    layers: tuple[Layer, ...]
    whole: bool = False

    @cached_property
    def versions(self) -> Versions:
        """What a client holds that was sent all of it."""
        return Versions([each.versions for each in self.layers])

    @cached_property
    def resources(self) -> Mapping[str, Resource]:
        """All by name, sorted."""
        if len(self.layers) == 1:
            return self.layers[0].resources
        merged = {name: one for each in self.layers for name, one in each.resources.items()}
        return MappingProxyType({name: merged[name] for name in sorted(merged)})

    @cached_property
    def requires(self) -> frozenset[str]:
        """What the resources require."""
        return required(one for each in self.layers for one in each.resources.values())

    @property
    def missing(self) -> frozenset[str]:
        """Names asked for whose absence is told."""
        return NOTHING.union(*(each.missing for each in self.layers))


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
    removed: tuple[str, ...] = field(init=False)
    """All names that do not exist."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "removed", tuple(sorted(self.obsolete + self.absent)))

    @cached_property
    def requires(self) -> frozenset[str]:
        """What the changed resources require."""
        return required(self.changed)


def required(resources: Iterable[Resource]) -> frozenset[str]:
    """Names that any of the resources requires."""
    return NOTHING.union(*(each.requires for each in resources))


def whole(resources: Mapping[str, Resource]) -> Selection:
    """Everything that a view has of a type."""
    return Selection((Layer(resources),), whole=True)


def named(view: View, type_url: str, names: Set[str], stand_ins: frozenset[str]) -> Layer:
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
    return Layer(MappingProxyType(found), frozenset(missing), frozenset(placeholders))


class Step(NamedTuple):
    """What turns the state of a client into a layer: resources it lacks, names to forget."""

    changed: tuple[Resource, ...]
    removed: frozenset[str]


def step(
    held: Mapping[str, str], layer: Layer, forced: frozenset[str], *, closed: bool = False
) -> Step:
    """The step from `held` to a layer. If `closed`, names that are not in it must be forgotten.

    Names in `forced` are sent even if they did not change. A placeholder does not replace what the
    client has: its cluster is about to be removed, and until then old endpoints are better than
    none.
    """
    if held is layer.versions and not forced:
        return _NO_STEP
    looked_at: Iterable[str] = layer.resources
    if held is layer.before:
        looked_at = sorted(layer.resources.keys() & (layer.changed | forced))
    resources, placeholders = layer.resources, layer.placeholders
    changed = tuple(
        resources[name]
        for name in looked_at
        if name in forced
        or (
            held.get(name) != resources[name].version
            and not (name in placeholders and name in held)
        )
    )
    removed = {name for name in layer.missing if name in forced or held.get(name) != GONE}
    if closed:
        removed.update(name for name in held if name not in layer.versions)
    return Step(changed, frozenset(removed))


_NO_STEP: Final = Step((), NOTHING)


def difference(
    held: Mapping[str, str],
    wanted: Selection,
    forced: frozenset[str] = NOTHING,
    taken: Callable[..., Step] = step,
) -> Difference:
    """What to send to a client that holds `held` and should hold `wanted`; see `step`.

    Layers of equal place are compared; should names move between layers, they are sent once more.
    """
    old: Sequence[Mapping[str, str]] = [held] * len(wanted.layers)
    if isinstance(held, Versions):
        old = held.layers
    steps = []
    removed: set[str] = set()
    for before, layer in zip_longest(old, wanted.layers):
        if layer is None:
            removed.update(name for name in before if wanted.whole or name in wanted.missing)
            continue
        one = taken(_NOTHING_HELD if before is None else before, layer, forced, closed=wanted.whole)
        removed |= one.removed
        if one.changed:
            steps.append(one.changed)
    changed = steps[0] if len(steps) == 1 else _united(steps)
    if old and len(old) != len(wanted.layers):
        alike = (each for each in changed if held.get(each.name) == each.version)
        changed = _without(changed, frozenset(each.name for each in alike) - forced)
    removed = {name for name in removed if not any(name in one.resources for one in wanted.layers)}
    obsolete = tuple(sorted(name for name in removed if held.get(name, GONE) != GONE))
    kept = wanted.versions
    if obsolete:
        kept = Versions([*kept.layers, {name: held[name] for name in obsolete}])
    absent = tuple(sorted(removed.difference(obsolete)))
    adds = any(held.get(each.name, GONE) == GONE for each in changed)
    return Difference(changed, obsolete, absent, kept, adds)


_NOTHING_HELD: Final[Mapping[str, str]] = MappingProxyType({})


def _without(changed: tuple[Resource, ...], names: frozenset[str]) -> tuple[Resource, ...]:
    return tuple(each for each in changed if each.name not in names) if names else changed


def _united(steps: Iterable[Iterable[Resource]]) -> tuple[Resource, ...]:
    return tuple({each.name: each for one in steps for each in one}.values())
