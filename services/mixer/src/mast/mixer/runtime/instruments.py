"""Mixer's own metrics, with Istio's names (mixer.md I)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mast.common.telemetry import Metrics
from mast.mixer.core.config.snapshot import Counts

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
}

_SECONDS = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_NUMBERS = (0, 1, 2, 3, 4, 5, 10, 15, 20, 50, 100, 500, 1000, 5000)

DISPATCH_SECONDS = "mixer_runtime_dispatch_duration_seconds"
DESTINATIONS = "mixer_dispatcher_destinations_per_request"
INSTANCES = "mixer_dispatcher_instances_per_request"

BUCKETS: dict[str, Sequence[float]] = {
    DISPATCH_SECONDS: _SECONDS,
    DESTINATIONS: _NUMBERS,
    INSTANCES: _NUMBERS,
}


class Instruments:
    """The instruments, made once per process."""

    def __init__(self, metrics: Metrics) -> None:
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
        self.workers = metrics.gauge(
            "mixer_handler_workers_total", "Background tasks of handlers that are running"
        )
        self.dispatches = metrics.counter("mixer_runtime_dispatches_total", "Adapter calls")
        self.dispatch_seconds = metrics.histogram(DISPATCH_SECONDS, "Duration of adapter calls")
        self.destinations = metrics.histogram(DESTINATIONS, "Adapter calls of one request")
        self.instances = metrics.histogram(INSTANCES, "Instances made for one request")
        self.match_errors = metrics.counter(
            "mixer_runtime_rule_match_errors_total", "Matches of rules that failed to evaluate"
        )
        self.throttled = metrics.counter(
            "mixer_loadshedding_requests_throttled", "Requests refused because of load"
        )
        self.shed_cost = metrics.counter(
            "mixer_loadshedding_predicted_cost_shed_total", "Cost of the requests refused"
        )
        self.series = metrics.gauge(
            "mixer_prometheus_series", "Series that the prometheus adapter holds"
        )
        self.series_dropped = metrics.gauge(
            "mixer_prometheus_series_dropped_total",
            "Updates lost because the prometheus adapter may not hold more series",
        )

    def configured(self, counts: Counts) -> None:
        """Tell how many objects the current configuration has."""
        for field, gauge in self._config.items():
            gauge.set(getattr(counts, field))
