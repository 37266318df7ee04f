"""Logs and self-monitoring: structlog on stdout, OpenTelemetry metrics as Prometheus text."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from opentelemetry.metrics import Counter as OtelCounter
from opentelemetry.metrics import Histogram as OtelHistogram
from opentelemetry.metrics import UpDownCounter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
)
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

LEVELS = ("debug", "info", "warning", "error")


def configure_logging(service: str, level: str = "info", format: str = "json") -> None:
    """Log to stdout, one event a line, as JSON or (format ``console``) for people."""
    if level not in LEVELS:
        raise ValueError(f"log level {level!r}; allowed: {', '.join(LEVELS)}")
    if format not in {"json", "console"}:
        raise ValueError(f"log format {format!r}; allowed: json, console")
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)


class Counter:
    """A sum that only grows."""

    def __init__(self, instrument: OtelCounter) -> None:
        self._instrument = instrument

    def add(self, amount: float = 1, **labels: str) -> None:
        """Add ``amount`` (>= 0) to the series with these labels."""
        self._instrument.add(amount, labels)


class Gauge:
    """A value that is set."""

    def __init__(self, instrument: UpDownCounter) -> None:
        self._instrument = instrument
        self._values: dict[tuple[tuple[str, str], ...], float] = {}

    def set(self, value: float, **labels: str) -> None:
        """Make ``value`` the current one of the series with these labels."""
        key = tuple(sorted(labels.items()))
        self._instrument.add(value - self._values.get(key, 0.0), labels)
        self._values[key] = value


class Histogram:
    """A distribution over fixed buckets."""

    def __init__(self, instrument: OtelHistogram) -> None:
        self._instrument = instrument

    def record(self, value: float, **labels: str) -> None:
        """Count ``value`` into its bucket."""
        self._instrument.record(value, labels)


class Metrics:
    """The instruments of one process, on an OpenTelemetry meter.

    ``render`` gives the Prometheus text format 0.0.4 with names exactly as they were given: users'
    dashboards know them, so no suffix is added for units or counters. All histograms take the
    bounds given here or per name in ``buckets``.
    """

    def __init__(
        self,
        service: str,
        *,
        default_buckets: Sequence[float] = (0.1, 0.5, 1, 3, 5, 10, 20, 30),
        buckets: dict[str, Sequence[float]] | None = None,
    ) -> None:
        self._reader = InMemoryMetricReader()
        views = [
            View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(list(bounds)))
            for name, bounds in (buckets or {}).items()
        ]
        self._default_buckets = list(default_buckets)
        resource = Resource({"service.name": service})
        self.tracer_provider = TracerProvider(resource=resource)
        self._provider = MeterProvider([self._reader], resource, views=views)
        self._meter = self._provider.get_meter("mast")

    def counter(self, name: str, help: str = "") -> Counter:
        """A counter named exactly ``name``."""
        return Counter(self._meter.create_counter(name, description=help))

    def gauge(self, name: str, help: str = "") -> Gauge:
        """A gauge named exactly ``name``."""
        return Gauge(self._meter.create_up_down_counter(name, description=help))

    def histogram(self, name: str, help: str = "") -> Histogram:
        """A histogram named exactly ``name``."""
        return Histogram(
            self._meter.create_histogram(
                name, description=help, explicit_bucket_boundaries_advisory=self._default_buckets
            )
        )

    def render(self) -> str:
        """Everything measured so far, in the Prometheus text format."""
        data = self._reader.get_metrics_data()
        if data is None:
            return ""
        lines: list[str] = []
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in sorted(scope.metrics, key=lambda m: m.name):
                    lines += _exposition(metric)
        return "\n".join([*lines, ""])


def _exposition(metric: Metric) -> Iterable[str]:
    points: list[HistogramDataPoint | NumberDataPoint] = [
        point
        for point in metric.data.data_points
        if isinstance(point, HistogramDataPoint | NumberDataPoint)
    ]
    kind = "histogram" if points and isinstance(points[0], HistogramDataPoint) else "gauge"
    if getattr(metric.data, "is_monotonic", False):
        kind = "counter"
    if metric.description:
        yield f"# HELP {metric.name} {escaped(metric.description)}"
    yield f"# TYPE {metric.name} {kind}"
    for point in points:
        labels = {str(k): str(v) for k, v in (point.attributes or {}).items()}
        if isinstance(point, HistogramDataPoint):
            yield from _distribution(metric.name, labels, point)
        else:
            yield f"{metric.name}{label_text(labels)} {number(point.value)}"


def _distribution(name: str, labels: dict[str, str], point: HistogramDataPoint) -> Iterable[str]:
    cumulative = 0
    for bound, count in zip(
        [*point.explicit_bounds, float("inf")], point.bucket_counts, strict=True
    ):
        cumulative += count
        yield f"{name}_bucket{label_text({**labels, 'le': number(bound)})} {cumulative}"
    yield f"{name}_sum{label_text(labels)} {number(point.sum)}"
    yield f"{name}_count{label_text(labels)} {point.count}"


def label_text(labels: dict[str, str]) -> str:
    """``{name="value",…}`` with values escaped, or nothing (Prometheus text format 0.0.4)."""
    if not labels:
        return ""
    return (
        "{" + ",".join(f'{k}="{escaped(v, quotes=True)}"' for k, v in sorted(labels.items())) + "}"
    )


def escaped(text: str, *, quotes: bool = False) -> str:
    """Text with backslash, newline and, in label values, quotes escaped."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def number(value: float) -> str:
    """A sample value as Prometheus writes it: integers without fraction, ``+Inf``."""
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if float(value).is_integer() else repr(float(value))
