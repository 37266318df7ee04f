"""Types of expressions and compile errors (mixer.md E6 to E11, E27; checklist 32)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from mast.common.expressions.tree import ExpressionError
from mast.common.expressions.types import SIGNATURES, ValueType
from mast.mixer.core.lang.expression import compile_expression

TYPES = {
    "s": ValueType.STRING,
    "t": ValueType.STRING,
    "i": ValueType.INT64,
    "d": ValueType.DOUBLE,
    "b": ValueType.BOOL,
    "ts": ValueType.TIMESTAMP,
    "dur": ValueType.DURATION,
    "ip4": ValueType.IP_ADDRESS,
    "dns": ValueType.DNS_NAME,
    "u": ValueType.URI,
    "mail": ValueType.EMAIL_ADDRESS,
    "m": ValueType.STRING_MAP,
}


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("s", "STRING"),
        ("s == t", "BOOL"),
        ("i == 1", "BOOL"),
        ("d != 1.0", "BOOL"),
        ("b == true", "BOOL"),
        ("ts == ts", "BOOL"),
        ("ip4 == ip4", "BOOL"),
        ("dns == dns", "BOOL"),
        ("u != u", "BOOL"),
        ("mail == mail", "BOOL"),
        ("s < t", "BOOL"),
        ("dns <= dns", "BOOL"),
        ("u > u", "BOOL"),
        ("mail >= mail", "BOOL"),
        ("i < 2", "BOOL"),
        ("d >= 2.0", "BOOL"),
        ("ts > ts", "BOOL"),
        ("b && b", "BOOL"),
        ("b || b", "BOOL"),
        ("m | m", "STRING_MAP"),
        ('dur | "19ms"', "DURATION"),
        ('m["k"]', "STRING"),
        ("s + t", "STRING"),
        ("i + 1", "INT64"),
        ("d + 1.0", "DOUBLE"),
        ("dns + dns", "DNS_NAME"),
        ("u + u", "URI"),
        ("mail + mail", "EMAIL_ADDRESS"),
        ("conditional(b, i, 2)", "INT64"),
        ("conditional(b, m, m)", "STRING_MAP"),
        ("conditionalString(b, s, t)", "STRING"),
        ("size(s)", "INT64"),
        ("ip(s)", "IP_ADDRESS"),
        ("timestamp(s)", "TIMESTAMP"),
        ("dnsName(s)", "DNS_NAME"),
        ("email(s)", "EMAIL_ADDRESS"),
        ("uri(s)", "URI"),
        ("match(s, t)", "BOOL"),
        ("s.matches(t)", "BOOL"),
        ("s.startsWith(t)", "BOOL"),
        ("s.endsWith(t)", "BOOL"),
        ("toLower(s)", "STRING"),
        ("emptyStringMap()", "STRING_MAP"),
        ("EQ(s, t, unknown)", "BOOL"),
    ],
)
def test_types(source: str, kind: str) -> None:
    assert compile_expression(source, TYPES).type is ValueType[kind]


# The table of E6; "T" is the type of the first operand, for which STRING stands here.
FUNCTIONS: Mapping[str, tuple[str, str, str]] = {
    "EQ": ("", "T T", "BOOL"),
    "NEQ": ("", "T T", "BOOL"),
    "LT": ("", "T T", "BOOL"),
    "LEQ": ("", "T T", "BOOL"),
    "GT": ("", "T T", "BOOL"),
    "GEQ": ("", "T T", "BOOL"),
    "LAND": ("", "BOOL BOOL", "BOOL"),
    "LOR": ("", "BOOL BOOL", "BOOL"),
    "OR": ("", "T T", "T"),
    "INDEX": ("", "STRING_MAP STRING", "STRING"),
    "ADD": ("", "T T", "T"),
    "conditional": ("", "BOOL T T", "T"),
    "conditionalString": ("", "BOOL STRING STRING", "STRING"),
    "size": ("", "STRING", "INT64"),
    "ip": ("", "STRING", "IP_ADDRESS"),
    "timestamp": ("", "STRING", "TIMESTAMP"),
    "dnsName": ("", "STRING", "DNS_NAME"),
    "email": ("", "STRING", "EMAIL_ADDRESS"),
    "uri": ("", "STRING", "URI"),
    "match": ("", "STRING STRING", "BOOL"),
    "matches": ("STRING", "STRING", "BOOL"),
    "startsWith": ("STRING", "STRING", "BOOL"),
    "endsWith": ("STRING", "STRING", "BOOL"),
    "toLower": ("", "STRING", "STRING"),
    "emptyStringMap": ("", "", "STRING_MAP"),
}
OF_TYPE = {"STRING": "s", "T": "s", "BOOL": "b", "STRING_MAP": "m"}


def call(name: str, receiver: str, arguments: Sequence[str]) -> tuple[str, str]:
    """A call as it is written, and in errors (E8)."""
    shown = ", ".join(f"${each}" for each in arguments)
    before, after = (f"{receiver}.", f"${receiver}:") if receiver else ("", "")
    return f"{before}{name}({', '.join(arguments)})", f"{after}{name}({shown})"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_types_arity_and_errors_of_every_function(name: str) -> None:
    """E6, E8, E9: too few arguments, each argument of a wrong type, with and without receiver."""
    receiver_type, parameters, result = FUNCTIONS[name]
    types, receiver = parameters.split(), OF_TYPE.get(receiver_type, "")
    good = [OF_TYPE[each] for each in types]
    found = compile_expression(call(name, receiver, [*good, "i"])[0], TYPES)  # one is ignored
    assert found.type is ValueType["STRING" if result == "T" else result]
    for count in range(len(good)):
        text, shown = call(name, receiver, good[:count])
        complaint = f"{shown} arity mismatch. Got {count} arg(s), expected {len(good)} arg(s)"
        assert refused(text) == complaint
    for at, expected in enumerate(types):
        if expected == "T" and "T" not in types[:at]:
            continue  # the first of them may be of any type
        text, shown = call(name, receiver, [*good[:at], "i", *good[at + 1 :]])
        wanted = "STRING" if expected == "T" else expected
        complaint = f"{shown} arg {at + 1} ($i) typeError got INT64, expected {wanted}"
        assert refused(text) == complaint
    if receiver:
        assert refused(call(name, "", good)[0]) == (
            f"invoking instance method without an instance: {name}"
        )
        text, shown = call(name, "i", good)
        assert refused(text) == f"{shown} target typeError got INT64, expected STRING"
    else:
        assert refused(call(name, "s", good)[0]) == (
            f"invoking regular function on instance method: {name}"
        )


def refused(source: str) -> str:
    with pytest.raises(ExpressionError) as failed:
        compile_expression(source, TYPES)
    return str(failed.value)


def test_there_are_no_other_functions() -> None:
    assert set(SIGNATURES) == set(FUNCTIONS)


OPERATORS = {"==": "equality", "!=": "equality", "<": "less than", "<=": "less or equal",
             ">": "greater than", ">=": "greater or equal", "+": "Add"}  # fmt: skip
STORAGE = {"b": "bool", "dur": "duration", "ip4": "interface", "m": "interface", "ts": "interface"}
IMPLEMENTED = {
    **dict.fromkeys(("==", "!="), "s dns u mail i d b ts ip4"),
    **dict.fromkeys(("<", "<=", ">", ">="), "s dns u mail i d ts"),
    "+": "s dns u mail i d",
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_which_types_an_operator_is_for(operator: str) -> None:
    """E6 and, for all others, E10."""
    for name in ("s", "dns", "u", "mail", "i", "d", "b", "ts", "ip4", "dur", "m"):
        source = f"{name} {operator} {name}"
        if name in IMPLEMENTED[operator].split():
            assert compile_expression(source, TYPES).type is (
                TYPES[name] if operator == "+" else ValueType.BOOL
            )
        else:
            missing = f"{OPERATORS[operator]} for type not yet implemented: {STORAGE[name]}"
            assert refused(source) == f"internal compiler error -- {missing}"


@pytest.mark.parametrize("left", [name for name in TYPES if name != "t"])
def test_nothing_is_converted(left: str) -> None:
    """E6: no type stands for another, INT64 not for DOUBLE, STRING not for URI."""
    for right, kind in TYPES.items():
        if kind is not TYPES[left]:
            assert refused(f"{left} == {right}") == (
                f"EQ(${left}, ${right}) arg 2 (${right}) "
                f"typeError got {kind}, expected {TYPES[left]}"
            )


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("x", "unknown attribute x"),
        ("x.y == s", "unknown attribute x.y"),
        ("f(s)", "unknown function: f"),
        ("reverse(s)", "unknown function: reverse"),
        ("i - 1", "unknown function: SUB"),
        ("i * 1", "unknown function: MUL"),
        ("i / 1", "unknown function: QUO"),
        ("i % 1", "unknown function: REM"),
        ("i ^ 1", "unknown function: XOR"),
        ("i << 1", "unknown function: SHL"),
        ("!b", "unknown function: NOT"),
        ("-i", "unknown function: SUB"),
        ("+i", "ADD($i) arity mismatch. Got 1 arg(s), expected 2 arg(s)"),
        ("s.match(t)", "invoking regular function on instance method: match"),
        ("matches(s, t)", "invoking instance method without an instance: matches"),
        ("i.startsWith(s)", "$i:startsWith($s) target typeError got INT64, expected STRING"),
        (
            "conditional(b, s)",
            "conditional($b, $s) arity mismatch. Got 2 arg(s), expected 3 arg(s)",
        ),
        ("s == i", "EQ($s, $i) arg 2 ($i) typeError got INT64, expected STRING"),
        ("i == 1.0", "EQ($i, 1.0) arg 2 (1.0) typeError got DOUBLE, expected INT64"),
        ("i == d", "EQ($i, $d) arg 2 ($d) typeError got DOUBLE, expected INT64"),
        ("s == u", "EQ($s, $u) arg 2 ($u) typeError got URI, expected STRING"),
        ('s == "0"', 'EQ($s, "0") arg 2 ("0") typeError got DURATION, expected STRING'),
        ("b && s", "LAND($b, $s) arg 2 ($s) typeError got STRING, expected BOOL"),
        ("s || b", "LOR($s, $b) arg 1 ($s) typeError got STRING, expected BOOL"),
        ('s["k"]', 'INDEX($s, "k") arg 1 ($s) typeError got STRING, expected STRING_MAP'),
        ("m[i]", "INDEX($m, $i) arg 2 ($i) typeError got INT64, expected STRING"),
        (
            "conditional(s, s, s)",
            "conditional($s, $s, $s) arg 1 ($s) typeError got STRING, expected BOOL",
        ),
        (
            "conditional(b, s, i)",
            "conditional($b, $s, $i) arg 3 ($i) typeError got INT64, expected STRING",
        ),
        ("size(m)", "size($m) arg 1 ($m) typeError got STRING_MAP, expected STRING"),
        ("f(x) == y", "unknown function: f"),
        ("x == y", "unknown attribute x"),
        ("TRUE == s", "EQ(true, $s) arg 2 ($s) typeError got STRING, expected BOOL"),
    ],
)
def test_errors(source: str, error: str) -> None:
    with pytest.raises(ExpressionError) as failed:
        compile_expression(source, TYPES)
    assert str(failed.value) == error


def test_type_errors_come_before_missing_operators() -> None:
    with pytest.raises(ExpressionError, match="unknown attribute x"):
        compile_expression("dur == dur || x", TYPES)


@pytest.mark.parametrize("source", ['ip("x")', 'timestamp("x")', 'dnsName("-")', 'uri("")'])
def test_bad_literals_are_no_compile_errors(source: str) -> None:
    compile_expression(source, TYPES)


def test_messages_print_methods_in_postfix_form() -> None:
    with pytest.raises(ExpressionError) as failed:
        compile_expression('"a.*".matches(i)', TYPES)
    assert str(failed.value) == (
        '"a.*":matches($i) arg 1 ($i) typeError got INT64, expected STRING'
    )
