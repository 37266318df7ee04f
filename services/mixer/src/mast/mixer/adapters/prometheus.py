"""Adapter ``prometheus``: metrics to scrape (mixer.md G.2)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from istio.mixer.adapter.prometheus.config.config_pb2 import Params
from mast.mixer.core.adapter import Adapter, AdapterError, Batch, HandlerConfig, Instance
from mast.mixer.core.series import Definition, Family, Kind, Labels, Registry
from mast.mixer.core.values import Duration, Value, text

DEFAULT_NAMESPACE = "istio"
DEFAULT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_CLEAN = str.maketrans({"/": "_", ".": "_", " ": "_", "-": None})
_METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_KINDS = {
    Params.MetricInfo.GAUGE: Kind.GAUGE,
    Params.MetricInfo.COUNTER: Kind.COUNTER,
    Params.MetricInfo.DISTRIBUTION: Kind.HISTOGRAM,
}


def clean(name: str) -> str:
    """A name that Prometheus takes: a leading ``/`` and all ``-`` go, ``/ . space`` are ``_``."""
    return name.removeprefix("/").translate(_CLEAN)


def bounds(buckets: Params.MetricInfo.BucketsDefinition) -> tuple[float, ...]:
    """The finite bucket bounds of a distribution (G3)."""
    match buckets.WhichOneof("definition"):
        case "explicit_buckets":
            return tuple(buckets.explicit_buckets.bounds)
        case "linear_buckets":
            linear = buckets.linear_buckets
            steps = range(linear.num_finite_buckets + 1)
            return tuple(linear.offset + step * linear.width for step in steps)
        case "exponential_buckets":
            powers = buckets.exponential_buckets
            steps = range(powers.num_finite_buckets + 1)
            return tuple(powers.scale * powers.growth_factor**step for step in steps)
    return DEFAULT_BOUNDS


def definition(metric: Params.MetricInfo) -> Definition:
    """The metric that an entry of the params describes (G1)."""
    name = clean(f"{metric.namespace or DEFAULT_NAMESPACE}_{metric.name or metric.instance_name}")
    kind = _KINDS[metric.kind]
    return Definition(
        name,
        metric.description or metric.name or metric.instance_name,
        kind,
        tuple(clean(label) for label in metric.label_names),
        bounds(metric.buckets) if kind is Kind.HISTOGRAM else (),
    )


def measure(value: Value | None) -> float:
    """A metric value as number: durations in seconds, texts parsed (G2); AdapterError if none."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, Duration):
        return value.seconds
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    raise AdapterError(f"could not convert metric value {text(value)!r} to a number")


