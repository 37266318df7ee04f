"""Single values: what is allowed at the limits (galley-and-kubernetes.md B1)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st

from mast.galley.core.rules import values


def seconds(whole: int, nanos: int = 0) -> Duration:
    return Duration(seconds=whole, nanos=nanos)


@pytest.mark.parametrize(
    ("check", "value", "complaint"),
    [
        pytest.param(values.duration, seconds(9_223_372_035), "", id="longest"),
        pytest.param(
            values.duration,
            seconds(9_223_372_036),
            "duration 9223372036s is too long; allowed: up to 9223372035s",
            id="longer-than-envoy-counts",
        ),
        pytest.param(
            values.whole_seconds,
            seconds(9_223_372_036),
            "duration 9223372036s is too long; allowed: up to 9223372035s",
            id="too-many-whole-seconds",
        ),
        pytest.param(values.keepalive, seconds(32_767), "", id="longest-keepalive"),
        pytest.param(
            values.keepalive,
            seconds(32_767, 1_000_000),
            "duration 32767.001s is too long for the kernel; allowed: 1ms to 32767s",
            id="long-keepalive",
        ),
        pytest.param(
            values.keepalive,
            seconds(0),
            "duration 0s is too short; allowed: 1ms or more",
            id="no-keepalive",
        ),
        pytest.param(values.keepalive_probes, 127, "", id="most-probes"),
        pytest.param(
            values.keepalive_probes,
            128,
            "128 probes are too many for the kernel; allowed: 0 to 127",
            id="many-probes",
        ),
        pytest.param(values.token, "x" * 16_384, "", id="longest-header-name"),
        pytest.param(
            values.token,
            "x" * 16_385,
            "header name has 16385 characters; allowed: 16384",
            id="long-header-name",
        ),
        pytest.param(values.header_value, "%%" * 4_096, "", id="longest-header-value"),
        pytest.param(
            values.header_value,
            "é" * 8_193,
            "header value has 16386 bytes, with %% for %; allowed: 16384",
            id="long-header-value",
        ),
        pytest.param(values.header_text, "/a b?c=é\t%", "", id="header-text"),
        pytest.param(
            values.header_text, "a\r\nb: c", r"'a\r\nb: c' has control characters", id="two-headers"
        ),
        pytest.param(values.query_parameter, "a b", "", id="query-parameter"),
        pytest.param(
            values.query_parameter,
            "",
            "query parameter has 0 bytes; allowed: 1 to 1024",
            id="no-query-parameter",
        ),
        pytest.param(
            values.query_parameter,
            "é" * 513,
            "query parameter has 1026 bytes; allowed: 1 to 1024",
            id="long-query-parameter",
        ),
        pytest.param(values.unix, f"unix:///{'a' * 106}", "", id="longest-socket"),
        pytest.param(
            values.unix,
            f"unix:///{'é' * 54}",
            f"socket {'/' + 'é' * 54!r} is longer than 107 bytes",
            id="long-socket",
        ),
        pytest.param(values.unix, "unix://@a\0b", r"'unix://@a\x00b' has a zero byte", id="zero"),
        pytest.param(values.unix, "unix:///a/", "'unix:///a/' ends with '/': not a socket", id="/"),
        pytest.param(
            values.regex,
            r"a\x{100}",
            r"'a\\x{100}' is not an RE2 regular expression: invalid escape sequence: \x{100",
            id="character-that-is-no-byte",
        ),
        pytest.param(values.regex, "[é-ÿ]+", "", id="bytes-of-characters"),
        pytest.param(values.regex, "(?:abcdefghijk){1000}", "", id="large-regex"),
        pytest.param(
            values.regex,
            f"(?:{'a' * 33}){{1000}}",
            f"'(?:{'a' * 33}){{1000}}' is too large a regular expression: "
            "33004 instructions; allowed: 32768",
            id="larger-regex",
        ),
    ],
)
def test_value(check: values.Check, value: Any, complaint: str) -> None:
    assert (check(value) or "") == complaint


def test_a_keepalive_of_nanoseconds_is_too_short() -> None:
    value = Duration()
    value.FromTimedelta(timedelta(microseconds=1))
    assert values.keepalive(value) == "duration 0.000001s is too short; allowed: 1ms or more"


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("080", 80), ("999999999", 999_999_999), ("1" * 10, None), ("9" * 5000, None),
     ("", None), ("-1", None), ("1.0", None), ("²", None), ("٣", None), ("1\n", None)],
)  # fmt: skip
def test_digits(text: str, number: int | None) -> None:
    assert values.digits(text) == number


def test_what_is_too_long_for_a_host_covers_nothing() -> None:
    long = "a." * 128 + "com"
    known = values.Hosts([long, "*.com"])
    assert (known.covering(long), known.covered(long), known.covering("b.com")) == (
        None, None, "*.com",
    )  # fmt: skip


HOSTS = st.builds(
    lambda wildcard, labels: ".".join([*(["*"] if wildcard else []), *labels]),
    st.booleans(),
    st.lists(st.sampled_from(["a", "b", "A"]), max_size=3),
).filter(bool)


@given(st.lists(HOSTS, max_size=6), HOSTS)
def test_hosts_cover_as_each_of_them_does(hosts: list[str], host: str) -> None:
    known = values.Hosts(hosts)
    above = [each for each in hosts if values.covers(each, host)]
    related = above + [each for each in hosts if values.covers(host, each)]
    assert known.covering(host) in (above or [None])
    assert (known.covering(host) or known.covered(host)) in (related or [None])
