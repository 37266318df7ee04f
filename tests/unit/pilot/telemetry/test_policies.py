"""Telemetry objects of several levels, merged (pilot.md K5)."""

from datetime import timedelta

import pytest

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from istio.telemetry.v1alpha1.telemetry_pb2 import Telemetry
from mast.pilot.core.filters.extensions import Direction
from mast.pilot.core.telemetry.policies import (
    FILE,
    SERVICE,
    Logger,
    loggers,
    measures,
    named_providers,
    traces,
)
from tests.support.messages import made

OUT, IN = Direction.OUTBOUND, Direction.INBOUND


def levels(*texts: str) -> list[Telemetry]:
    return [made(Telemetry, text) for text in texts]


def logged(mesh: str, direction: Direction, *texts: str) -> list[str]:
    found = loggers(levels(*texts), made(MeshConfig, mesh), direction)
    return [f"{each.provider}?{each.filter}" if each.filter else each.provider for each in found]


@pytest.mark.parametrize(
    ("mesh", "texts", "expected"),
    [
        pytest.param("{}", [], [], id="nothing"),
        pytest.param("{accessLogFile: /a}", [], [FILE], id="file"),
        pytest.param("{enableEnvoyAccessLogService: true}", [], [SERVICE], id="service"),
        pytest.param(
            "{accessLogFile: /a, defaultProviders: {accessLogging: [b, a]}}",
            [],
            ["a", "b"],
            id="defaults-replace-the-file",
        ),
        pytest.param(
            "{accessLogFile: /a}", ["accessLogging: [{disabled: true}]"], [], id="file-off"
        ),
        pytest.param(
            "{accessLogFile: /a}",
            ["accessLogging: [{filter: {expression: x}}]"],
            [f"{FILE}?x"],
            id="file-filtered",
        ),
        pytest.param(
            "{accessLogFile: /a}",
            ["accessLogging: [{providers: [{name: b}]}]"],
            ["b"],
            id="providers-replace-the-file",
        ),
        pytest.param(
            "{}",
            [
                "accessLogging: [{providers: [{name: a}]}]",
                "accessLogging: [{providers: [{name: b}, {name: c}]}]",
                "accessLogging: [{filter: {expression: x}}]",
            ],
            ["b?x", "c?x"],
            id="last-level-with-providers",
        ),
        pytest.param(
            "{}",
            ["accessLogging: [{providers: [{name: a}, {name: b}]}, {providers: [{name: a}],"
             " disabled: true}]"],
            ["b"],
            id="one-off",
        ),
        pytest.param(
            "{}",
            ["accessLogging: [{providers: [{name: a}]}]",
             "accessLogging: [{disabled: true}]",
             "accessLogging: [{disabled: false}]"],
            ["a"],
            id="on-again",
        ),
    ],
)  # fmt: skip
def test_loggers(mesh: str, texts: list[str], expected: list[str]) -> None:
    assert logged(mesh, OUT, *texts) == expected


def test_loggers_by_role() -> None:
    text = """accessLogging:
    - {providers: [{name: a}], match: {mode: CLIENT}}
    - {providers: [{name: b}], match: {mode: SERVER}, filter: {expression: x}}"""
    assert logged("{accessLogFile: /f}", OUT, text) == ["a"]
    assert logged("{accessLogFile: /f}", IN, text) == ["b?x"]
    other = "accessLogging: [{providers: [{name: a}], match: {mode: CLIENT}}]"
    assert logged("{accessLogFile: /f}", IN, other) == [FILE]
    assert Logger(provider="a").filter == ""


def test_traces() -> None:
    mesh = made(MeshConfig, "{}")
    assert traces([], mesh, OUT) is None
    found = traces(
        levels(
            "tracing: [{providers: [{name: a}], randomSamplingPercentage: 5, customTags:"
            " {x: {literal: {value: '1'}}}, enableIstioTags: false}]",
            "tracing: [{randomSamplingPercentage: 0, useRequestIdForTraceSampling: false},"
            " {match: {mode: SERVER}, disableSpanReporting: true}]",
            "tracing: [{customTags: {y: {header: {name: h}}}}]",
        ),
        mesh,
        OUT,
    )
    assert found is not None
    assert (found.provider, found.sampling, found.reported) == ("a", 0, True)
    assert (found.istio_tags, found.request_ids_tell) == (False, False)
    assert found.tags.keys() == {"y"}, "the narrower level's tags replace those of others"


def test_traces_by_role_and_default() -> None:
    mesh = made(MeshConfig, "defaultProviders: {tracing: [z, y]}")
    found = traces([], mesh, IN)
    assert found is not None
    assert (found.provider, found.sampling) == ("z", None)
    off = levels("tracing: [{match: {mode: SERVER}, disableSpanReporting: true}]")
    assert [bool(each and each.reported) for each in (traces(off, mesh, d) for d in (OUT, IN))] == [
        True,
        False,
    ]


def test_measures() -> None:
    found = measures(
        levels(
            "metrics: [{reportingInterval: 7s, overrides: [{disabled: true},"
            " {match: {metric: REQUEST_COUNT}, disabled: false}]}]",
            "metrics: [{overrides: ["
            "{match: {metric: REQUEST_COUNT, mode: CLIENT},"
            " tagOverrides: {a: {value: x}, b: {operation: REMOVE}}},"
            "{match: {customMetric: istio_own}, disabled: true},"
            "{match: {customMetric: other, mode: SERVER}, disabled: true}]}]",
        ),
        OUT,
    )
    assert found.interval == timedelta(seconds=7)
    assert {"istio_own", "istio_tcp_sent_bytes_total"} <= found.disabled
    assert {"istio_requests_total", "istio_other"}.isdisjoint(found.disabled)
    assert found.tags == {"istio_requests_total": {"a": "x", "b": None}}


def test_durations_count_in_seconds_and_milliseconds() -> None:
    text = "metrics: [{overrides: [{match: {metric: REQUEST_DURATION}, disabled: true}]}]"
    assert measures(levels(text), IN).disabled == {
        "istio_request_duration_seconds",
        "istio_request_duration_milliseconds",
    }


def test_named_providers() -> None:
    (spec,) = levels(
        "{accessLogging: [{providers: [{name: a}]}], tracing: [{providers: [{name: b}]}],"
        " metrics: [{providers: [{name: c}]}]}"
    )
    assert list(named_providers(spec)) == ["a", "b", "c"]
