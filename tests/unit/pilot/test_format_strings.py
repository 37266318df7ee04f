"""Header values and log formats with percent signs."""

import re
from pathlib import Path

import pytest
from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, Route, RouteMatch
from hypothesis import given
from hypothesis import strategies as st

from mast.pilot.core.filters.header_operations import ADD, header_addition
from mast.pilot.core.format_strings import COMMANDS, COMMANDS_OF_SOMETHING, format_string
from tests.support.envoy_server import validate
from tests.support.envoy_static import answering_listener, bootstrap


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("100%", "100%%"),
        ("50% off", "50%% off"),
        ("100%%", "100%%"),
        ("%UNKNOWN%", "%%UNKNOWN%%"),
        ("%REQ(", "%%REQ("),
        ("%REQ()%", "%%REQ()%%"),
        ("%REQ(:path)%", "%REQ(:path)%"),
        ("%REQ(X?Y):10%", "%REQ(X?Y):10%"),
        ("%PROTOCOL%", "%PROTOCOL%"),
        ("%PROTOCOL()%", "%%PROTOCOL()%%"),
        ("%REQ(X?Y?Z)%", "%%REQ(X?Y?Z)%%"),
        ("%REQ(é)%", "%%REQ(é)%%"),
        ("%RESP(a b)%", "%%RESP(a b)%%"),
        ("%REQ(X):1234567890%", "%%REQ(X):1234567890%%"),
        ("%FILTER_STATE(a.b)%", "%FILTER_STATE(a.b)%"),
        ("%FILTER_STATE(a:PLAIN):9%", "%FILTER_STATE(a:PLAIN):9%"),
        ("%FILTER_STATE(a:FIELD:b)%", "%FILTER_STATE(a:FIELD:b)%"),
        ("%FILTER_STATE(a:OTHER)%", "%%FILTER_STATE(a:OTHER)%%"),
        ("%PER_REQUEST_STATE(a.b)%", "%FILTER_STATE(a.b:PLAIN)%"),
        ('%UPSTREAM_METADATA(["a.b", "c"])%', "%UPSTREAM_METADATA(a.b:c)%"),
        ('x%DYNAMIC_METADATA(["a"])%y', "x%DYNAMIC_METADATA(a)%y"),
        ("%DYNAMIC_METADATA([1])%", "%DYNAMIC_METADATA([1])%"),
        ("%DURATION:3%", "%DURATION:3%"),
        ("%START_TIME(%Y-%m-%d)%", "%START_TIME(%Y-%m-%d)%"),
        ("%START_TIME%", "%START_TIME%"),
        ("a%PROTOCOL%b%c", "a%PROTOCOL%b%%c"),
        ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ("%DOWNSTREAM_DIRECT_REMOTE_PORT%", "%DOWNSTREAM_DIRECT_REMOTE_PORT%"),
    ],
)
def test_format_string(text: str, expected: str) -> None:
    assert format_string(text) == expected


@given(st.text(alphabet="%ABREQ()x:1"))
def test_what_is_no_command_is_text(text: str) -> None:
    """Without commands the value that Envoy makes of it is the text."""
    if not re.search(r"%%|%[A-Z_]+(\(.+?\))?(:\d+)?%", text):
        assert format_string(text).replace("%%", "%") == text


def test_envoy_knows_every_command(tmp_path: Path) -> None:
    values = [f"%{each}%" for each in sorted(COMMANDS)]
    values += [f"%{each}(a)%" for each in sorted(COMMANDS_OF_SOMETHING)]
    values += [f"{each} 50% %NOTHING% %REQ( %" for each in values[:3]]
    route = Route(
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(status=200),
        request_headers_to_add=[
            header_addition(f"x-{number}", value, ADD) for number, value in enumerate(values)
        ],
    )
    validate(bootstrap([answering_listener([route])], []), tmp_path)
