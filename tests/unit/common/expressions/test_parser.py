"""The syntax of expressions (mixer.md E1 to E5, E8; checklist 30, 31)."""

from __future__ import annotations

import pytest

from mast.common.expressions.parser import MAX_LENGTH, MAX_LEVELS, MAX_NESTING, parse
from mast.common.expressions.tree import Attribute, Call, Constant, ExpressionError, Read, reads
from mast.common.expressions.types import ValueType
from mast.common.expressions.values import Duration, Value


@pytest.mark.parametrize(
    ("source", "postfix"),
    [
        pytest.param('a | "x" == b', 'EQ(OR($a, "x"), $b)', id="or-binds-before-eq"),
        pytest.param('a | "b" + c', 'ADD(OR($a, "b"), $c)', id="or-and-add-left-assoc"),
        pytest.param("a + b | c", "OR(ADD($a, $b), $c)", id="add-and-or-left-assoc"),
        pytest.param("a - b ^ c", "XOR(SUB($a, $b), $c)", id="additive"),
        pytest.param("a + b * c", "ADD($a, MUL($b, $c))", id="mul-before-add"),
        pytest.param("a % b / c", "QUO(REM($a, $b), $c)", id="multiplicative"),
        pytest.param("a << b >> c", "SHR(SHL($a, $b), $c)", id="shifts"),
        pytest.param("a & b &^ c", "AND_NOT(AND($a, $b), $c)", id="bits"),
        pytest.param("a == b && c", "LAND(EQ($a, $b), $c)", id="eq-before-and"),
        pytest.param("a && b || c", "LOR(LAND($a, $b), $c)", id="and-before-or"),
        pytest.param("a || b && c", "LOR($a, LAND($b, $c))", id="and-inside-or"),
        pytest.param("a || b || c", "LOR(LOR($a, $b), $c)", id="left-assoc"),
        pytest.param("(a || b) && c", "LAND(LOR($a, $b), $c)", id="parentheses"),
        pytest.param("a == b != c", "NEQ(EQ($a, $b), $c)", id="comparisons-chain"),
        pytest.param("a < b", "LT($a, $b)", id="lt"),
        pytest.param("a <= b", "LEQ($a, $b)", id="leq"),
        pytest.param("a > b", "GT($a, $b)", id="gt"),
        pytest.param("a >= b", "GEQ($a, $b)", id="geq"),
        pytest.param("!a", "NOT($a)", id="not"),
        pytest.param("-a", "SUB($a)", id="minus"),
        pytest.param("+a", "ADD($a)", id="plus"),
        pytest.param("^a", "XOR($a)", id="xor"),
        pytest.param("&a", "AND($a)", id="address"),
        pytest.param("<-a", "ARROW($a)", id="arrow"),
        pytest.param("!a == b", "EQ(NOT($a), $b)", id="unary-binds-tightest"),
    ],
)
def test_operators(source: str, postfix: str) -> None:
    assert str(parse(source)) == postfix


@pytest.mark.parametrize(
    ("source", "postfix"),
    [
        pytest.param("a.b.c", "$a.b.c", id="dotted"),
        pytest.param("a . b", "$a.b", id="spaces-around-dots"),
        pytest.param("_a1.b_2", "$_a1.b_2", id="underscores-digits"),
        pytest.param("TRUE", "true", id="true-in-any-case"),
        pytest.param("False", "false", id="false-in-any-case"),
        pytest.param("true.x", "$true.x", id="true-as-first-part"),
        pytest.param("f()", "f()", id="call"),
        pytest.param("f(x, 2)", "f($x, 2)", id="call-with-arguments"),
        pytest.param("f(x,)", "f($x)", id="trailing-comma"),
        pytest.param("a.b.f(x)", "$a.b:f($x)", id="method-of-attribute"),
        pytest.param('"lit".f(x)', '"lit":f($x)', id="method-of-literal"),
        pytest.param("(a | b).f(x)", "OR($a, $b):f($x)", id="method-of-parenthesis"),
        pytest.param("f(x).g(y)", "f($x):g($y)", id="method-of-call"),
        pytest.param('a["k"]', 'INDEX($a, "k")', id="index"),
        pytest.param('a.b["k"]["l"]', 'INDEX(INDEX($a.b, "k"), "l")', id="index-chain"),
        pytest.param('f(x)["k"]', 'INDEX(f($x), "k")', id="index-of-call"),
        pytest.param('a["k"] | b', 'OR(INDEX($a, "k"), $b)', id="index-binds-tightest"),
        pytest.param("EQ(a, 2)", "EQ($a, 2)", id="operator-by-name"),
        pytest.param("`raw` + 'c'", "ADD(`raw`, 'c')", id="literals-as-written"),
        pytest.param("a /* note */ == b // end", "EQ($a, $b)", id="comments"),
        pytest.param("a ==\n b", "EQ($a, $b)", id="line-break-after-operator"),
        pytest.param("a == b\n", "EQ($a, $b)", id="final-line-break"),
    ],
)
def test_operands(source: str, postfix: str) -> None:
    assert str(parse(source)) == postfix


