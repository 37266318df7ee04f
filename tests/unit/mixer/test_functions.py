"""Functions of the language (mixer.md E6, E19 to E21, E25; checklist 32, 34, 35)."""

from __future__ import annotations

import pytest

from mast.common.expressions.tree import EvaluationError
from mast.common.expressions.types import ValueType
from mast.mixer.core.lang import functions
from mast.mixer.core.lang.expression import compile_expression
from mast.mixer.core.lang.memory import LONGEST, remembered
from mast.mixer.core.values import Timestamp


@pytest.mark.parametrize(
    ("value", "pattern", "expected"),
    [
        ("abc", "abc", True),
        ("abc", "ab", False),
        ("abc", "ab*", True),
        ("abc", "*bc", True),
        ("abc", "*", True),
        ("", "*", True),
        ("abc", "a*c", False),
        ("a*c", "a*c", True),
        ("*xyz", "*x*", True),
        ("xyz", "*x*", False),
        ("abc", "", False),
    ],
)
def test_match(value: str, pattern: str, expected: bool) -> None:
    assert functions.match(value, pattern) is expected


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("^abc$", "abc", True),
        ("(?i)ABC", "abc", True),
        ("(?s)a.c", "a\nc", True),
        ("a.c", "a\nc", False),
        (r"abc\z", "abc", True),
        (r"\pN", "a1", True),
        ("[[:alpha:]]", "1a", True),
        ("(?U)a+", "aa", True),
        ("é", "café", True),
        ("", "", True),
    ],
)
def test_matches_is_an_unanchored_re2_search(pattern: str, value: str, expected: bool) -> None:
    assert functions.matches(pattern, value) is expected


@pytest.mark.parametrize("pattern", ["(", "*", r"\1", "(?=a)", "[z-a]"])
def test_what_re2_does_not_take_is_an_error(pattern: str) -> None:
    with pytest.raises(EvaluationError, match=r"^error parsing regexp"):
        functions.matches(pattern, "a")


@pytest.mark.parametrize(
    ("pattern", "value"),
    [("(a*)*b", "a"), ("(a|aa)+$", "a"), ("(.*,){11}P", ","), ("(x+x+)+y", "x")],
)
def test_no_pattern_backtracks(pattern: str, value: str) -> None:
    """Python's own patterns would take longer than the sun burns (E25)."""
    assert functions.matches(pattern, value * 10_000) is (pattern == "(a|aa)+$")


def test_parentheses_of_patterns_nest_as_deep_as_in_go() -> None:
    assert functions.matches("(" * 1000 + ")" * 1000, "a")
    assert functions.matches(r"\(" * 1001, "(" * 1001)
    with pytest.raises(EvaluationError, match="nests too deeply"):
        functions.matches("(" * 1001 + ")" * 1001, "a")


@pytest.mark.parametrize(
    ("address", "packed"),
    [
        ("1.2.3.4", "01020304"),
        ("001.010.3.4", "010a0304"),
        ("::1", "00000000000000000000000000000001"),
        ("2001:DB8::A", "20010db800000000000000000000000a"),
        ("::ffff:1.2.3.4", "01020304"),
        ("::ffff:01.2.3.4", "01020304"),
        ("64:ff9b::1.2.3.4", "0064ff9b000000000000000001020304"),
    ],
)
def test_ip(address: str, packed: str) -> None:
    assert functions.ip(address).hex() == packed


@pytest.mark.parametrize(
    "address",
    ["", "x", "1.2.3", "1.2.3.256", "1.2.3.4.5", "1.2.3.4/8", "::1%eth0", "::1/128", "1::2::3",
     " 1.2.3.4", "1.2.3.4\n", "1.2.3.99999999999999999999",
     "x:1.2.3.4",
     "\N{ARABIC-INDIC DIGIT ONE}.2.3.4"],
)  # fmt: skip
def test_no_ip(address: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        functions.ip(address)
    assert str(failed.value) == f"could not convert {address} to IP_ADDRESS"


@pytest.mark.parametrize(
    ("literal", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2020-01-31T10:00:00Z", 1_580_464_800_000_000_000),
        ("2020-01-31T11:00:00+01:00", 1_580_464_800_000_000_000),
        ("2020-01-31T04:30:00-05:30", 1_580_464_800_000_000_000),
        ("2020-01-31T10:00:00.5Z", 1_580_464_800_500_000_000),
        ("2020-01-31T10:00:00.123456789Z", 1_580_464_800_123_456_789),
        ("2020-01-31T10:00:00.1234567899Z", 1_580_464_800_123_456_789),
        ("2020-02-29T00:00:00Z", 1_582_934_400_000_000_000),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000_000),
    ],
)
def test_timestamp(literal: str, ns: int) -> None:
    assert functions.timestamp(literal) == Timestamp(ns)


@pytest.mark.parametrize(
    "literal",
    ["", "2020-01-31", "2020-01-31T10:00:00", "2020-13-01T00:00:00Z", "2019-02-29T00:00:00Z",
     "2020-01-31T24:00:00Z", "2020-01-31T10:60:00Z", "2020-01-31T10:00:60Z", "2020-01-31 10:00:00Z",
     "2020-01-31T10:00:00z", "2020-01-31T10:00:00+25:00", "2020-01-31T10:00:00+01:60", "19ms"],
)  # fmt: skip
def test_no_timestamp(literal: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        functions.timestamp(literal)
    assert str(failed.value) == (
        f"could not convert '{literal}' to TIMESTAMP. expected format: '2006-01-02T15:04:05Z07:00'"
    )


@pytest.mark.parametrize(
    ("value", "lower"),
    [
        ("ABC", "abc"),
        ("ÄÖ", "äö"),
        ("Я\N{GREEK CAPITAL LETTER SIGMA}", "я\N{GREEK SMALL LETTER SIGMA}"),
        ("İ", "i"),
        ("ß", "ß"),
    ],
)
def test_to_lower_goes_letter_by_letter(value: str, lower: str) -> None:
    assert functions.to_lower(value) == lower


def test_small_functions() -> None:
    assert functions.starts_with("abc", "ab")
    assert functions.ends_with("abc", "bc")
    assert functions.size("é") == 2
    assert functions.conditional_string(False, "a", "b") == "b"
    assert functions.wrapped_sum(2**63 - 1, 1) == -(2**63)
    assert functions.wrapped_sum(-(2**63), -1) == 2**63 - 1


def test_long_texts_are_not_remembered() -> None:
    asked: list[str] = []

    @remembered
    def measured(text: str) -> int:
        asked.append(text)
        return len(text)

    for text in ("a" * LONGEST, "b" * (LONGEST + 1)) * 2:
        assert measured(text) == len(text)
    assert asked == ["a" * LONGEST, "b" * (LONGEST + 1), "b" * (LONGEST + 1)]


def test_a_pattern_that_is_a_literal_is_judged_when_it_is_used() -> None:
    """E11, E25."""
    types = {"s": ValueType.STRING}
    bad = compile_expression('"(".matches(s)', types)
    for _ in range(2):
        with pytest.raises(EvaluationError, match=r"^error parsing regexp: "):
            bad.evaluate({"s": "x"}.get)
    good = compile_expression('"^b+$".matches(s)', types)
    assert [good.evaluate({"s": text}.get) for text in ("bb", "b", "ab")] == [True, True, False]
