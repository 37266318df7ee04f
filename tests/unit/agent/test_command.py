"""Envoy's command line and log lines (citadel-and-agent.md B6)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mast.agent.core.command import Launch, arguments, log_levels
from mast.agent.core.envoy_log import LogLine, log_line
from mast.agent.core.proxy_config import merged

LAUNCH = Launch(binary="/envoy", bootstrap="b.json")


def test_defaults() -> None:
    assert " ".join(arguments(LAUNCH, merged({}))) == (
        "/envoy -c b.json --drain-time-s 45 --drain-strategy immediate"
        " --local-address-ip-version v4 --file-flush-interval-msec 1000 --file-flush-min-size-kb 64"
        " --disable-hot-restart --allow-unknown-static-fields -l warning"
        " --component-log-level misc:error --skip-deprecated-logs"
    )


def test_everything_else() -> None:
    launch = Launch(
        binary="/envoy",
        bootstrap="b.json",
        ipv6_only=True,
        log_level="debug",
        component_log_level="http:info",
        concurrency=2,
        override="{}",
    )
    config = merged(
        {"x": {"drainDuration": "7s", "fileFlushInterval": "0.5s", "fileFlushMinSizeKb": 9}}
    )
    line = " ".join(arguments(launch, config))
    assert "--drain-time-s 7" in line
    assert "--local-address-ip-version v6" in line
    assert "--file-flush-interval-msec 500 --file-flush-min-size-kb 9" in line
    assert "-l debug --component-log-level http:info" in line
    assert line.endswith("--concurrency 2 --config-yaml {}")


@pytest.mark.parametrize(
    ("text", "components", "wanted"),
    [
        pytest.param("info", "misc:error", ("info", "misc:error"), id="apart"),
        pytest.param("info,http:debug", "misc:error", ("info", "http:debug"), id="together"),
        pytest.param("http:debug,rbac:debug", "", ("warning", "http:debug,rbac:debug"), id="only"),
        pytest.param("", "", ("warning", ""), id="neither"),
    ],
)
def test_log_levels(text: str, components: str, wanted: tuple[str, str]) -> None:
    assert log_levels(text, components) == wanted


def test_switches_of_variables() -> None:
    """ENVOY_SKIP_DEPRECATED_LOGS and ISTIO_ENVOY_ENABLE_CORE_DUMP."""
    launch = replace(LAUNCH, skip_deprecated_logs=False, core_dump=True, component_log_level="")
    line = arguments(launch, merged({}))
    assert "--skip-deprecated-logs" not in line
    assert "--component-log-level" not in line
    assert "--enable-core-dump" in line


@pytest.mark.parametrize(
    ("host_ip", "text", "wanted"),
    [
        ("10.0.0.1", "a: $(HOST_IP):1", "a: 10.0.0.1:1"),
        ("fd00::1", "a: $(HOST_IP):1", "a: [fd00::1]:1"),
        ("fd00::1", "a: [$(HOST_IP)]:1", "a: [fd00::1]:1"),
    ],
)
def test_the_nodes_address_in_an_override(host_ip: str, text: str, wanted: str) -> None:
    launch = replace(LAUNCH, override=text, host_ip=host_ip)
    assert arguments(launch, merged({}))[-1] == wanted


def test_zero_threads_are_one_per_core() -> None:
    launch = Launch(binary="/envoy", bootstrap="b.json", concurrency=0)
    assert "--concurrency" not in arguments(launch, merged({}))


ENTRY = {"level": "error", "logger": "upstream", "message": "m", "source": "f.cc:1", "thread": "9"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            json.dumps(ENTRY),
            LogLine("error", {k: v for k, v in ENTRY.items() if k != "level"}),
            id="entry",
        ),
        pytest.param(
            '{"level":"critical","logger":"x","message":"m"}',
            LogLine("error", {"logger": "x", "message": "m"}),
            id="critical-is-an-error",
        ),
        pytest.param(
            '{"logger":"x","message":"m"}',
            LogLine("info", {"logger": "x", "message": "m"}),
            id="no-level",
        ),
        pytest.param('{"path":"/"}', LogLine("info", {"line": '{"path":"/"}'}), id="access-log"),
        pytest.param("{broken", LogLine("info", {"line": "{broken"}), id="broken"),
        pytest.param("plain", LogLine("info", {"line": "plain"}), id="plain"),
    ],
)
def test_log_lines(text: str, line: LogLine) -> None:
    assert log_line(text) == line
