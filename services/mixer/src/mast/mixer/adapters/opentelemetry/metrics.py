"""What is counted for OTLP: cumulative series, each since its own start."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from mast.common.expressions.types import ValueType
from mast.mixer.adapters.opentelemetry.messages import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric
from mast.mixer.adapters.opentelemetry.records import any_value
from mast.mixer.adapters.prometheus import DEFAULT_BOUNDS, measure
from mast.mixer.core.adapter import AdapterError, Batch, HandlerConfig, Instance, InstanceType
from mast.mixer.core.series import Definition, Family, Kind, Labels, Registry, Series
from mast.mixer.core.values import INT64_MAX, INT64_MIN, NANOS, Value, text
from mastapi.opentelemetry.v1.opentelemetry_pb2 import Params

DROPPED: Final = "mast.mixer.series.dropped"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")
_DIMENSION: Final = re.compile(r"dimensions\[(.*)\]", re.DOTALL)
_KINDS: Final = {
    Params.MetricInfo.COUNTER: Kind.COUNTER,
    Params.MetricInfo.UP_DOWN_COUNTER: Kind.COUNTER,
    Params.MetricInfo.GAUGE: Kind.GAUGE,
    Params.MetricInfo.HISTOGRAM: Kind.HISTOGRAM,
}
_TYPED: Final = frozenset({ValueType.INT64, ValueType.DOUBLE, ValueType.BOOL})
_MEASURED: Final = frozenset(
    {ValueType.INT64, ValueType.DOUBLE, ValueType.DURATION, ValueType.STRING}
)

Row = tuple[Labels, Series]


class Metrics:
    """The metrics of one handler by instance.

    ``clock`` in seconds never goes back; ``started`` is the time of day, in nanoseconds, at its 0.
    """

    def __init__(self, config: HandlerConfig, clock: Callable[[], float], started: int) -> None:
        params: Params = config.params
        self._infos = params.metrics
        self._clock, self._started = clock, started
        self._since = clock()
        known = [each for each in config.instances if each.name in params.metrics]
        self._types = {each.name: each.types for each in known}
        self._registry = Registry(params.max_series)
        self._families = self._registry.define(
            self, {each.name: _definition(params.metrics[each.name], each) for each in known}
        )
        for family in self._families.values():
            family.expiry = params.series_expiry.ToTimedelta().total_seconds() or None

    @property
    def dropped(self) -> int:
        """How many updates found no room for their series."""
        return self._registry.dropped

    def add(self, batch: Batch) -> Iterator[str]:
        """Count records; gives the texts for those that cannot be."""
        name = batch.instance.name
        family = self._families.get(name)
        if family is None:
            yield f"opentelemetry: no metric is configured for {name}"
            return
        falls = self._infos[name].kind != Params.MetricInfo.COUNTER
        numbers: list[float] = []
        for value in batch.values or ():
            try:
                number = measure(value)
            except AdapterError as error:
                yield f"opentelemetry: metric {name}: {error}"
                continue
            if falls or number >= 0:
                numbers.append(number)
            else:
                yield f"opentelemetry: counter {name} cannot decrease"
        if numbers:
            family.add(_labels(batch.instance, family), numbers, self._clock())

    def chunks(self, size: int) -> Iterator[Sequence[Metric]]:
        """All metrics as they are now, up to so many data points at a time."""
        self._registry.expire(self._families.values(), self._clock())
        for name, family in sorted(self._families.items()):
            rows = list(family.series.items())
            for at in range(0, len(rows), size):
                yield (self._metric(name, family, rows[at : at + size]),)
        if self.dropped:
            yield (self._dropped_metric(),)

    def _metric(self, name: str, family: Family, rows: Sequence[Row]) -> Metric:
        info, types = self._infos[name], self._types[name]
        form, names = family.definition.kind, family.definition.labels
        kinds = [types.get(f"dimensions[{label}]") for label in names]
        found = _described(info, family.definition, types)
        integer = types.get("value") is ValueType.INT64
        for labels, series in rows:
            if form is Kind.HISTOGRAM:
                point = found.histogram.data_points.add()
                point.explicit_bounds.extend(family.definition.bounds)
                point.bucket_counts.extend(series.buckets or ())
                point.count, point.sum = sum(series.buckets or ()), series.value
            else:
                data = found.gauge if form is Kind.GAUGE else found.sum
                point = data.data_points.add()
                if integer:
                    point.as_int = min(max(int(series.value), INT64_MIN), INT64_MAX)
                else:
                    point.as_double = series.value
            self._dated(point, series.started)
            for label, kind, value in zip(names, kinds, labels, strict=True):
                if value and kind in _TYPED:
                    point.attributes.add(key=label).value.CopyFrom(any_value(_typed(value, kind)))
                elif value:
                    point.attributes.add(key=label).value.string_value = value
        return found

    def _dropped_metric(self) -> Metric:
        found = Metric(name=DROPPED, description="Updates of series for which there was no room")
        found.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        found.sum.is_monotonic = True
        point = found.sum.data_points.add(as_int=self.dropped)
        self._dated(point, self._since)
        return found

    def _dated(self, point: Any, since: float) -> None:
        point.start_time_unix_nano = self._started + int(since * NANOS)
        point.time_unix_nano = self._started + int(self._clock() * NANOS)


def _definition(info: Params.MetricInfo, instance: InstanceType) -> Definition:
    dimensions = (_DIMENSION.fullmatch(path) for path in instance.types)
    return Definition(
        info.name or instance.name,
        info.description,
        _KINDS[info.kind],
        tuple(sorted(found[1] for found in dimensions if found)),
        _bounds(info),
    )


def _bounds(info: Params.MetricInfo) -> tuple[float, ...]:
    if info.kind != Params.MetricInfo.HISTOGRAM:
        return ()
    return tuple(info.bounds) or DEFAULT_BOUNDS


def _labels(instance: Instance, family: Family) -> Labels:
    """The dimensions as text, remembered on the instance."""
    if instance.memo is None:
        dimensions = instance.fields["dimensions"]
        instance.memo = tuple(text(dimensions.get(name)) for name in family.definition.labels)
    found: Labels = instance.memo
    return found


def _described(
    info: Params.MetricInfo, definition: Definition, types: Mapping[str, ValueType]
) -> Metric:
    seconds = types.get("value") is ValueType.DURATION
    found = Metric(
        name=definition.name,
        description=definition.help,
        unit=info.unit or ("s" if seconds else ""),
    )
    if definition.kind is Kind.HISTOGRAM:
        found.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
    elif definition.kind is Kind.COUNTER:
        found.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        found.sum.is_monotonic = info.kind == Params.MetricInfo.COUNTER
    return found


def _typed(shown: str, kind: ValueType | None) -> Value:
    """A label in its type again."""
    match kind:
        case ValueType.INT64:
            return int(shown)
        case ValueType.DOUBLE:
            return float(shown)
    return shown == "true"


def problems(config: HandlerConfig) -> Iterator[str]:
    """What is wrong with the metrics of a configuration."""
    infos = config.params.metrics
    instances = {each.name: each for each in config.instances}
    for name, info in sorted(infos.items()):
        for problem in _problems(info, info.name or name, instances.get(name)):
            yield f"metrics[{name}].{problem}"
    names = [info.name or name for name, info in infos.items()]
    for name in sorted({each for each in names if names.count(each) > 1}):
        yield f"metrics: name '{name}' is used {names.count(name)} times"


def _problems(info: Params.MetricInfo, name: str, instance: InstanceType | None) -> Iterator[str]:
    if info.kind not in _KINDS:
        yield "kind: must be COUNTER, UP_DOWN_COUNTER, GAUGE or HISTOGRAM"
    if not _NAME.fullmatch(name):
        yield f"name: {name!r} is not a letter and up to 254 letters, digits and _ . / -"
    if info.bounds and info.kind != Params.MetricInfo.HISTOGRAM:
        yield "bounds: only a HISTOGRAM has them"
    if list(info.bounds) != sorted(set(info.bounds)):
        yield f"bounds: must increase: {list(info.bounds)}"
    kind = instance.types.get("value") if instance else None
    if kind is not None and kind not in _MEASURED:
        yield f"value: it gives {kind.name}, want a number or a duration"
