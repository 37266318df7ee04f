"""Attribute values as options and JSON give them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast.cli.errors import CommandError
from mast.cli.mixer.values import BadValue, attributes, from_json, sensed, to_json
from mast.mixer.core.lang.functions import timestamp
from mast.mixer.core.values import INT64_MAX, INT64_MIN, Duration, Timestamp, Value

_LAST_SECOND = 253_402_300_799
_INTEGERS = st.integers(INT64_MIN, INT64_MAX)
VALUES = st.one_of(
    st.text(),
    _INTEGERS,
    st.floats(allow_nan=False),
    st.booleans(),
    st.binary(),
    st.builds(Duration, _INTEGERS),
    st.builds(Timestamp, st.integers(0, _LAST_SECOND * 10**9)),
    st.dictionaries(st.text(), st.text()),
)


@given(VALUES)
def test_json_and_back(value: Value) -> None:
    again = from_json(to_json(value))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(
    ("described", "complaint"),
    [
        (3, "want"),
        ({}, "want"),
        ({"t": "uint"}, "one of string, int64"),
        ({"t": ["string"], "v": ""}, "one of string, int64"),
        ({"t": "string"}, "a string needs 'v'"),
        ({"t": "duration", "v": 3}, "a duration needs 'ns'"),
        ({"t": "int64", "v": True}, "no integer"),
        ({"t": "int64", "v": 1 << 63}, "64 bits"),
        ({"t": "double", "v": "x"}, "no number"),
        ({"t": "bool", "v": "maybe"}, "no boolean"),
        ({"t": "bytes", "hex": "abc"}, "hexadecimal"),
        ({"t": "timestamp", "v": "yesterday"}, "TIMESTAMP"),
        ({"t": "string_map", "v": {"a": 1}}, "no string"),
        ({"t": "string_map", "v": ["a"]}, "no map"),
    ],
)
def test_what_is_no_value(described: Any, complaint: str) -> None:
    with pytest.raises(BadValue, match=complaint):
        from_json(described)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        ("-1.5", -1.5),
        ("2020-01-01T00:00:00Z", timestamp("2020-01-01T00:00:00Z")),
        ("1m30s", Duration(90_000_000_000)),
        ("0a:0b", b"\x0a\x0b"),
        ("TRUE", True),
        ("t", True),
        ("a:1;b:2", {"a": "1", "b": "2"}),
        ("kubernetes://pod", "kubernetes://pod"),
        ("", ""),
    ],
)
def test_types_are_sensed(text: str, value: Value) -> None:
    assert sensed(text) == value
    assert type(sensed(text)) is type(value)


def test_options_by_kind() -> None:
    found = attributes(
        {
            "string": "a=1,b=x=y",
            "int64": "c=5",
            "duration": "d=1ms",
            "bytes": "e=10.0.0.1,f=0a:0b",
            "stringmap": "g=k:v;l:m:n",
            "": "h=7",
        }
    )
    assert found == {
        "a": "1",
        "b": "x=y",
        "c": 5,
        "d": Duration(1_000_000),
        "e": b"\x0a\x00\x00\x01",
        "f": b"\x0a\x0b",
        "g": {"k": "v", "l": "m:n"},
        "h": 7,
    }


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"int64": "a=x"}, "--int64_attributes: a: 'x' is no integer"),
        ({"string": "a"}, "--string_attributes: 'a': want NAME=VALUE"),
        ({"duration": "a=5 minutes"}, "--duration_attributes: a: '5 minutes' is no duration"),
        ({"bytes": "a=zz"}, "--bytes_attributes: a: 'zz': want"),
        ({"stringmap": "a=k"}, "--stringmap_attributes: a: 'k': want KEY:VALUE"),
    ],
)
def test_options_that_cannot_be_read(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        attributes(options)
