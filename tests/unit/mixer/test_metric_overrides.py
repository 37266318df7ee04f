"""What Telemetry objects say of metrics, on its way through access logs (pilot.md K5)."""

from __future__ import annotations

import pytest

from mast.mixer.core.metric_overrides import (
    ATTRIBUTE,
    NO_OVERRIDES,
    MetricOverrides,
    overrides_of,
    put_overrides,
)
from mast.mixer.core.values import Value

TOLD = '{"disabled":["a"],"labels":{"b":{"x":0,"y":10,"z":null}}}'


def read(tags: dict[str, str]) -> MetricOverrides:
    found: dict[str, Value] = {}
    put_overrides(found, tags)
    return overrides_of(found.get)


def test_values_by_number() -> None:
    """Envoy leaves out tags without a value; numbers do not move then."""
    tags = {"telemetry": TOLD, "telemetry.10": "ten=10", "telemetry.1": "one", "other": "tag"}
    assert read(tags) == MetricOverrides(frozenset({"a"}), {"b": {"x": "", "y": "ten=10", "z": ""}})


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({}, id="none"),
        pytest.param({"telemetry.0": "x"}, id="values-only"),
        pytest.param({"telemetry": "no json"}, id="no-json"),
        pytest.param({"telemetry": "[]"}, id="no-object"),
        pytest.param({"telemetry": '{"disabled": [], "labels": {"a": 1}}'}, id="no-labels"),
    ],
)
def test_nothing_said(tags: dict[str, str]) -> None:
    assert read(tags) == NO_OVERRIDES


def test_records_that_say_the_same_are_equal() -> None:
    first: dict[str, Value] = {}
    second: dict[str, Value] = {}
    put_overrides(first, {"telemetry": TOLD, "telemetry.1": "a", "telemetry.0": "b"})
    put_overrides(second, {"telemetry.0": "b", "telemetry.1": "a", "telemetry": TOLD})
    assert first[ATTRIBUTE] == second[ATTRIBUTE]
