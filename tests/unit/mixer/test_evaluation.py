"""Values of expressions for requests (mixer.md E11 to E18; checklist 33)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from mast.common.expressions.tree import EvaluationError
from mast.common.expressions.types import ValueType
from mast.mixer.core.bag import Tracker
from mast.mixer.core.lang.expression import compile_expression
from mast.mixer.core.values import Attributes, Duration, Timestamp, Value
from tests.unit.mixer.test_checker import FUNCTIONS, call
from tests.unit.mixer.test_checker import TYPES as SHORT

TYPES: Mapping[str, ValueType] = {
    **SHORT,
    "x": ValueType.STRING,
    "y": ValueType.STRING,
    "z": ValueType.STRING,
    "c": ValueType.BOOL,
    "no": ValueType.BOOL,
    "n": ValueType.STRING_MAP,
}

REQUEST: Attributes = {
    "s": "text",
    "t": "",
    "i": 7,
    "d": 1.5,
    "b": True,
    "c": False,
    "dur": Duration(5),
    "ts": Timestamp(10),
    "ip4": b"\x01\x02\x03\x04",
    "dns": "Example.COM.",
    "u": "http://x",
    "mail": "a@b",
    "m": {"k": "v", "e": ""},
}


def evaluate(source: str, attributes: Attributes = REQUEST) -> Value:
    value: Value = compile_expression(source, TYPES).evaluate(attributes.get)
    return value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("s", "text"),
        ("i", 7),
        ("d", 1.5),
        ("b", True),
        ("dur", Duration(5)),
        ("ts", Timestamp(10)),
        ("ip4", b"\x01\x02\x03\x04"),
        ("m", {"k": "v", "e": ""}),
        ('m["k"]', "v"),
        ('m["none"]', ""),
        ('s == "text"', True),
        ('s != "text"', False),
        ('s < "u"', True),
        ('"Z" < "a"', True),
        ('"é" < "z"', False),
        ("i >= 7", True),
        ("i > 7", False),
        ("d <= 1.5", True),
        ('ts > timestamp("1970-01-01T00:00:00Z")', True),
        ('ip4 == ip("::ffff:1.2.3.4")', True),
        ('ip4 != ip("1.2.3.5")', True),
        ('dns == dnsName("example.com")', True),
        ('dns != dnsName("example.com")', False),
        ('u == uri("HTTP://x")', True),
        ('mail == email("\\"a\\"@B")', True),
        ('s + "!"', "text!"),
        ("i + 9223372036854775807", -(2**63) + 6),
        ("d + 1.0", 2.5),
        ("b && c", False),
        ("c || b", True),
        ("conditional(b, s, t)", "text"),
        ("conditional(c, i, 2)", 2),
        ("conditional(b, m, n)", {"k": "v", "e": ""}),
        ('conditional(b, m, n)["k"]', "v"),
        ("conditionalString(c, s, t)", ""),
        ('size("héé")', 5),
        ("size(s)", 4),
        ("emptyStringMap()", {}),
        ('emptyStringMap()["k"]', ""),
        ('match(s, "te*")', True),
        ('"^t.xt$".matches(s)', True),
        ('s.startsWith("te") && s.endsWith("xt")', True),
        ("EQ(s, s, 5)", True),
    ],
)
def test_values(source: str, value: Value) -> None:
    found = evaluate(source)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("x", "x"),
        ('x == "a"', "x"),
        ('s == "no" || x == "a"', "x"),
        ('n["k"]', "n"),
        ("m[x]", "x"),
        ("size(x)", "x"),
        ("x.startsWith(s)", "x"),
        ("conditional(b, x, s)", "x"),
        ("conditionalString(b, s, x)", "x"),
        ("x | y", "y"),
        ("x | y | z", "z"),
        ("x | (y | z)", "z"),
        ("(x | y) | z", "z"),
        ("size(x) | 5", "x"),
        ('conditional(b, x, s) | "z"', "x"),
        ('conditional(x == "a", s, s) | "z"', "x"),
        ('x | n["k"]', "n"),
        ('(x == "a") | true', "x"),
    ],
)
def test_missing_attributes_are_errors(source: str, name: str) -> None:
    with pytest.raises(EvaluationError) as failed:
        evaluate(source)
    assert str(failed.value) == f"lookup failed: '{name}'"


@pytest.mark.parametrize(
    ("source", "value"),
    [
        pytest.param('x | "z"', "z", id="missing-attribute"),
        pytest.param('s | "z"', "text", id="present"),
        pytest.param('t | "z"', "", id="empty-is-a-value"),
        pytest.param('x | y | "z"', "z", id="chain"),
        pytest.param("x | s | y", "text", id="chain-stops"),
        pytest.param('n["k"] | "z"', "z", id="missing-map"),
        pytest.param('m["none"] | "z"', "z", id="missing-key"),
        pytest.param('m["e"] | "z"', "", id="empty-entry-is-a-value"),
        pytest.param('m["k"] | "z"', "v", id="key"),
        pytest.param('m[x] | "z"', "z", id="missing-index-attribute"),
        pytest.param('m[x | "k"] | "z"', "v", id="index-with-fallback"),
        pytest.param('(n | m)["k"] | "z"', "v", id="map-with-fallback"),
        pytest.param('x | m["none"]', "", id="last-operand-is-normal"),
        pytest.param('x | (y | "z")', "z", id="right-nested"),
        pytest.param('(x | y) | "z"', "z", id="left-nested"),
        pytest.param("n | emptyStringMap()", {}, id="maps"),
        pytest.param("conditional(b, i, 2) | 5", 7, id="conditional-on-the-left"),
        pytest.param("(i == 8) | true", False, id="comparison-on-the-left"),
        pytest.param("(b && c) | true", False, id="and-on-the-left"),
        pytest.param("(c || c) | true", False, id="or-on-the-left"),
        pytest.param("(i + 1) | 5", 8, id="sum-on-the-left"),
        pytest.param("size(s) | 5", 4, id="size-on-the-left"),
        pytest.param('"k" | x', "k", id="constants-are-values"),
    ],
)
def test_fallbacks(source: str, value: Value) -> None:
    assert evaluate(source) == value


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("s", "error converting value to string: '7'"),
        ("dns", "error converting value to string: '1.5'"),
        ("b", "error converting value to bool: 'text'"),
        ("d", "error converting value to double: '7'"),
        ("i", "error converting value to integer or duration: 'text'"),
        ("dur", "error converting value to integer or duration: 'true'"),
        ("ts", "error converting value to timestamp: '1970-01-01 00:00:00 +0000 UTC'"),
        ("ip4", "error converting value to ip address: 'map[a:b c:d]'"),
        ('m["k"]', "error converting value to string map: '[1 2]'"),
        ("s | t", "error converting value to string: '7'"),
    ],
)
def test_values_of_another_type_are_errors(source: str, error: str) -> None:
    wrong: Attributes = {
        "s": 7,
        "dns": 1.5,
        "b": "text",
        "d": 7,
        "i": "text",
        "dur": True,
        "ts": "1970-01-01 00:00:00 +0000 UTC",
        "ip4": {"c": "d", "a": "b"},
        "m": b"\x01\x02",
    }
    with pytest.raises(EvaluationError) as failed:
        evaluate(source, wrong)
    assert str(failed.value) == error


def test_instants_print_as_in_go() -> None:
    with pytest.raises(EvaluationError, match=r"'2020-01-31 10:00:00.5 \+0000 UTC'"):
        evaluate("s", {"s": Timestamp(1_580_464_800_500_000_000)})


def test_values_may_be_of_subclasses() -> None:
    class Text(str):
        pass

    class Number(float):
        pass

    class Count(int):
        pass

    class Bytes(bytes):
        pass

    class Time(Timestamp):
        pass

    special: Attributes = {
        "s": Text("x"),
        "d": Number(1.5),
        "i": Count(5),
        "ip4": Bytes(b"\x01\x02\x03\x04"),
        "ts": Time(7),
        "m": MappingProxyType({"k": "v"}),
    }
    for name in ("s", "d", "i", "ip4", "ts"):
        assert evaluate(name, special) == special[name]
    assert evaluate('m["k"]', special) == "v"
    assert evaluate("m", special) == {"k": "v"}


def test_integers_and_durations_stand_for_each_other() -> None:
    swapped: Attributes = {"i": Duration(5), "dur": 7}
    assert evaluate("i", swapped) == 5
    assert evaluate("dur", swapped) == Duration(7)


@pytest.mark.parametrize(
    ("source", "read"),
    [
        pytest.param("b || c", ["b"], id="or-stops"),
        pytest.param("c || b", ["c", "b"], id="or-goes-on"),
        pytest.param("c && b", ["c"], id="and-stops"),
        pytest.param("s | t", ["s"], id="fallback-not-needed"),
        pytest.param("x | s | t", ["x", "s"], id="fallback-chain"),
        pytest.param("conditional(b, s, t)", ["b", "s"], id="one-branch"),
        pytest.param("conditionalString(b, s, t)", ["b", "s", "t"], id="eager"),
        pytest.param("x == s", ["x"], id="stops-at-the-first-error"),
        pytest.param('m["k"] == s', ["m[k]", "s"], id="key"),
        pytest.param('m["none"] | n["k"] | s', ["m[none]", "n", "s"], id="absent-key-and-map"),
        pytest.param("m[s] | t", ["s", "m[text]", "t"], id="computed-key"),
        pytest.param("m | n", ["m[k]", "m[e]"], id="whole-map"),
    ],
)
def test_only_what_was_read_is_recorded(source: str, read: list[str]) -> None:
    tracker = Tracker(REQUEST)
    with contextlib.suppress(EvaluationError):
        compile_expression(source, TYPES).evaluate(tracker.get)
    shown = [r.name if r.map_key is None else f"{r.name}[{r.map_key}]" for r in tracker.referenced]
    assert shown == read


LAZY = {"OR", "LAND", "LOR", "conditional"}
PRESENT = {"STRING": "s", "T": "s", "BOOL": "b", "STRING_MAP": "m"}
ABSENT = {"STRING": "x", "T": "x", "BOOL": "no", "STRING_MAP": "n"}


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in LAZY])
def test_every_function_reads_its_arguments_in_order_to_the_first_that_is_missing(
    name: str,
) -> None:
    """E15, E17: on the left of ``|``, too, a missing argument is an error, and ends the reading."""
    receiver, parameters, result = FUNCTIONS[name]
    types = [*receiver.split(), *parameters.split()]
    for at, kind in enumerate(types):
        if name == "INDEX":
            continue  # a missing map or key falls through
        given = [*(PRESENT[each] for each in types[:at]), ABSENT[kind]]
        given += [PRESENT[each] for each in types[at + 1 :]]
        source, _ = call(name, given.pop(0) if receiver else "", given)
        last = {"BOOL": "c", "INT64": "1", "STRING": "s", "T": "s"}.get(result, source)
        tracker = Tracker(REQUEST)
        with pytest.raises(EvaluationError, match=rf"^lookup failed: '{ABSENT[kind]}'$"):
            compile_expression(f"{source} | {last}", TYPES).evaluate(tracker.get)
        read = [f"{each.name}" for each in tracker.referenced if each.map_key is None]
        wanted = [PRESENT[each] for each in types[:at]] + [ABSENT[kind]]
        assert read == list(dict.fromkeys(wanted))


def test_deep_expressions_compile_and_evaluate() -> None:
    deepest = "(" * 64 + "s" + ")" * 64
    assert evaluate(deepest) == "text"
    assert evaluate(" || ".join(['s == "no"'] * 190) + " || b") is True
    assert evaluate(" | ".join(["x"] * 190) + " | s") == "text"
    assert evaluate("conditional(b, " * 30 + "s" + ", t)" * 30) == "text"


def test_a_literal_is_known_as_constant() -> None:
    assert compile_expression("true", TYPES).constant is True
    assert compile_expression("b", TYPES).constant is None
