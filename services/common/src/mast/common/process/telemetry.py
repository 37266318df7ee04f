"""Logs and self-monitoring: structlog on stdout, OpenTelemetry metrics as Prometheus text."""

from __future__ import annotations

import logging
import sys
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock
from typing import Any

import structlog
from opentelemetry.metrics import Counter as OtelCounter
from opentelemetry.metrics import UpDownCounter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from mast.common.process.redaction import redact_event

LEVELS = ("debug", "info", "warning", "error")


def configure_logging(service: str, level: str = "info", format: str = "json") -> None:
    """Log to stdout, one event a line, as JSON or (format ``console``) for people.

    Whatever is logged, keys, tokens and passwords are not.
    """
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
            redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service)


_Labels = tuple[tuple[str, str], ...]


class Counter:
    """A sum that only grows; OpenTelemetry, which takes its time, is told when somebody looks."""

    def __init__(self, instrument: OtelCounter) -> None:
        self._instrument = instrument
        self._lock = Lock()
        self._untold: dict[_Labels, float] = {}

    def add(self, amount: float = 1, **labels: str) -> None:
        """Add ``amount`` (>= 0) to the series with these labels."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            self._untold[key] = self._untold.get(key, 0) + amount

    def tell(self) -> None:
        """Tell OpenTelemetry what was added."""
        with self._lock:
            untold, self._untold = self._untold, {}
        for key, amount in untold.items():
            self._instrument.add(amount, dict(key))


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


@dataclass
class _Distribution:
    """One series: how many values fell into each bucket, and what they add up to."""

    counts: list[int]
    sum: float = 0.0


class Histogram:
    """A distribution over fixed buckets.

    Values are counted here: OpenTelemetry's SDK takes longer for one than Pilot for one push.
    """

    def __init__(self, name: str, help: str, bounds: Sequence[float]) -> None:
        self.name = name
        self._help = help
        self._bounds = list(bounds)
        self._lock = Lock()
        self._series: dict[_Labels, _Distribution] = {}

    def record(self, value: float, **labels: str) -> None:
        """Count ``value`` into its bucket."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            found = self._series.get(key)
            if found is None:
                found = self._series[key] = _Distribution([0] * (len(self._bounds) + 1))
            found.counts[bisect_left(self._bounds, value)] += 1
            found.sum += value

    def exposition(self) -> Iterable[str]:
        """Lines of the Prometheus text format, none before the first value."""
        with self._lock:
            series = [(key, list(each.counts), each.sum) for key, each in self._series.items()]
        if series:
            yield from _head(self.name, self._help, "histogram")
        for key, counts, total in series:
            labels, cumulative = dict(key), list(accumulate(counts))
            for bound, count in zip([*self._bounds, float("inf")], cumulative, strict=True):
                yield f"{self.name}_bucket{label_text({**labels, 'le': number(bound)})} {count}"
            yield f"{self.name}_sum{label_text(labels)} {number(total)}"
            yield f"{self.name}_count{label_text(labels)} {cumulative[-1]}"


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
        self._buckets = dict(buckets or {})
        self._default_buckets = default_buckets
        self._counters: list[Counter] = []
        self._histograms: list[Histogram] = []
        resource = Resource({"service.name": service})
        self.tracer_provider = TracerProvider(resource=resource)
        self._provider = MeterProvider([self._reader], resource)
        self._meter = self._provider.get_meter("mast")

    def counter(self, name: str, help: str = "") -> Counter:
        """A counter named exactly ``name``."""
        made = Counter(self._meter.create_counter(name, description=help))
        self._counters.append(made)
        return made

    def gauge(self, name: str, help: str = "") -> Gauge:
        """A gauge named exactly ``name``."""
        return Gauge(self._meter.create_up_down_counter(name, description=help))

    def histogram(self, name: str, help: str = "") -> Histogram:
        """A histogram named exactly ``name``."""
        made = Histogram(name, help, self._buckets.get(name, self._default_buckets))
        self._histograms.append(made)
        return made

    def render(self) -> str:
        """Everything measured so far, in the Prometheus text format, sorted by name."""
        for each in self._counters:
            each.tell()
        pages = {each.name: each.exposition() for each in self._histograms}
        data = self._reader.get_metrics_data()
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                pages.update((each.name, _exposition(each)) for each in scope.metrics)
        return "\n".join([*(line for name in sorted(pages) for line in pages[name]), ""])


def _exposition(metric: Metric) -> Iterable[str]:
    kind = "counter" if getattr(metric.data, "is_monotonic", False) else "gauge"
    yield from _head(metric.name, metric.description, kind)
    for point in metric.data.data_points:
        if isinstance(point, NumberDataPoint):
            labels = {str(k): str(v) for k, v in (point.attributes or {}).items()}
            yield f"{metric.name}{label_text(labels)} {number(point.value)}"


def _head(name: str, help: str | None, kind: str) -> Iterable[str]:
    if help:
        yield f"# HELP {name} {escaped(help)}"
    yield f"# TYPE {name} {kind}"


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