@pytest.mark.parametrize(
    ("source", "value", "kind"),
    [
        ('"text"', "text", ValueType.STRING),
        ("`raw\\n`", "raw\\n", ValueType.STRING),
        ("'x'", "x", ValueType.STRING),
        ("'é'", "é", ValueType.STRING),
        (r"'\''", "'", ValueType.STRING),
        (r'"\a\b\f\n\r\t\v\\\""', '\a\b\f\n\r\t\v\\"', ValueType.STRING),
        (r'"\101\x42\u0043\U0001F600"', "ABC😀", ValueType.STRING),
        (r'"\xc3\xa9"', "é", ValueType.STRING),
        (r'"\xff"', "\N{REPLACEMENT CHARACTER}", ValueType.STRING),
        ("42", 42, ValueType.INT64),
        ("010", 10, ValueType.INT64),
        ("0" * 30 + "7", 7, ValueType.INT64),
        ("0", 0, ValueType.INT64),
        ("9223372036854775807", 2**63 - 1, ValueType.INT64),
        ("1.5", 1.5, ValueType.DOUBLE),
        (".5", 0.5, ValueType.DOUBLE),
        ("1e3", 1000.0, ValueType.DOUBLE),
        ("1.", 1.0, ValueType.DOUBLE),
        ('"19ms"', Duration(19_000_000), ValueType.DURATION),
        ("`1h30m`", Duration(5_400_000_000_000), ValueType.DURATION),
        ('"-2s"', Duration(-2_000_000_000), ValueType.DURATION),
        ('"0"', Duration(0), ValueType.DURATION),
        ("'0'", Duration(0), ValueType.DURATION),
        ('"-0"', Duration(0), ValueType.DURATION),
        ('"+0"', Duration(0), ValueType.DURATION),
        ('"0.0"', "0.0", ValueType.STRING),
        ('""', "", ValueType.STRING),
        ("true", True, ValueType.BOOL),
    ],
)
def test_literals(source: str, value: Value, kind: ValueType) -> None:
    found = parse(source)
    assert isinstance(found, Constant)
    assert (found.value, found.type) == (value, kind)
    assert found.source == source


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("a = b", "1:3: expected '==', found '='"),
        ("@a", "1:1: illegal character U+0040 '@'"),
        ("$out.a", "1:1: illegal character U+0024 '$'"),
        ("a # b", "1:3: illegal character U+0023 '#'"),
        ("", "1:1: expected operand, found 'EOF'"),
        ("a ==", "1:5: expected operand, found 'EOF'"),
        ("(a", "1:3: expected ')', found 'EOF'"),
        ("f(a", "1:4: expected ')', found 'EOF'"),
        ('a["k"', "1:6: expected ']', found 'EOF'"),
        ("a b", "1:3: expected 'EOF', found 'IDENT' b"),
        ("a 'b'", "1:3: expected 'EOF', found 'CHAR' 'b'"),
        ("a )", "1:3: expected 'EOF', found ')'"),
        ("a\n== b", "1:3: expected 'EOF', found '=='"),
        ("a.type", "1:3: expected selector or type assertion, found 'type'"),
        ("if", "1:1: expected operand, found 'if'"),
        ("a.", "1:3: expected selector or type assertion, found 'EOF'"),
        ("a.5", "1:2: expected 'EOF', found 'FLOAT' .5"),
        ('"abc', "1:1: string literal not terminated"),
        ("`abc", "1:1: raw string literal not terminated"),
        ("'ab'", "1:1: illegal rune literal"),
        ("'a", "1:1: rune literal not terminated"),
        ("''", "1:1: illegal rune literal"),
        (r"'\n1'", "1:1: illegal rune literal"),
        ("/* a", "1:1: comment not terminated"),
        (r'"\q"', "1:1: unknown escape sequence"),
        (r'"\'"', "1:1: unknown escape sequence"),
        (r'"\400"', "1:1: escape sequence is invalid Unicode code point"),
        (r'"\ud800"', "1:1: escape sequence is invalid Unicode code point"),
        ("0x1F", '1:1: strconv.ParseInt: parsing "0x1F": invalid syntax'),
        (
            "9223372036854775808",
            '1:1: strconv.ParseInt: parsing "9223372036854775808": value out of range',
        ),
        ("é = 1", "1:4: expected '==', found '='"),
        pytest.param(
            "9" * 5000,
            f'1:1: strconv.ParseInt: parsing "{"9" * 5000}": value out of range',
            id="thousands-of-digits",
        ),
        ("1e999", '1:1: strconv.ParseFloat: parsing "1e999": value out of range'),
    ],
)
def test_errors_name_the_place(source: str, error: str) -> None:
    with pytest.raises(ExpressionError) as failed:
        parse(source)
    assert str(failed.value) == f"unable to parse expression '{source}': {error}"


