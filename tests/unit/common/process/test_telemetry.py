"""Metrics: names stay exactly as given, the text is what Prometheus parses."""

import json

import pytest
import structlog

from mast.common.process.telemetry import Metrics, configure_logging


def test_counter_keeps_its_exact_name() -> None:
    metrics = Metrics("test")
    pushes = metrics.counter("pilot_xds_pushes", "Pushes.")
    pushes.add(type="cds")
    pushes.add(2, type="cds")
    assert metrics.render().splitlines() == [
        "# HELP pilot_xds_pushes Pushes.",
        "# TYPE pilot_xds_pushes counter",
        'pilot_xds_pushes{type="cds"} 3',
    ]


def test_gauge_is_set_not_summed() -> None:
    metrics = Metrics("test")
    services = metrics.gauge("pilot_services")
    services.set(5)
    services.set(3)
    assert metrics.render().splitlines()[-1] == "pilot_services 3"


def test_histogram_buckets_are_cumulative() -> None:
    metrics = Metrics("test", default_buckets=(1, 2))
    seconds = metrics.histogram("push_time")
    for value in (0.5, 1.5, 9):
        seconds.record(value)
    assert metrics.render().splitlines() == [
        "# TYPE push_time histogram",
        'push_time_bucket{le="1"} 1',
        'push_time_bucket{le="2"} 2',
        'push_time_bucket{le="+Inf"} 3',
        "push_time_sum 11",
        "push_time_count 3",
    ]


def test_label_values_are_escaped() -> None:
    metrics = Metrics("test")
    metrics.counter("errors").add(reason='a "b"\\\n')
    assert 'reason="a \\"b\\"\\\\\\n"' in metrics.render()


def test_nothing_measured_renders_nothing() -> None:
    assert Metrics("test").render() == ""


def test_logs_are_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("pilot", "info", "json")
    try:
        log = structlog.get_logger()
        log.debug("push.skipped")
        log.info("push.sent", resources=3)
    finally:
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
    (line,) = capsys.readouterr().out.splitlines()
    event = json.loads(line)
    assert {k: event[k] for k in ("event", "resources", "level", "service")} == {
        "event": "push.sent",
        "resources": 3,
        "level": "info",
        "service": "pilot",
    }


@pytest.mark.parametrize(("level", "format"), [("loud", "json"), ("info", "xml")])
def test_bad_logging_settings_name_what_is_allowed(level: str, format: str) -> None:
    with pytest.raises(ValueError, match="allowed: "):
        configure_logging("pilot", level, format)
