"""Metric families and their series for one process, with expiry and a cap (mixer.md G.2, J3)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from mast.mixer.core.adapter import AdapterError
from mast.mixer.core.values import short_float_text

Labels = tuple[str, ...]

# A series whose label values are so long altogether takes the room of two, and so on.
LABEL_CHARACTERS = 2048

# Go's clients and scrapers write floats in format g.
_EXPONENT_FROM = 6


class Kind(Enum):
    """What a metric measures; values are Prometheus' type names."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric as it is scraped: name and label names are clean, ``bounds`` are finite."""

    name: str
    help: str
    kind: Kind
    labels: Labels
    bounds: tuple[float, ...] = ()


@dataclass(slots=True)
class Series:
    """The value of one set of labels; ``buckets`` count what fell between two bounds."""

    value: float = 0.0
    buckets: list[int] | None = None
    updated: float = 0.0
    started: float = 0.0


class Family:
    """All series of one metric; takes no new ones once the registry has given it up."""

    def __init__(self, definition: Definition, registry: Registry) -> None:
        self.definition = definition
        self.expiry: float | None = None
        self.series: dict[Labels, Series] = {}
        self.live = True
        self._registry = registry

    def series_of(self, labels: Labels, now: float) -> Series | None:
        """The series of these label values, marked as updated; None if there is no room for it.

        Behind the values may stand names and values of labels that others do not have.
        """
        series = self.series.get(labels)
        if series is None:
            if not (self.live and self._registry.admit(labels)):
                return None
            bounds = self.definition.bounds
            buckets = [0] * (len(bounds) + 1) if self.definition.kind is Kind.HISTOGRAM else None
            series = self.series[labels] = Series(buckets=buckets, started=now)
        series.updated = now
        return series

    def add(self, labels: Labels, values: Sequence[float], now: float) -> None:
        """Count values: the sum for counters, the last for gauges, each into its bucket."""
        series = self.series_of(labels, now)
        if series is None:
            return
        if series.buckets is not None:
            buckets, bounds = series.buckets, self.definition.bounds
            for value in values:
                buckets[bisect_left(bounds, value)] += 1
            series.value += sum(values)
        elif self.definition.kind is Kind.COUNTER:
            series.value += sum(values)
        else:
            series.value = values[-1]

    @property
    def room(self) -> int:
        """What all series take."""
        return sum(map(_room, self.series))

    def expire(self, now: float) -> int:
        """Delete series not updated for the expiry time; what they took."""
        if self.expiry is None:
            return 0
        stale = [
            labels for labels, each in self.series.items() if now - each.updated >= self.expiry
        ]
        for labels in stale:
            del self.series[labels]
        return sum(map(_room, stale))


class Registry:
    """The families of a process, shared by all prometheus handlers (G1).

    There is room for ``max_series`` series; one with long labels takes the room of several (J3).
    A family lives as long as some owner holds it; owners are the handlers that defined it.
    """

    def __init__(self, max_series: int) -> None:
        self.dropped = 0
        self._max_series = max_series
        self._size = 0
        self._families: dict[str, Family] = {}
        self._definitions: dict[str, Definition] = {}
        self._owners: dict[str, set[object]] = {}

    def define(self, owner: object, wanted: Mapping[str, Definition]) -> dict[str, Family]:
        """The families for instances by FQN.

        An instance whose definition is unchanged keeps its values; a changed one empties the
        whole registry (G4). Raises AdapterError if two instances want one name differently.
        """
        by_name: dict[str, Definition] = {}
        for definition in wanted.values():
            if by_name.setdefault(definition.name, definition) != definition:
                raise AdapterError(f"metric name '{definition.name}' is defined twice, differently")
        changed = {
            self._definitions[instance].name
            for instance, definition in wanted.items()
            if self._definitions.get(instance, definition) != definition
        }
        for name, definition in by_name.items():
            held = self._families.get(name)
            if held and held.definition != definition and name not in changed:
                raise AdapterError(
                    f"metric name '{name}' is already used with another kind, help, labels "
                    "or buckets"
                )
        if changed:
            self._clear(changed)
        for name, definition in by_name.items():
            self._families.setdefault(name, Family(definition, self))
            self._owners.setdefault(name, set()).add(owner)
        self._definitions.update(wanted)
        return {instance: self._families[each.name] for instance, each in wanted.items()}

    def _clear(self, changed: Iterable[str]) -> None:
        for name in changed:
            self._give_up(name)
        for family in self._families.values():
            family.series.clear()
        self._size = 0

    def _give_up(self, name: str) -> None:
        family = self._families.pop(name)
        family.live = False
        self._size -= family.room
        del self._owners[name]

    def release(self, owner: object) -> None:
        """Delete the families that nobody else holds."""
        for name, owners in list(self._owners.items()):
            owners.discard(owner)
            if not owners:
                self._give_up(name)
        live = self._families
        self._definitions = {
            instance: each for instance, each in self._definitions.items() if each.name in live
        }

    def admit(self, labels: Labels) -> bool:
        """Whether one more series may be made; if not, what it would have counted is dropped."""
        room = _room(labels)
        if self._size + room > self._max_series:
            self.dropped += 1
            return False
        self._size += room
        return True

    def expire(self, families: Iterable[Family], now: float) -> None:
        """Delete the stale series of these families (G5)."""
        for family in families:
            if family.live:
                self._size -= family.expire(now)

    @property
    def size(self) -> int:
        """How many series there are, those with long labels counted several times."""
        return self._size

    def render(self) -> str:
        """Everything in the Prometheus text format 0.0.4, sorted by name and labels.

        Safe to call from another thread while this one counts.
        """
        lines: list[str] = []
        for _, family in sorted(self._families.items()):
            lines += _exposition(family)
        return "\n".join([*lines, ""])


def _room(labels: Labels) -> int:
    """What a series takes: callers choose texts such as the host of a request."""
    return 1 + sum(map(len, labels)) // LABEL_CHARACTERS


def _exposition(family: Family) -> Iterator[str]:
    definition = family.definition
    name = definition.name
    if not family.series:
        return
    yield f"# HELP {name} {_escaped(definition.help)}"
    yield f"# TYPE {name} {definition.kind.value}"
    number_of_own = len(definition.labels)
    for labels, series in sorted(family.series.items()):
        own, more = labels[:number_of_own], labels[number_of_own:]
        named = [
            *zip(definition.labels, own, strict=True),
            *zip(more[::2], more[1::2], strict=True),
        ]
        pairs = [f'{label}="{_quoted(value)}"' for label, value in sorted(named)]
        if series.buckets is None:
            yield f"{name}{_braces(pairs)} {number(series.value)}"
            continue
        cumulative = 0
        bounds = [*map(number, definition.bounds), "+Inf"]
        for bound, count in zip(bounds, series.buckets, strict=True):
            cumulative += count
            labelled = _braces([*pairs, f'le="{bound}"'])
            yield f"{name}_bucket{labelled} {cumulative}"
        yield f"{name}_sum{_braces(pairs)} {number(series.value)}"
        yield f"{name}_count{_braces(pairs)} {cumulative}"


def number(value: float) -> str:
    """A sample value or bucket bound as Go's Prometheus client writes it."""
    return short_float_text(float(value), _EXPONENT_FROM)


def _braces(pairs: Sequence[str]) -> str:
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escaped(help: str) -> str:
    return help.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(value: str) -> str:
    return _escaped(value).replace('"', '\\"')