class Prometheus:
    """The metrics of one handler, in the registry of the process."""

    def __init__(self, params: Params, registry: Registry, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._clock = clock
        self._label_names = {m.instance_name: tuple(m.label_names) for m in params.metrics}
        wanted = {metric.instance_name: definition(metric) for metric in params.metrics}
        self._families = registry.define(self, wanted)
        policy = params.metrics_expiration_policy
        expiry = policy.metrics_expiry_duration.ToTimedelta().total_seconds()
        interval = policy.expiry_check_interval_duration.ToTimedelta().total_seconds()
        self._interval = interval or expiry / 2
        for family in self._families.values():
            family.expiry = expiry or None

    def report(self, batches: Sequence[Batch]) -> Sequence[str]:
        """Count the records; gives the texts for those that cannot be (G2)."""
        errors: list[str] = []
        now = self._clock()
        for batch in batches:
            try:
                family, labels = batch.instance.memo or self._bind(batch.instance)
                values = _numbers(batch.values or (), family.definition, errors)
            except AdapterError as error:
                errors.append(str(error))
            else:
                if values and family.definition.name not in batch.instance.overrides.disabled:
                    family.add(labels, values, now)
        return errors

    def _bind(self, instance: Instance) -> tuple[Family, Labels]:
        """The family and label values of an instance, remembered on it."""
        family = self._families.get(instance.name)
        if family is None:
            raise AdapterError(
                f"could not find metric info from adapter config for {instance.name}"
            )
        dimensions = instance.fields["dimensions"]
        names = self._label_names[instance.name]
        if dimensions.keys() != set(names):
            raise AdapterError(
                f"metric {instance.name}: dimensions {sorted(dimensions)} "
                f"are not the label_names {sorted(names)}"
            )
        changed = instance.overrides.labels.get(family.definition.name, {})
        own = zip(family.definition.labels, names, strict=True)
        labels = [changed.get(label, text(dimensions[name])) for label, name in own]
        instance.memo = family, (*labels, *_additional(changed, family.definition))
        bound: tuple[Family, Labels] = instance.memo
        return bound

    async def prepare(self) -> None:
        """Nothing has to be done first."""

    async def run(self) -> None:
        """Delete what has not been updated, every now and then (G5)."""
        while self._interval:
            await asyncio.sleep(self._interval)
            self.expire()

    def expire(self) -> None:
        """Delete the series that have not been updated for the expiry time."""
        self._registry.expire(self._families.values(), self._clock())

    async def close(self) -> None:
        """Let go of the metrics; those that another handler has too stay."""
        self._registry.release(self)


def _additional(changed: Mapping[str, str], metric: Definition) -> Iterator[str]:
    """Names and values of labels that a metric does not have by itself, in turn."""
    for label, value in sorted(changed.items()):
        if value and label not in metric.labels and label != "le" and _LABEL_NAME.fullmatch(label):
            yield label
            yield value


def _numbers(
    values: Sequence[Value | None], metric: Definition, errors: list[str]
) -> Sequence[float]:
    """Values as numbers; those that are none are told and left out."""
    kinds = set(map(type, values))
    if kinds <= {int, float}:
        numbers: Any = values
    elif kinds == {Duration}:
        numbers = [each.seconds for each in values if isinstance(each, Duration)]
    else:
        numbers = list(_measured(values, metric.name, errors))
    if metric.kind is Kind.COUNTER and numbers and min(numbers) < 0:
        errors.append(f"counter {metric.name} cannot decrease")
        numbers = [each for each in numbers if each >= 0]
    found: Sequence[float] = numbers
    return found


def _measured(values: Sequence[Value | None], name: str, errors: list[str]) -> Iterator[float]:
    for value in values:
        try:
            yield measure(value)
        except AdapterError as error:
            errors.append(f"metric {name}: {error}")


def _validate(config: HandlerConfig) -> Sequence[str]:
    params = config.params
    problems: list[str] = []
    for index, metric in enumerate(params.metrics):
        problems += [f"metrics[{index}].{text}" for text in _metric_problems(metric)]
    names = [metric.instance_name for metric in params.metrics]
    problems += [
        f"metrics: instance_name '{name}' is used {names.count(name)} times"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    policy = params.metrics_expiration_policy
    if params.HasField("metrics_expiration_policy"):
        if policy.metrics_expiry_duration.ToTimedelta().total_seconds() <= 0:
            problems.append("metrics_expiration_policy.metrics_expiry_duration: must be > 0")
        if policy.expiry_check_interval_duration.ToTimedelta().total_seconds() < 0:
            problems.append(
                "metrics_expiration_policy.expiry_check_interval_duration: must not be negative"
            )
    return problems


def _metric_problems(metric: Params.MetricInfo) -> Iterator[str]:
    if not metric.instance_name:
        yield "instance_name: must not be empty"
    if metric.kind not in _KINDS:
        yield "kind: must be GAUGE, COUNTER or DISTRIBUTION"
        return
    described = definition(metric)
    if not _METRIC_NAME.fullmatch(described.name):
        yield f"name: '{described.name}' is no metric name"
    for label in described.labels:
        if not _LABEL_NAME.fullmatch(label) or label.startswith("__") or label == "le":
            yield f"label_names: '{label}' is no label name"
    if len(set(described.labels)) < len(described.labels):
        yield f"label_names: not distinct once cleaned: {', '.join(described.labels)}"
    edges = described.bounds
    if described.kind is Kind.HISTOGRAM and list(edges) != sorted(set(edges)):
        yield f"buckets: bounds must increase: {edges}"
    if described.kind is Kind.HISTOGRAM and not edges:
        yield "buckets: at least one bound is needed"


def adapter(registry: Registry, clock: Callable[[], float]) -> Adapter:
    """The adapter that counts into a registry; ``clock`` in seconds decides what is stale."""

    def build(config: HandlerConfig) -> Prometheus:
        return Prometheus(config.params, registry, clock)

    return Adapter(
        name="prometheus",
        templates=frozenset({"metric"}),
        defaults=Params(),
        build=build,
        validate=_validate,
    )
