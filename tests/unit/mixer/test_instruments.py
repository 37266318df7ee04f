"""Mixer's metrics about itself have Istio's names (mixer.md I, metrics)."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from mast.common.process.telemetry import Metrics
from mast.mixer.core.config.snapshot import Counts
from mast.mixer.core.series import Registry
from mast.mixer.runtime.instruments import Instruments
from tests.support.scrape import scraped

AT_ONCE = """
mixer_config_attributes_total mixer_config_handler_configs_total
mixer_config_instance_configs_total mixer_config_instance_config_errors_total
mixer_config_rule_configs_total mixer_config_rule_config_errors_total
mixer_config_rule_config_match_error_total mixer_config_adapter_info_configs_total
mixer_config_adapter_info_config_errors_total mixer_config_template_configs_total
mixer_config_template_config_errors_total mixer_config_unsatisfied_action_handler_total
mixer_config_handler_validation_error_total mixer_handler_new_handlers_total
mixer_handler_reused_handlers_total mixer_handler_closed_handlers_total
mixer_handler_handler_build_failures_total mixer_handler_handler_close_failures_total
mixer_handler_workers_total mixer_handler_daemons_total mixer_loadshedding_requests_throttled
mixer_loadshedding_predicted_cost_shed_total
"""
WITH_REQUESTS = """
mixer_runtime_dispatches_total mixer_runtime_dispatch_duration_seconds_count
mixer_dispatcher_destinations_per_request_count mixer_dispatcher_instances_per_request_count
mixer_dispatcher_destinations_per_variety_total mixer_runtime_rule_match_errors_total
grpc_io_server_completed_rpcs grpc_io_server_server_latency_count
"""
SAMPLE = re.compile(r"^(\w+)(?:\{.*\})? (\S+)$", re.MULTILINE)


def samples(instruments: Instruments) -> dict[str, float]:
    return {name: float(value) for name, value in SAMPLE.findall(instruments.render())}


@pytest.fixture
def instruments() -> Instruments:
    return Instruments(Metrics("mixer"))


@pytest.mark.parametrize("name", AT_ONCE.split())
def test_what_has_not_happened_is_zero(instruments: Instruments, name: str) -> None:
    assert samples(instruments)[name] == 0


def test_the_build_is_told(instruments: Instruments) -> None:
    assert re.search(
        r'^istio_build\{component="mixer",tag="[^"]+"\} 1$', instruments.render(), re.M
    )


@pytest.mark.parametrize("name", WITH_REQUESTS.split())
def test_requests_are_measured(instruments: Instruments, name: str) -> None:
    destination = SimpleNamespace(adapter="denier", fqn="deny.handler.ns", template="checknothing")
    instruments.dispatched(destination, 0.003, failed=False)  # type: ignore[arg-type]
    instruments.request(calls=1, instances=1)
    instruments.match_failed("r.rule.ns", 1)
    instruments.served("istio.mixer.v1.Mixer/Check", "OK", 0.004)
    instruments.configured(Counts(), {"CHECK": 1})
    assert samples(instruments)[name] == 1
    called = 'adapter="denier",error="false",handler="deny.handler.ns",meshFunction="checknothing"'
    assert f"mixer_runtime_dispatches_total{{{called}}} 1" in instruments.render()


def test_series_that_are_held_and_dropped_are_told(instruments: Instruments) -> None:
    registry = Registry(1)
    instruments.held(registry)
    found = samples(instruments)
    assert found["mixer_prometheus_series"] == 0
    assert found["mixer_prometheus_series_dropped_total"] == 0
    for number in range(3):
        registry.admit((str(number),))
        instruments.held(registry)
    found = samples(instruments)
    assert found["mixer_prometheus_series"] == 1
    assert found["mixer_prometheus_series_dropped_total"] == 2


def test_entries_of_access_logs_are_counted(instruments: Instruments) -> None:
    for _ in range(2):
        instruments.entries("http", "taken", 3)
    instruments.entries("tcp", "shed", 1)
    found = scraped(instruments.render())
    assert {
        (labels, value)
        for (name, labels), value in found.items()
        if name == "mixer_access_log_entries_total"
    } == {
        (frozenset({("log", "http"), ("outcome", "taken")}), 6),
        (frozenset({("log", "tcp"), ("outcome", "shed")}), 1),
    }
