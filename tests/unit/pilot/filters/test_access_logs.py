"""Formats of access logs, and their conditions (pilot.md E17)."""

import pytest
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter

from istio.mesh.v1alpha1.config_pb2 import MeshConfig
from mast.pilot.core.filters.access_logs import (
    TEXT_FORMAT,
    file_log,
    filtered,
    mesh_file_log,
    unrouted,
)
from tests.support.messages import made, plain


def test_text_format() -> None:
    assert TEXT_FORMAT == (
        '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"'
        " %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%"
        ' %CONNECTION_TERMINATION_DETAILS% "%UPSTREAM_TRANSPORT_FAILURE_REASON%"'
        " %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"
        ' "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%"'
        ' "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS%'
        " %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME%"
        " %ROUTE_NAME%\n"
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param("{}", TEXT_FORMAT, id="default"),
        pytest.param("accessLogFormat: '%PROTOCOL% '", "%PROTOCOL% ", id="own"),
        pytest.param("accessLogFormat: '5% %NOPE%'", "5%% %%NOPE%%", id="no-commands"),
    ],
)
def test_text(config: str, expected: str) -> None:
    inner = config.strip("{}")
    logger = mesh_file_log(made(MeshConfig, f"{{accessLogFile: /dev/stdout, {inner}}}"))
    found = plain(logger)["typed_config"]
    assert found["path"] == "/dev/stdout"
    assert found["log_format"] == {"text_format_source": {"inline_string": expected}}


@pytest.mark.parametrize(
    ("written", "keys"),
    [
        pytest.param("", 24, id="default"),
        pytest.param('{"a": "%PROTOCOL%", "b": {"c": "%DURATION%"}}', 2, id="own"),
        pytest.param('{"a": [{"b": "%NOPE% %PROTOCOL%"}, 1, null]}', 1, id="no-command"),
        pytest.param("not json", 24, id="no-json"),
        pytest.param("[1]", 24, id="no-object"),
    ],
)
def test_json(written: str, keys: int) -> None:
    config = MeshConfig(
        access_log_file="/tmp/log",  # noqa: S108 - only named
        access_log_encoding=MeshConfig.JSON,
        access_log_format=written,
    )
    fields = plain(mesh_file_log(config))["typed_config"]["log_format"]["json_format"]
    assert len(fields) == keys
    if keys == 1:
        assert fields == {"a": [{"b": "%%NOPE%% %PROTOCOL%"}, 1, None]}
    if keys == 24:
        assert fields["path"] == "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"
        assert fields["upstream_cluster"] == "%UPSTREAM_CLUSTER_RAW%"


def test_what_has_no_value_can_be_left_out() -> None:
    found = plain(file_log("/dev/stdout", labels={"b": "%PROTOCOL%"}, omit_empty=True))
    assert found["log_format"] == {"json_format": {"b": "%PROTOCOL%"}, "omit_empty_values": True}


def test_listeners_log_connections_without_a_chain() -> None:
    logger = AccessLog(name="log")
    assert plain(unrouted(logger))["filter"] == {"response_flag_filter": {"flags": ["NR"]}}
    assert not logger.HasField("filter")


def test_conditions_add_up() -> None:
    condition = AccessLogFilter()
    condition.not_health_check_filter.SetInParent()
    found = plain(filtered(unrouted(AccessLog()), condition))["filter"]
    assert found["and_filter"]["filters"] == [
        {"not_health_check_filter": {}},
        {"response_flag_filter": {"flags": ["NR"]}},
    ]
