"""Attribute values as text (mixer.md A4, F3, E4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mast.mixer.core.values import (
    Duration,
    Timestamp,
    Value,
    duration_text,
    float_text,
    ip_text,
    parse_duration,
    same,
    same_ip,
    short_float_text,
    short_ip,
    text,
)
from tests.support.mixer_vectors import value, vectors


@pytest.mark.parametrize("case", vectors("stringify"))
def test_conformance_text(case: Any) -> None:
    assert text(value(case["value"])) == case["expected"]


def _side(described: Any) -> Value | None:
    if described and described["t"] == "stringify":
        return text(value(described["of"]))
    return value(described)


@pytest.mark.parametrize("case", vectors("string_equals"))
def test_conformance_same(case: Any) -> None:
    left, right = _side(case["a"]), _side(case["b"])
    assert same(left, right) is case["expected"]
    assert same(right, left) is case["expected"]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        pytest.param("05", 5, True, id="integers-by-value"),
        pytest.param("+5", 5, True, id="sign"),
        pytest.param("-05", -5, True, id="negative"),
        pytest.param("9" * 5000, 5, False, id="too-many-digits"),
        pytest.param("5.0", 5, False, id="no-integer"),
        pytest.param("60s", Duration(60 * 10**9), True, id="durations-by-value"),
        pytest.param("minute", Duration(60 * 10**9), False, id="no-duration"),
        pytest.param("::1", bytes(15) + b"\x01", True, id="addresses-as-text"),
        pytest.param("true", True, True, id="bool"),
        pytest.param("1", True, False, id="bool-is-no-integer"),
        pytest.param(1, True, False, id="types-differ"),
        pytest.param(1, 1.0, False, id="int-is-not-float"),
        pytest.param("", None, True, id="absent-is-empty"),
        pytest.param("", 0, False, id="zero-is-not-empty"),
        pytest.param(None, Duration(0), False, id="absent-is-no-duration"),
    ],
)
def test_same(left: Value | None, right: Value | None, expected: bool) -> None:
    assert same(left, right) is expected


@pytest.mark.parametrize(
    ("literal", "ns"),
    [
        ("0", 0),
        ("-0", 0),
        ("+0", 0),
        ("19ms", 19_000_000),
        ("1h30m", 5_400_000_000_000),
        ("-2s", -2_000_000_000),
        ("+5s", 5_000_000_000),
        ("1.5s", 1_500_000_000),
        (".5s", 500_000_000),
        ("2.s", 2_000_000_000),
        ("1us", 1000),
        ("1µs", 1000),
        ("1μs", 1000),
        ("1ns", 1),
        ("2h45m10.5s", 9_910_500_000_000),
        ("9223372036854775807ns", 2**63 - 1),
        ("0" * 5000 + "7s", 7_000_000_000),
        ("1." + "5" * 5000 + "s", 1_555_555_555),
    ],
)
def test_durations(literal: str, ns: int) -> None:
    assert parse_duration(literal) == ns


@pytest.mark.parametrize(
    "literal",
    [
        "",
        "0.0",
        "5",
        "s",
        ".s",
        "-",
        "+",
        "1d",
        "1 s",
        "5s ",
        "00",
        "1m-5s",
        "9223372036854775808ns",
        "9" * 5000 + "s",
    ],
)
def test_no_durations(literal: str) -> None:
    assert parse_duration(literal) is None


@pytest.mark.parametrize(
    ("ns", "expected"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (3_300_000_000, "3.3s"),
        (60_500_000_000, "1m0.5s"),
        (245_000_000_000, "4m5s"),
        (18_367_001_000_000, "5h6m7.001s"),
        (3_600_000_000_000, "1h0m0s"),
        (-1_000_000, "-1ms"),
        (999_999_999, "999.999999ms"),
    ],
)
def test_duration_text(ns: int, expected: str) -> None:
    assert duration_text(ns) == expected
    assert parse_duration(expected) == ns


@pytest.mark.parametrize(
    ("number", "plain", "short"),
    [
        (1.0, "1", "1"),
        (0.005, "0.005", "0.005"),
        (123456789.123456, "123456789.123456", "123456789.123456"),
        (1e21, "1000000000000000000000", "1e+21"),
        (1.5e-7, "0.00000015", "1.5e-07"),
        (-0.0, "-0", "-0"),
        (float("inf"), "+Inf", "+Inf"),
        (float("-inf"), "-Inf", "-Inf"),
        (float("nan"), "NaN", "NaN"),
    ],
)
def test_floats(number: float, plain: str, short: str) -> None:
    assert float_text(number) == plain
    assert short_float_text(number) == short


def test_exponents_begin_where_asked() -> None:
    assert short_float_text(1e6, 6) == "1e+06"
    assert short_float_text(100000.0, 6) == "100000"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (b"\x01\x02\x03\x04", "1.2.3.4"),
        (bytes(10) + b"\xff\xff\x01\x02\x03\x04", "1.2.3.4"),
        (bytes(15) + b"\x01", "::1"),
        (b"\x01\x02", "?0102"),
        (b"", "<nil>"),
    ],
)
def test_ip_text(address: bytes, expected: str) -> None:
    assert ip_text(address) == expected


def test_addresses_are_equal_in_four_and_sixteen_bytes() -> None:
    long = bytes(10) + b"\xff\xff\x01\x02\x03\x04"
    assert short_ip(long) == b"\x01\x02\x03\x04"
    assert same_ip(long, b"\x01\x02\x03\x04")
    assert not same_ip(long, b"\x01\x02\x03\x05")


def test_instants_and_lengths_of_the_standard_library() -> None:
    assert str(Timestamp.of(datetime(2020, 1, 31, 10, tzinfo=UTC))) == "2020-01-31T10:00:00.000000Z"
    assert Duration.of(timedelta(milliseconds=1500)) == Duration(1_500_000_000)
    assert Duration(1_500_000_000).seconds == 1.5
    assert text(Timestamp(-62_135_596_800 * 10**9)) == "0001-01-01T00:00:00.000000Z"
