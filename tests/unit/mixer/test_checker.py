"""Types of expressions and compile errors (mixer.md E6 to E11, E27; checklist 32)."""

from __future__ import annotations

import pytest

from mast.mixer.core.lang.expression import compile_expression
from mast.mixer.core.lang.tree import ExpressionError
from mast.mixer.core.lang.types import SIGNATURES, ValueType

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


def test_every_function_has_a_test_above() -> None:
    assert len(SIGNATURES) == 25


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


@pytest.mark.parametrize(
    ("source", "rest"),
    [
        ("dur == dur", "equality for type not yet implemented: duration"),
        ("m != m", "equality for type not yet implemented: interface"),
        ("b < b", "less than for type not yet implemented: bool"),
        ("dur < dur", "less than for type not yet implemented: duration"),
        ("ip4 > ip4", "greater than for type not yet implemented: interface"),
        ("m >= m", "greater or equal for type not yet implemented: interface"),
        ("ip4 <= ip4", "less or equal for type not yet implemented: interface"),
        ("ts + ts", "Add for type not yet implemented: interface"),
        ("b + b", "Add for type not yet implemented: bool"),
        ("dur + dur", "Add for type not yet implemented: duration"),
    ],
)
def test_operators_that_do_not_exist_for_a_type(source: str, rest: str) -> None:
    with pytest.raises(ExpressionError) as failed:
        compile_expression(source, TYPES)
    assert str(failed.value) == f"internal compiler error -- {rest}"


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
