"""What docs/mixer-operations.md says of flags and metrics is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from mast.common.process.telemetry import Metrics
from mast.mixer.config import Config, Probe
from mast.mixer.istio_flags import translated
from mast.mixer.runtime.instruments import Instruments
from tests.unit.mixer.test_instruments import AT_ONCE, WITH_REQUESTS

PAGE = (Path(__file__).parents[3] / "docs" / "mixer-operations.md").read_text()
OF_MASTCTL = {"policy", "telemetry", "findings", "help"}
SHORTENED = "mixer_config_…_errors_total"


def test_flags_exist() -> None:
    ours = {
        field.name.replace("_", "-")
        for settings in (Config, Probe)
        for field in dataclasses.fields(settings)
    }
    words = set(re.findall(r"--([a-zA-Z][a-zA-Z-]*)", PAGE)) - OF_MASTCTL
    istio = {word for word in words if word not in ours}
    assert istio, "those of mixs"
    for word in istio:
        value = "mcp://a" if word == "configStoreURL" else "1"
        found = translated([f"--{word}={value}"])
        assert found.without_effect or set(found.flags) & {f"--{each}" for each in ours}, word


def test_metrics_exist() -> None:
    series = {"mixer_prometheus_series", "mixer_prometheus_series_dropped_total"}
    known = {name.removesuffix("_count") for name in (AT_ONCE + WITH_REQUESTS).split()} | series
    instruments = Instruments(Metrics("mixer"))
    instruments.entries("http", "taken", 1)
    known |= set(re.findall(r"^# TYPE (\S+)", instruments.render(), re.MULTILINE))
    told = set(re.findall(r"\b(?:mixer|grpc_io_server)_\w+", PAGE.replace(SHORTENED, "")))
    assert told - known == set()
