"""What Telemetry objects say for one direction of one proxy's traffic (pilot.md K5).

Objects add up level by level: root namespace, namespace, workload; within one, entries in their
order. A level that names providers replaces those of the levels before; everything else merges.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.telemetry.v1alpha1.telemetry_pb2 import (
    CLIENT,
    CLIENT_AND_SERVER,
    SERVER,
    MetricSelector,
    MetricsOverrides,
    Telemetry,
    Tracing,
)
from mast.pilot.core.filters.extensions import Direction

_ROLES: Final = {Direction.OUTBOUND: CLIENT, Direction.INBOUND: SERVER}

METRICS: Final[Mapping[int, Sequence[str]]] = {
    MetricSelector.REQUEST_COUNT: ("requests_total",),
    MetricSelector.REQUEST_DURATION: (
        "request_duration_milliseconds",
        "request_duration_seconds",
    ),
    MetricSelector.REQUEST_SIZE: ("request_bytes",),
    MetricSelector.RESPONSE_SIZE: ("response_bytes",),
    MetricSelector.TCP_OPENED_CONNECTIONS: ("tcp_connections_opened_total",),
    MetricSelector.TCP_CLOSED_CONNECTIONS: ("tcp_connections_closed_total",),
    MetricSelector.TCP_SENT_BYTES: ("tcp_sent_bytes_total",),
    MetricSelector.TCP_RECEIVED_BYTES: ("tcp_received_bytes_total",),
    MetricSelector.GRPC_REQUEST_MESSAGES: ("request_messages_total",),
    MetricSelector.GRPC_RESPONSE_MESSAGES: ("response_messages_total",),
}
"""Names behind `istio_`; durations count in seconds where Mixer counts (mixer.md H)."""


FILE: Final = "(accessLogFile)"
SERVICE: Final = "(enableEnvoyAccessLogService)"
"""Stand for the loggers that MeshConfig has outside of its providers."""


@dataclass(frozen=True, kw_only=True)
class Logger:
    """One provider of access logs; `filter` is a CEL expression, empty: everything."""

    provider: str
    filter: str = ""


@dataclass(frozen=True, kw_only=True)
class Traces:
    """How to trace; `provider` is empty if none is named. `sampling` is in percent, None: open."""

    provider: str = ""
    reported: bool = True
    sampling: float | None = None
    tags: Mapping[str, Tracing.CustomTag] = field(default_factory=dict)
    request_ids_tell: bool | None = None
    istio_tags: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What is not to be measured, and how; names of metrics are those of Prometheus.

    `tags` are CEL expressions by metric and tag, None for tags to leave out. `interval` is the
    time between two reports of an open connection, None: open.
    """

    disabled: frozenset[str] = frozenset()
    tags: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    interval: timedelta | None = None


def loggers(
    levels: Sequence[Telemetry], mesh: MeshConfig, direction: Direction
) -> Sequence[Logger]:
    """Where to log, sorted by provider.

    What MeshConfig asks for without providers counts as a provider that every proxy has by
    default, so that a Telemetry can filter it and switch it off.
    """
    matching = [
        [each for each in level.access_logging if _matches(each.match.mode, direction)]
        for level in levels
    ]
    defaults = list(mesh.default_providers.access_logging) or _built_in(mesh)
    chosen = _chosen([_names(level) for level in matching], defaults)
    found: dict[str, Logger] = {name: Logger(provider=name) for name in defaults}
    for level in matching:
        for entry in level:
            for name in [each.name for each in entry.providers] or chosen:
                if entry.disabled.value:
                    found.pop(name, None)
                else:
                    found[name] = Logger(provider=name, filter=entry.filter.expression)
    return [found[name] for name in sorted(found) if name in chosen]


def traces(levels: Sequence[Telemetry], mesh: MeshConfig, direction: Direction) -> Traces | None:
    """How to trace; None if neither Telemetry nor mesh defaults say so."""
    matching = [
        entry
        for level in levels
        for entry in level.tracing
        if _matches(entry.match.mode, direction)
    ]
    providers = list(mesh.default_providers.tracing)
    if not matching and not providers:
        return None
    found = Traces()
    for each in matching:
        found = _overlaid(found, each)
    return found if found.provider or not providers else replace(found, provider=providers[0])


def _overlaid(traces: Traces, entry: Tracing) -> Traces:
    if entry.providers:
        traces = replace(traces, provider=entry.providers[0].name)
    if entry.HasField("disable_span_reporting"):
        traces = replace(traces, reported=not entry.disable_span_reporting.value)
    if entry.HasField("random_sampling_percentage"):
        traces = replace(traces, sampling=entry.random_sampling_percentage.value)
    if entry.custom_tags:
        traces = replace(traces, tags=dict(entry.custom_tags))
    if entry.HasField("use_request_id_for_trace_sampling"):
        traces = replace(traces, request_ids_tell=entry.use_request_id_for_trace_sampling.value)
    if entry.HasField("enable_istio_tags"):
        traces = replace(traces, istio_tags=entry.enable_istio_tags.value)
    return traces


def measures(levels: Sequence[Telemetry], direction: Direction) -> Measures:
    """What is measured of one direction."""
    disabled: dict[str, bool] = {}
    tags: dict[str, dict[str, str | None]] = {}
    interval: timedelta | None = None
    for level in levels:
        for entry in level.metrics:
            if entry.HasField("reporting_interval"):
                interval = entry.reporting_interval.ToTimedelta()
            for override in entry.overrides:
                if not _matches(override.match.mode, direction):
                    continue
                for metric in _metrics(override.match):
                    if override.HasField("disabled"):
                        disabled[metric] = override.disabled.value
                    if override.tag_overrides:
                        tags.setdefault(metric, {}).update(_tags(override))
    return Measures(
        disabled=frozenset(name for name, off in disabled.items() if off),
        tags={name: tags[name] for name in sorted(tags)},
        interval=interval,
    )


def named_providers(spec: Telemetry) -> Iterator[str]:
    """Names of all providers that an object mentions."""
    for entries in (spec.access_logging, spec.tracing, spec.metrics):
        yield from _names(entries)


def _matches(mode: int, direction: Direction) -> bool:
    return mode in (CLIENT_AND_SERVER, _ROLES[direction])


def _names(level: Iterable[Any]) -> list[str]:
    return [provider.name for entry in level for provider in entry.providers]


def _chosen(levels: Iterable[Sequence[str]], defaults: Sequence[str]) -> Sequence[str]:
    """The providers of the last level that names some."""
    chosen = defaults
    for names in levels:
        chosen = names or chosen
    return chosen


def _built_in(mesh: MeshConfig) -> list[str]:
    wanted = {FILE: bool(mesh.access_log_file), SERVICE: mesh.enable_envoy_access_log_service}
    return [name for name, is_wanted in wanted.items() if is_wanted]


def _metrics(selector: MetricSelector) -> Iterator[str]:
    """Metrics that an override is for, by their names in Prometheus."""
    if selector.custom_metric:
        yield f"istio_{selector.custom_metric.removeprefix('istio_')}"
        return
    chosen = METRICS if selector.metric == MetricSelector.ALL_METRICS else (selector.metric,)
    for metric in chosen:
        for name in METRICS[metric]:
            yield f"istio_{name}"


def _tags(override: MetricsOverrides) -> Iterator[tuple[str, str | None]]:
    remove = MetricsOverrides.TagOverride.REMOVE
    for name, tag in sorted(override.tag_overrides.items()):
        yield name, None if tag.operation == remove else tag.value