@pytest.mark.parametrize(
    "source",
    [
        "*a",
        "T{a}",
        "[]int{1}",
        "a[1:2]",
        "a[:2]",
        "a().b",
        "c().e.d()",
        'm["k"].f(a)',
        'm["k"].x',
        "func() {}",
        "map[string]int{}",
        "a.(int)",
        "(a).b",
        '"lit".x',
        "f(x)(y)",
        '"lit"(x)',
    ],
)
def test_rejected_forms(source: str) -> None:
    with pytest.raises(ExpressionError, match=r"^unexpected expression"):
        parse(source)


def test_output_fields_are_names_in_bindings() -> None:
    assert str(parse("$out.a | b", outputs=True)) == "OR($$out.a, $b)"
    with pytest.raises(ExpressionError, match="U\\+0024"):
        parse("$in.a", outputs=True)


@pytest.mark.parametrize(
    "nested",
    [
        lambda depth: "(" * depth + "a" + ")" * depth,
        lambda depth: "f(" * depth + "a" + ")" * depth,
        lambda depth: "m[" * depth + "a" + "]" * depth,
        lambda depth: "!" * depth + "a",
        lambda depth: "(a || b && c == d + e * " * depth + "f" + ")" * depth,
    ],
    ids=["parentheses", "calls", "indices", "unary", "mixed"],
)
def test_deep_nesting_is_an_error(nested: object) -> None:
    assert callable(nested)
    with pytest.raises(ExpressionError, match=f"nesting deeper than {MAX_NESTING}"):
        parse(nested(MAX_NESTING + 1))
    with pytest.raises(ExpressionError, match=f"nesting deeper than {MAX_NESTING}"):
        parse(nested(2_000))


def test_long_texts_are_an_error() -> None:
    assert isinstance(parse('"' + "a" * (MAX_LENGTH - 2) + '"'), Constant)
    with pytest.raises(
        ExpressionError, match=f"{MAX_LENGTH + 1} characters; allowed: {MAX_LENGTH}"
    ):
        parse("a" * (MAX_LENGTH + 1))


def test_parentheses_nest_as_deep_as_allowed() -> None:
    assert parse("(" * MAX_NESTING + "a" + ")" * MAX_NESTING) == Attribute("a")


def test_long_chains_are_allowed_to_a_limit() -> None:
    longest = "||".join(["a"] * MAX_LEVELS)
    assert isinstance(parse(longest), Call)
    with pytest.raises(ExpressionError, match=f"more than {MAX_LEVELS} levels of operators"):
        parse(longest + "||a")


def test_long_chains_in_the_leftmost_bracket_add_up() -> None:
    source = "a"
    for _ in range(10):
        source = f"({source}" + "||a" * 50 + ")"
    with pytest.raises(ExpressionError, match="levels of operators"):
        parse(source)


def test_reads_tell_keys_from_whole_attributes() -> None:
    tree = parse('a.f(m["k"] | m[b]) == f(c, n["l"])')
    assert set(reads(tree)) == {
        Read("a"),
        Read("m", "k"),
        Read("m"),
        Read("b"),
        Read("c"),
        Read("n", "l"),
    }
