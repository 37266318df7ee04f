"""Mixer's own metrics, with Istio's names (mixer.md I)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from mast.common.process.telemetry import Metrics
from mast.mixer.core.config.snapshot import Counts
from mast.mixer.core.dispatch import Destination
from mast.mixer.core.series import Definition, Kind, Registry

_CONFIG: Mapping[str, str] = {
    "attributes": "mixer_config_attributes_total",
    "handlers": "mixer_config_handler_configs_total",
    "instances": "mixer_config_instance_configs_total",
    "instance_errors": "mixer_config_instance_config_errors_total",
    "rules": "mixer_config_rule_configs_total",
    "rule_errors": "mixer_config_rule_config_errors_total",
    "match_errors": "mixer_config_rule_config_match_error_total",
    "unsatisfied_actions": "mixer_config_unsatisfied_action_handler_total",
    "handler_validation_errors": "mixer_config_handler_validation_error_total",
    "adapters": "mixer_config_adapter_info_configs_total",
    "adapter_errors": "mixer_config_adapter_info_config_errors_total",
    "templates": "mixer_config_template_configs_total",
    "template_errors": "mixer_config_template_config_errors_total",
    "unreadable": "mixer_config_unreadable_total",
}

_SECONDS = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_NUMBERS = (0, 1, 2, 3, 4, 5, 10, 15, 20, 50, 100, 500, 1000, 5000)
_MILLISECONDS = (0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
_RPC = ("grpc_server_method", "grpc_server_status")
_CALL = ("adapter", "error", "handler", "meshFunction")

# What is counted for every request goes into series of our own: a measurement of the
# OpenTelemetry SDK costs more than the check that it measures.
_PER_REQUEST: Mapping[str, Definition] = {
    each.name: each
    for each in (
        Definition("mixer_runtime_dispatches_total", "Adapter calls", Kind.COUNTER, _CALL),
        Definition(
            "mixer_runtime_dispatch_duration_seconds",
            "Duration of adapter calls",
            Kind.HISTOGRAM,
            _CALL,
            _SECONDS,
        ),
        Definition(
            "mixer_dispatcher_destinations_per_request",
            "Adapter calls of one request",
            Kind.HISTOGRAM,
            (),
            _NUMBERS,
        ),
        Definition(
            "mixer_dispatcher_instances_per_request",
            "Instances made for one request",
            Kind.HISTOGRAM,
            (),
            _NUMBERS,
        ),
        Definition(
            "mixer_runtime_rule_match_errors_total",
            "Matches of rules that failed to evaluate",
            Kind.COUNTER,
            ("rule",),
        ),
        Definition(
            "mixer_handler_workers_total", "Adapter calls that are waited for", Kind.GAUGE, ()
        ),
        Definition(
            "grpc_io_server_completed_rpcs",
            "Calls taken, by method and status",
            Kind.COUNTER,
            _RPC,
        ),
        Definition(
            "grpc_io_server_server_latency",
            "Duration of calls in milliseconds",
            Kind.HISTOGRAM,
            _RPC,
            _MILLISECONDS,
        ),
    )
}
_MAX_SERIES = 10_000
_ONE = (1,)


class Instruments:
    """The instruments, made once per process."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._per_request = Registry(_MAX_SERIES)
        (
            self._dispatches,
            self._dispatch_seconds,
            self._destinations,
            self._instances,
            self._match_errors,
            self._workers,
            self._rpcs,
            self._rpc_milliseconds,
        ) = self._per_request.define(self, _PER_REQUEST).values()
        metrics.gauge("istio_build", "What is running").set(
            1, component="mixer", tag=version("mast-mixer")
        )
        self._config = {
            field: metrics.gauge(name, f"{field.replace('_', ' ')} in the current configuration")
            for field, name in _CONFIG.items()
        }
        self.new_handlers = metrics.counter(
            "mixer_handler_new_handlers_total", "Handlers built for a configuration"
        )
        self.reused_handlers = metrics.counter(
            "mixer_handler_reused_handlers_total", "Handlers kept from the configuration before"
        )
        self.closed_handlers = metrics.counter(
            "mixer_handler_closed_handlers_total", "Handlers closed after their replacement"
        )
        self.build_failures = metrics.counter(
            "mixer_handler_handler_build_failures_total", "Handlers that could not be built"
        )
        self.close_failures = metrics.counter(
            "mixer_handler_handler_close_failures_total", "Handlers that could not be closed"
        )
        self.daemons = metrics.gauge(
            "mixer_handler_daemons_total", "Background tasks of handlers that are running"
        )
        self._per_variety = metrics.gauge(
            "mixer_dispatcher_destinations_per_variety_total",
            "Handler and template pairs in the current routing table",
        )
        self.throttled = metrics.counter(
            "mixer_loadshedding_requests_throttled", "Requests refused because of load"
        )
        self.shed_cost = metrics.counter(
            "mixer_loadshedding_predicted_cost_shed_total", "Cost of the requests refused"
        )
        self._series = metrics.gauge(
            "mixer_prometheus_series", "Series that the prometheus adapter holds"
        )
        self._series_dropped = metrics.counter(
            "mixer_prometheus_series_dropped_total",
            "Updates lost because the prometheus adapter may not hold more series",
        )
        self._dropped = 0
        self._entries = metrics.counter(
            "mixer_access_log_entries_total",
            "Entries of proxies' access logs, by log and by what became of them",
        )
        self._begin()

    def _begin(self) -> None:
        """Tell what has not happened yet as zero: rates need a beginning."""
        for counter in (
            *(self.new_handlers, self.reused_handlers, self.closed_handlers),
            *(self.build_failures, self.close_failures, self.throttled, self.shed_cost),
        ):
            counter.add(0)
        self.daemons.set(0)
        self.waiting(0)
        self.configured(Counts(), {})

    def dispatched(self, destination: Destination, seconds: float, *, failed: bool) -> None:
        """Count an adapter call."""
        error = "true" if failed else "false"
        labels = (destination.adapter, error, destination.fqn, destination.template)
        self._dispatches.add(labels, _ONE, 0.0)
        self._dispatch_seconds.add(labels, (seconds,), 0.0)

    def request(self, *, calls: int, instances: int) -> None:
        """Count a request by the adapter calls and instances that it needed."""
        self._destinations.add((), (calls,), 0.0)
        self._instances.add((), (instances,), 0.0)

    def waiting(self, calls: int) -> None:
        """Tell how many adapter calls are waited for now."""
        self._workers.add((), (calls,), 0.0)

    def served(self, method: str, status: str, seconds: float) -> None:
        """Count a call of one of our gRPC services."""
        labels = (method, status)
        self._rpcs.add(labels, _ONE, 0.0)
        self._rpc_milliseconds.add(labels, (seconds * 1000,), 0.0)

    def match_failed(self, rule: str, times: int) -> None:
        """Count matches of a rule that failed to evaluate (A20)."""
        self._match_errors.add((rule,), (times,), 0.0)

    def entries(self, log: str, outcome: str, number: int) -> None:
        """Count entries of access logs that have arrived."""
        self._entries.add(number, log=log, outcome=outcome)

    def held(self, prometheus: Registry) -> None:
        """Tell how many series the prometheus adapter holds, and what it could not hold."""
        self._series.set(prometheus.size)
        self._series_dropped.add(prometheus.dropped - self._dropped)
        self._dropped = prometheus.dropped

    def render(self) -> str:
        """All metrics in the Prometheus text format."""
        return self._metrics.render() + self._per_request.render()

    def configured(self, counts: Counts, destinations: Mapping[str, int]) -> None:
        """Tell how many objects the configuration has, and destinations by variety."""
        for field, gauge in self._config.items():
            gauge.set(getattr(counts, field))
        for variety, number in destinations.items():
            self._per_variety.set(number, variety=variety)
